package storetest

import (
	"slices"
	"time"

	"github.com/google/uuid"

	"cnamed/registry"
)

func deletedAccount(h *harness) {
	a, other := account(), account()
	h.commit(registry.CreateAccount{Account: a}, registry.CreateAccount{Account: other}, put(a, 1), put(a, 2), put(other, 3))
	h.commit(registry.DeleteAccount{Username: a.Username}, registry.DeleteAccount{Username: uuid.New()})
	h.reopen()
	l := h.load()
	if _, there := l.entries[a.Username]; there || len(l.entries) != 1 {
		h.Errorf("%d accounts are left, the deleted one: %v", len(l.entries), there)
	}
	h.wantValues(other.Username, value(3).TXT)
	if _, shared := h.store.(registry.Shared); shared {
		h.wantRefused(0, registry.ErrNotFound, put(a, 1))
	}
	// Its username and name are free, and its values do not come back.
	h.commit(registry.CreateAccount{Account: a}, put(a, 4))
	h.wantValues(a.Username, value(4).TXT)
}

func deletedInOneBatch(h *harness) {
	a := account()
	h.commit(registry.CreateAccount{Account: a}, put(a, 1), registry.DeleteAccount{Username: a.Username},
		registry.CreateAccount{Account: a}, put(a, 2))
	h.reopen()
	h.wantValues(a.Username, value(2).TXT)
}

func allowFromIsReplaced(h *harness) {
	a, locked := account(), account()
	a.AllowFrom, locked.Locked = []string{"192.0.2.0/24"}, true
	h.commit(registry.CreateAccount{Account: a}, registry.CreateAccount{Account: locked})
	lists := [][]string{{"198.51.100.0/24", "::1/64"}, nil}
	for _, want := range lists {
		h.commit(registry.SetAllowFrom{Username: a.Username, AllowFrom: want},
			registry.SetAllowFrom{Username: locked.Username, AllowFrom: want},
			registry.SetAllowFrom{Username: uuid.New(), AllowFrom: want})
		h.reopen()
		for _, username := range []uuid.UUID{a.Username, locked.Username} {
			if got := h.load().entries[username]; !slices.Equal(got.AllowFrom, want) || got.Locked {
				h.Errorf("the allow list is %q, locked %v, want %q", got.AllowFrom, got.Locked, want)
			}
		}
	}
}

func noteIsReplaced(h *harness) {
	a := account()
	a.Note = "as registered"
	h.commit(registry.CreateAccount{Account: a})
	for _, want := range []string{a.Note, `web-1, "Ö"`, ""} {
		h.commit(registry.SetNote{Username: a.Username, Note: want}, registry.SetNote{Username: uuid.New(), Note: "x"})
		h.reopen()
		if got := h.load().entries[a.Username].Note; got != want {
			h.Errorf("the note is %q, want %q", got, want)
		}
	}
}

func useMovesForward(h *harness) {
	a, fresh := account(), account()
	h.commit(registry.CreateAccount{Account: a}, registry.CreateAccount{Account: fresh})
	early, late := moment.Add(time.Hour), moment.Add(2*time.Hour)
	for _, m := range []registry.MarkUsed{
		{Authenticated: early}, {Authenticated: late, Updated: early}, {Authenticated: early, Updated: moment}, {},
	} {
		m.Username = a.Username
		h.commit(m, registry.MarkUsed{Username: uuid.New(), Updated: late})
	}
	h.reopen()
	l := h.load()
	if got := l.entries[a.Username]; !got.Authenticated.Equal(late) || !got.Updated.Equal(early) {
		h.Errorf("authenticated %v, updated %v; want %v, %v", got.Authenticated, got.Updated, late, early)
	}
	if got := l.entries[fresh.Username]; !got.Authenticated.IsZero() || !got.Updated.IsZero() {
		h.Errorf("a new account was authenticated %v, updated %v", got.Authenticated, got.Updated)
	}
	// The times of an account that comes from elsewhere are kept.
	moved := account()
	moved.Authenticated, moved.Updated = late, early
	h.commit(registry.CreateAccount{Account: moved})
	h.reopen()
	if got := h.load().entries[moved.Username]; !got.Authenticated.Equal(late) || !got.Updated.Equal(early) {
		h.Errorf("moved: authenticated %v, updated %v; want %v, %v", got.Authenticated, got.Updated, late, early)
	}
}

func namesAreRetired(h *harness) {
	h.commit(registry.RetireName{Name: "first"}, registry.RetireName{Name: "second"}, registry.RetireName{Name: "FIRST"})
	h.reopen()
	if got := h.load().Retired; len(got) != 2 || !slices.Contains(got, "first") || !slices.Contains(got, "second") {
		h.Errorf("retired are %q", got)
	}
	h.commit(registry.ReleaseName{Name: "First"}, registry.ReleaseName{Name: "third"})
	h.reopen()
	if got := h.load().Retired; !slices.Equal(got, []string{"second"}) {
		h.Errorf("retired are %q", got)
	}
}

func lifeMovesNoSerial(h *harness) {
	a := account()
	last := h.commit(registry.CreateAccount{Account: a})
	for _, m := range []registry.Mutation{
		registry.SetAllowFrom{Username: a.Username}, registry.SetNote{Username: a.Username, Note: "x"},
		registry.MarkUsed{Username: a.Username, Authenticated: moment}, registry.RetireName{Name: "x"}, registry.ReleaseName{Name: "x"},
	} {
		if got := h.commit(m); got != last {
			h.Errorf("%T moved the serial", m)
		}
	}
	if got := h.commit(registry.DeleteAccount{Username: a.Username}); got != last+1 {
		h.Errorf("the deletion brought the serial from %d to %d", last, got)
	}
}
