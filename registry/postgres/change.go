package postgres

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"cnamed/registry"
)

// change is a mutation in the table of changes, as JSON. A field means the same
// for every kind; what a kind does not need is left out. What has another meaning
// is another kind. A node that reads a kind that it does not know cannot follow,
// and is no member from followTime later on: it answers SERVFAIL, and nobody waits
// for it. It tries again, but does not load what it may not understand.
type change struct {
	Kind     string     `json:"do"`
	Username *uuid.UUID `json:"user,omitempty"`
	TXT      string     `json:"txt,omitempty"`
	Hash     []byte     `json:"hash,omitempty"`
	Name     string     `json:"name,omitempty"` // subdomain, ID of a token, retired name
	List     []string   `json:"list,omitempty"`
	Locked   bool       `json:"locked,omitempty"`
	Text     string     `json:"text,omitempty"` // note, fingerprint
	At       int64      `json:"at,omitempty"`   // unix seconds
	Updated  int64      `json:"updated,omitempty"`
	Used     int64      `json:"used,omitempty"`
	Expires  int64      `json:"expires,omitempty"`
	Max      int        `json:"max,omitempty"`
	Uses     int        `json:"uses,omitempty"`
}

func encodeBatch(batch []registry.Mutation) (string, error) {
	changes := make([]change, 0, len(batch))
	for _, m := range batch {
		c, err := encode(m)
		if err != nil {
			return "", err
		}
		changes = append(changes, c)
	}
	text, err := json.Marshal(changes)
	return string(text), err
}

func decodeBatch(text []byte) ([]registry.Mutation, error) {
	var changes []change
	if err := json.Unmarshal(text, &changes); err != nil {
		return nil, fmt.Errorf("%w: a change: %w", errDamaged, err)
	}
	batch := make([]registry.Mutation, 0, len(changes))
	for i := range changes {
		m, err := changes[i].decode()
		if err != nil {
			return nil, err
		}
		batch = append(batch, m)
	}
	return batch, nil
}

func encode(m registry.Mutation) (change, error) {
	switch m := m.(type) {
	case registry.CreateAccount:
		return change{Kind: "create", Username: &m.Username, Hash: m.PasswordHash, Name: m.Subdomain,
			List: m.AllowFrom, Locked: m.Locked, Text: m.Note,
			At: seconds(m.Created), Updated: seconds(m.Updated), Used: seconds(m.Authenticated)}, nil
	case registry.PutValue:
		return change{Kind: "put", Username: &m.Username, TXT: m.TXT, At: seconds(m.At)}, nil
	case registry.DropValue:
		return change{Kind: "drop", Username: &m.Username, TXT: m.TXT, At: seconds(m.At)}, nil
	case registry.ReplacePassword:
		return change{Kind: "password", Username: &m.Username, Hash: m.PasswordHash}, nil
	case registry.DeleteAccount:
		return change{Kind: "delete", Username: &m.Username}, nil
	case registry.SetAllowFrom:
		return change{Kind: "allow", Username: &m.Username, List: m.AllowFrom}, nil
	case registry.SetNote:
		return change{Kind: "note", Username: &m.Username, Text: m.Note}, nil
	case registry.MarkUsed:
		return change{Kind: "used", Username: &m.Username, Used: seconds(m.Authenticated), Updated: seconds(m.Updated)}, nil
	case registry.RetireName:
		return change{Kind: "retire", Name: m.Name}, nil
	case registry.ReleaseName:
		return change{Kind: "release", Name: m.Name}, nil
	case registry.SetChallenges:
		return change{Kind: "challenges", List: m.Values}, nil
	case registry.SetRecords:
		return change{Kind: "records", Text: m.Fingerprint}, nil
	case registry.CreateToken:
		return change{Kind: "token", Name: m.ID, Hash: m.Hash[:], Text: m.Note, At: seconds(m.Created),
			Expires: seconds(m.Expires), Max: m.MaxUses, Uses: m.Uses, Used: seconds(m.LastUsed)}, nil
	case registry.RevokeToken:
		return change{Kind: "revoke", Name: m.ID}, nil
	case registry.UseToken:
		return change{Kind: "use", Name: m.ID, At: seconds(m.At)}, nil
	case registry.Probe:
		return change{Kind: "probe", At: seconds(m.At)}, nil
	default:
		return change{}, fmt.Errorf("%w: a mutation of unknown type %T", registry.ErrStore, m)
	}
}

func (c *change) decode() (registry.Mutation, error) {
	var user uuid.UUID
	if c.Username != nil {
		user = *c.Username
	}
	value := registry.Value{TXT: c.TXT, At: timeOf(c.At)}
	if (c.Kind == "put" || c.Kind == "drop") && !value.Valid() {
		return nil, fmt.Errorf("%w: a change has the value %q", errDamaged, c.TXT)
	}
	switch c.Kind {
	case "create":
		return registry.CreateAccount{Account: registry.Account{Username: user, PasswordHash: c.Hash, Subdomain: c.Name,
			AllowFrom: c.List, Locked: c.Locked, Note: c.Text,
			Created: timeOf(c.At), Updated: timeOf(c.Updated), Authenticated: timeOf(c.Used)}}, nil
	case "put":
		return registry.PutValue{Username: user, Value: value}, nil
	case "drop":
		return registry.DropValue{Username: user, Value: value}, nil
	case "password":
		return registry.ReplacePassword{Username: user, PasswordHash: c.Hash}, nil
	case "delete":
		return registry.DeleteAccount{Username: user}, nil
	case "allow":
		return registry.SetAllowFrom{Username: user, AllowFrom: c.List}, nil
	case "note":
		return registry.SetNote{Username: user, Note: c.Text}, nil
	case "used":
		return registry.MarkUsed{Username: user, Authenticated: timeOf(c.Used), Updated: timeOf(c.Updated)}, nil
	case "retire":
		return registry.RetireName{Name: c.Name}, nil
	case "release":
		return registry.ReleaseName{Name: c.Name}, nil
	case "challenges":
		return registry.SetChallenges{Values: c.List}, nil
	case "records":
		return registry.SetRecords{Fingerprint: c.Text}, nil
	case "token":
		t := registry.Token{ID: c.Name, Note: c.Text, Created: timeOf(c.At), Expires: timeOf(c.Expires),
			MaxUses: c.Max, Uses: c.Uses, LastUsed: timeOf(c.Used)}
		copy(t.Hash[:], c.Hash)
		return registry.CreateToken{Token: t}, nil
	case "revoke":
		return registry.RevokeToken{ID: c.Name}, nil
	case "use":
		return registry.UseToken{ID: c.Name, At: timeOf(c.At)}, nil
	case "probe":
		return registry.Probe{At: timeOf(c.At)}, nil
	default:
		return nil, fmt.Errorf("%w: a change of unknown kind %q", errNewer, c.Kind)
	}
}

// seconds is t as columns keep a time that may never have been: 0 then.
func seconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

// timeOf is the opposite of seconds.
func timeOf(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0)
}
