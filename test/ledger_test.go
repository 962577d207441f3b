package test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
)

// owner is a client of the API that does one thing after the other with accounts
// of its own, and keeps a ledger: what was answered, and what each account must
// be since then.
type owner struct {
	name     string
	random   *rand.Rand
	client   *http.Client
	accounts []*ledgerAccount
	steps    []step
	run      int      // of the server, as often as connect was called
	conns    sync.Map // a connection each
	count    int      // of values and notes, so that each is another one
}

// connection is one to a run of the server, by the port of the client.
type connection struct{ run, port int }

type ledgerAccount struct {
	account
	state accountState
}

// accountState is what one account is.
type accountState struct {
	gone     bool
	password string // "": a new one, which the server could not tell any more
	note     string
	allow    []string
	values   []string // the newest first
}

// step is a request, and what the account must be after it was answered. One that
// was not answered was done, or was not.
type step struct {
	account  *ledgerAccount // nil: one of which nobody has the credentials
	note     string
	after    accountState
	answered bool
	run      int
}

var errUnanswered = errors.New("the server did not answer")

func newOwner(name string, seed uint64) *owner {
	return &owner{name: name, random: rand.New(rand.NewPCG(seed, 0))}
}

// connect gives the owner connections of its own to another run of the server. By
// their ports a recording knows to whom a reply goes.
func (o *owner) connect() {
	o.close()
	o.run++
	run := o.run
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err == nil {
			o.conns.Store(connection{run, conn.LocalAddr().(*net.TCPAddr).Port}, true)
		}
		return conn, err
	}
	o.client = &http.Client{Transport: &http.Transport{DialContext: dial, MaxConnsPerHost: 1, MaxIdleConnsPerHost: 1}}
}

func (o *owner) note(s step) {
	s.run = o.run
	o.steps = append(o.steps, s)
}

func (o *owner) close() {
	if o.client != nil {
		o.client.CloseIdleConnections()
	}
}

// live returns the accounts that the owner can use.
func (o *owner) live() (list []*ledgerAccount) {
	for _, a := range o.accounts {
		if !a.state.gone && a.state.password != "" {
			list = append(list, a)
		}
	}
	return list
}

// act does one thing at random. errUnanswered: the server is gone.
func (o *owner) act(ctx context.Context, api string) error {
	live := o.live()
	if len(live) == 0 || len(live) < 4 && o.random.IntN(8) == 0 {
		return o.register(ctx, api)
	}
	a := live[o.random.IntN(len(live))]
	after := a.state
	o.count++
	switch dice := o.random.IntN(100); {
	case dice < 8 && len(after.values) > 0:
		i := o.random.IntN(len(after.values))
		path := "/v1/account/values/" + after.values[i]
		after.values = slices.Delete(slices.Clone(after.values), i, i+1)
		return o.change(ctx, api, a, http.MethodDelete, path, "", after)
	case dice < 12 || len(after.values) > 24:
		after.values = nil
		return o.change(ctx, api, a, http.MethodDelete, "/v1/account/values", "", after)
	case dice < 22:
		after.note = fmt.Sprintf("%s, %d", o.name, o.count)
		after.allow = []string{"127.0.0.0/8", fmt.Sprintf("192.0.2.%d/32", o.count%256)}
		body := fmt.Sprintf(`{"note":%q,"allowfrom":["%s","%s"]}`, after.note, after.allow[0], after.allow[1])
		return o.change(ctx, api, a, http.MethodPatch, "/v1/account", body, after)
	case dice < 27:
		after.password = ""
		return o.change(ctx, api, a, http.MethodPost, "/v1/account/password", "", after)
	case dice < 31:
		return o.change(ctx, api, a, http.MethodDelete, "/v1/account", "", accountState{gone: true})
	default:
		txt := value(o.count)
		after.values = append([]string{txt}, after.values...)
		return o.change(ctx, api, a, http.MethodPost, "/update", fmt.Sprintf(`{"subdomain":%q,"txt":%q}`, a.Subdomain, txt), after)
	}
}

func (o *owner) register(ctx context.Context, api string) error {
	o.count++
	state := accountState{note: fmt.Sprintf("%s, registration %d", o.name, o.count), allow: []string{"127.0.0.1/32"}}
	body := fmt.Sprintf(`{"note":%q,"allowfrom":["127.0.0.1/32"]}`, state.note)
	r, err := call(ctx, o.client, http.MethodPost, api+"/register", account{}, body)
	if err != nil {
		o.note(step{note: state.note})
		return errUnanswered
	}
	a := &ledgerAccount{}
	if err := r.error(http.StatusCreated); err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(r.body), &a.account); err != nil {
		return err
	}
	state.password = a.Password
	a.state = state
	o.accounts = append(o.accounts, a)
	o.note(step{account: a, after: state, answered: true})
	return nil
}

// change makes a request that turns an account into after.
func (o *owner) change(ctx context.Context, api string, a *ledgerAccount, method, path, body string, after accountState) error {
	r, err := call(ctx, o.client, method, api+path, a.account, body)
	if err != nil {
		o.note(step{account: a, after: after})
		return errUnanswered
	}
	if r.status/100 != 2 {
		return fmt.Errorf("%s %s: %d %s", method, path, r.status, r.body)
	}
	if !after.gone && after.password == "" {
		if err := json.Unmarshal([]byte(r.body), &a.account); err != nil {
			return err
		}
		after.password = a.Password
	}
	a.state = after
	o.note(step{account: a, after: after, answered: true})
	return nil
}

// settle asks for every account after a restart, and fails if one is neither what
// was answered nor what the request without an answer would have made of it.
func (o *owner) settle(ctx context.Context, api string) error {
	var open *step
	if n := len(o.steps); n > 0 && !o.steps[n-1].answered {
		open = new(o.steps[n-1])
	}
	o.connect()
	for _, a := range o.live() {
		possible := []accountState{a.state}
		if open != nil && open.account == a {
			possible = append(possible, open.after)
		}
		r, err := call(ctx, o.client, http.MethodGet, api+"/v1/account", a.account, "")
		if err != nil {
			return err
		}
		i := slices.IndexFunc(possible, func(s accountState) bool { return s.fits(r) })
		if i < 0 {
			return fmt.Errorf("%s must be one of %+v, and is %d %s", a.Username, possible, r.status, r.body)
		}
		a.state = possible[i]
		o.note(step{account: a, after: a.state, answered: true})
	}
	return nil
}

// fits reports whether an account of this state can get such a reply.
func (s *accountState) fits(r reply) bool {
	if s.gone || s.password == "" {
		return r.status == http.StatusUnauthorized
	}
	var got struct {
		Note      string
		AllowFrom []string
		Values    []struct{ TXT string }
	}
	if r.status != http.StatusOK || json.Unmarshal([]byte(r.body), &got) != nil {
		return false
	}
	var values []string
	for _, v := range got.Values {
		values = append(values, v.TXT)
	}
	return s.is(got.Note, got.AllowFrom, values)
}

func (s *accountState) is(note string, allow, values []string) bool {
	return s.note == note && slices.Equal(s.allow, allow) && slices.Equal(s.values, values)
}

// newOwners returns owners who are different in each run, and says how to have
// the same again.
func newOwners(t *testing.T, n int, seed uint64) []*owner {
	t.Logf("the owners act by seed %d", seed)
	owners := make([]*owner, n)
	for i := range owners {
		owners[i] = newOwner(fmt.Sprintf("owner %d", i), seed+uint64(i))
		t.Cleanup(owners[i].close)
	}
	return owners
}
