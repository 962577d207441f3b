package test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"cnamed/registry"
	"cnamed/registry/sqlite"
)

var losses = flag.Int("losses", manyLosses, "at how many moments TestNothingIsLostWithThePower cuts the power")

// TestNothingIsLostWithThePower runs the real server under strace, which records
// every call that writes, flushes, names or removes a file of its data, and every
// reply that it begins to send. The record is replayed to a model of a disk that
// loses what was not flushed, all of it or any sectors of it. At many moments the
// test opens what is left, with the real store, and looks whether each account is
// what the replies until then said, or what the requests under way make of it.
//
// It shows that the program flushes what it must, in the order in which it must.
// It takes the kernel and the disk at their word that a flush is one; a sector of
// 512 octets is written whole or not at all; and a write that was not flushed may
// be missing, but never turns into something else.
//
//	go test ./test -run TestNothingIsLostWithThePower -losses 2000 -v
func TestNothingIsLostWithThePower(t *testing.T) {
	t.Parallel()
	required(t, pathOf("strace") != "", "strace is not installed")
	required(t, exec.Command(pathOf("strace"), "-f", "--seccomp-bpf", "-o", "/dev/null", "true").Run() == nil, "strace is not allowed here")
	t.Run("settling", func(t *testing.T) {
		t.Parallel()
		if !settles {
			t.Skip("the same without the race detector is enough")
		}
		r := newReplay(t)
		r.unsettle()
		r.record()
		r.wantSettled()
		if err := r.play(t, 0, nil, *losses/4); err != nil {
			t.Error(err)
		}
	})
	r := newReplay(t)
	r.record()

	t.Run("flushed", func(t *testing.T) {
		t.Parallel()
		if err := r.play(t, 0, nil, *losses); err != nil {
			t.Error(err)
		}
	})
	// That the check can fail: what SQLite does with synchronous=NORMAL, and OFF, is
	// the same without these flushes. They are missing from the middle on, when the
	// accounts are old; there the log is begun anew.
	half := len(r.events) / 2
	middle := r.events[half].began
	for name, ignores := range map[string]func(event) bool{
		"log not flushed":      isLog,
		"nothing flushed":      func(event) bool { return true },
		"database not flushed": func(e event) bool { return !isLog(e) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := r.play(t, half, func(e event) bool { return e.began > middle && ignores(e) }, *losses)
			if !errors.Is(err, errLost) {
				t.Errorf("what was lost is not noticed: %v", err)
			}
			t.Log(err)
		})
	}
}

// replay is a record of a server, and the ledgers of its clients.
type replay struct {
	*testing.T
	seed   uint64
	data   string
	owners []*owner
	events []event

	before map[string][]byte // files that are there when the record begins
	idle   string            // an account in them
}

func newReplay(t *testing.T) *replay {
	data, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r := &replay{T: t, seed: uint64(time.Now().UnixNano()), data: data}
	r.owners = newOwners(t, 8, r.seed)
	return r
}

// mostRecent is that of registry/sqlite: with so many rows the moving begins.
const mostRecent = 1 << 16

// unsettle makes a database with so many changes of one account that the server moves
// them: see registry/sqlite/settle.go. About a third of them leave before the kill, so
// that all of it begins once more, with what the owners did until then.
func (r *replay) unsettle() {
	r.Helper()
	at := time.Now().Truncate(time.Second)
	a := registry.Account{Username: uuid.New(), Subdomain: uuid.NewString(), PasswordHash: make([]byte, 32), Created: at}
	batch := []registry.Mutation{registry.CreateAccount{Account: a}}
	for i := range mostRecent * 4 / 5 {
		v := registry.Value{TXT: fmt.Sprintf("%043d", i%2), At: at}
		batch = append(batch, registry.PutValue{Username: a.Username, Value: v}, registry.DropValue{Username: a.Username, Value: v})
	}
	commit(r.T, filepath.Join(r.data, "cnamed.db"), batch)
	r.idle, r.before = a.Username.String(), make(map[string][]byte)
	files, err := os.ReadDir(r.data)
	if err != nil {
		r.Fatal(err)
	}
	for _, f := range files {
		if r.before[f.Name()], err = os.ReadFile(filepath.Join(r.data, f.Name())); err != nil {
			r.Fatal(err)
		}
	}
}

// wantSettled looks whether accounts of the owners were moved, and rows have left.
func (r *replay) wantSettled() {
	r.Helper()
	waiting, accounts := unsettled(r.T, filepath.Join(r.data, "cnamed.db"))
	r.Logf("%d accounts are where they stay, and %d rows wait", accounts, waiting)
	if accounts < len(r.owners) || waiting > mostRecent {
		r.Error("so few were moved: the test shows nothing")
	}
}

// record has the owners act until the server is killed, and then on another one
// with the same data until it ends in good order.
func (r *replay) record() {
	r.Helper()
	lines := 0
	for run, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		file := filepath.Join(r.TempDir(), "calls")
		s := record(r.T, file, r.data)
		if run == 0 {
			for _, o := range r.owners {
				o.connect()
			}
		} else {
			each(r.T, r.owners, func(o *owner) error { return o.settle(testContext(r.T), s.API[0]) })
		}
		var answered atomic.Int64
		each(r.T, r.owners, func(o *owner) error {
			for {
				if answered.Load() > 2200 && run > 0 {
					return nil
				}
				err := o.act(testContext(r.T), s.API[0])
				if errors.Is(err, errUnanswered) && run == 0 {
					return nil
				}
				if err != nil {
					return err
				}
				if answered.Add(1) == 1500 && run == 0 {
					go endRecorded(r.T, s, sig)
				}
			}
		})
		for _, o := range r.owners {
			o.close()
		}
		endRecorded(r.T, s, sig)
		events, n, err := readRecording(file, r.data, lines)
		if err != nil {
			r.Fatal(err)
		}
		for i := range events {
			events[i].run = run + 1
		}
		r.events, lines = append(r.events, events...), lines+n
	}
	if r.Failed() {
		r.FailNow()
	}
	count := map[eventKind]int{}
	checkpoints := 0
	for _, e := range r.events {
		count[e.kind]++
		if e.kind == eventSync && e.name == "cnamed.db" {
			checkpoints++
		}
	}
	r.Logf("%d writes, %d flushes (%d of the database itself), %d replies", count[eventWrite], count[eventSync], checkpoints, count[eventReply])
}

func isLog(e event) bool { return strings.HasSuffix(e.name, "-wal") }

// errLost is what is wrong after a loss of power.
var errLost = errors.New("after a loss of power")

// play replays the record and cuts the power at n moments from an event on, most of
// them just after a reply, and whenever the log was begun anew and has little in it.
// It returns what was found wrong first.
func (r *replay) play(t *testing.T, from int, ignores func(event) bool, n int) error {
	random := rand.New(rand.NewPCG(r.seed, 2))
	var replies, moments []int
	anew := false
	for i, e := range r.events[from:] {
		switch {
		case e.kind == eventWrite && isLog(e) && e.offset == 0:
			anew = true
		case e.kind == eventReply && anew:
			moments, anew = append(moments, from+i), false
			fallthrough
		case e.kind == eventReply:
			replies = append(replies, from+i)
		}
	}
	if len(moments) == 0 {
		return errors.New("the log is never begun anew: the test shows nothing")
	}
	for i := range n {
		if i%3 == 0 {
			moments = append(moments, from+random.IntN(len(r.events)-from))
		} else {
			moments = append(moments, replies[random.IntN(len(replies))])
		}
	}
	slices.Sort(moments)

	d := newDisk(r.before)
	d.ignores = ignores
	progress := r.newProgress()
	opened := 0
	for i, e := range r.events {
		if err := d.do(e); err != nil {
			return err
		}
		if err := progress.hear(e); err != nil {
			return err
		}
		for ; len(moments) > 0 && moments[0] == i; moments = moments[1:] {
			for _, chance := range []float64{0, 1, random.Float64(), random.Float64()} {
				if err := progress.check(d, random, chance); err != nil {
					return fmt.Errorf("%w at event %d of %d, with %.2f of what was not flushed: %w", errLost, i, len(r.events), chance, err)
				}
				opened++
			}
		}
	}
	if err := progress.end(); err != nil {
		return err
	}
	t.Logf("what %d losses of power left was opened", opened)
	return nil
}

// progress is what the replies until now have said.
type progress struct {
	*replay
	position map[*owner]int // the steps before it are answered
	conns    map[connection]*owner
}

func (r *replay) newProgress() *progress {
	p := &progress{replay: r, position: map[*owner]int{}, conns: map[connection]*owner{}}
	for _, o := range r.owners {
		o.conns.Range(func(c, _ any) bool {
			p.conns[c.(connection)] = o
			return true
		})
	}
	return p
}

// hear takes a reply in: the next of the owner to whom it goes. One that was begun
// when the server was killed may not have arrived, and belongs to the step without
// an answer that ends the run.
func (p *progress) hear(e event) error {
	if e.kind != eventReply {
		return nil
	}
	o := p.conns[connection{e.run, e.port}]
	if o == nil {
		return fmt.Errorf("a reply to nobody: %q", e.data)
	}
	at := p.position[o]
	for at < len(o.steps) && o.steps[at].run < e.run && !o.steps[at].answered {
		at++
	}
	if at == len(o.steps) || o.steps[at].run != e.run {
		return fmt.Errorf("%s has a reply too many: %q", o.name, e.data)
	}
	p.position[o] = at + 1
	return nil
}

// end checks that all replies were heard, so that the check was one.
func (p *progress) end() error {
	for _, o := range p.owners {
		rest := o.steps[p.position[o]:]
		if slices.ContainsFunc(rest, func(s step) bool { return s.answered }) {
			return fmt.Errorf("%d replies to %s are not in the record", len(rest), o.name)
		}
	}
	return nil
}

// possible returns what the accounts of an owner may be. A request without an
// answer may have been done, also the one that is answered next.
func (p *progress) possible(o *owner) (accounts map[*ledgerAccount][]accountState, notes []string) {
	accounts = map[*ledgerAccount][]accountState{}
	for i, s := range o.steps {
		switch answered := i < p.position[o] && s.answered; {
		case s.account == nil:
			notes = append(notes, s.note)
		case answered:
			accounts[s.account] = []accountState{s.after}
		case accounts[s.account] == nil:
			accounts[s.account] = []accountState{{gone: true}, s.after}
		default:
			accounts[s.account] = append(accounts[s.account], s.after)
		}
		if i >= p.position[o] && s.answered {
			break
		}
	}
	return accounts, notes
}

// check opens what a loss of power leaves, and compares.
func (p *progress) check(d *disk, random *rand.Rand, chance float64) (err error) {
	folder, err := os.MkdirTemp(memory(), "cnamed-loss-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	if err := d.lose(folder, random, chance); err != nil {
		return err
	}
	ctx := context.Background()
	store, err := sqlite.Open(ctx, filepath.Join(folder, "cnamed.db"), sqlite.Options{})
	if err != nil {
		return err
	}
	reg, err := registry.Open(ctx, store, registry.Options{})
	if err != nil {
		return errors.Join(err, store.Close())
	}
	defer func() { err = errors.Join(err, reg.Close()) }()

	known, notes := map[string]bool{p.idle: true}, map[string]bool{}
	for _, o := range p.owners {
		accounts, open := p.possible(o)
		for a, states := range accounts {
			known[a.Username] = true
			if err := compare(ctx, reg, a, states); err != nil {
				return fmt.Errorf("%s: %w", o.name, err)
			}
		}
		for _, note := range open {
			notes[note] = true
		}
	}
	all, next := reg.List(0, 1<<20, registry.Filter{})
	for _, d := range all {
		whole := accountState{note: d.Note, allow: []string{"127.0.0.1/32"}}
		if !known[d.Username.String()] && (!notes[d.Note] || !whole.is(d.Note, d.AllowFrom, nil) || len(d.Values) > 0) {
			return fmt.Errorf("nobody has asked for %+v", d)
		}
	}
	if next != 0 {
		return errors.New("there are more accounts than anybody asked for")
	}
	return nil
}

// memory is a folder in memory, where there is one: what a replay writes need not
// be flushed.
func memory() string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return ""
}

// compare fails unless the account is one of states, all of it.
func compare(ctx context.Context, reg *registry.Registry, a *ledgerAccount, states []accountState) error {
	access, err := reg.AccessTo(a.Username)
	if errors.Is(err, registry.ErrNotFound) {
		if slices.ContainsFunc(states, func(s accountState) bool { return s.gone }) {
			return nil
		}
		return fmt.Errorf("%s is lost; it must be one of %+v", a.Username, states)
	}
	if err != nil {
		return err
	}
	is, err := access.Details(ctx)
	if err != nil {
		return err
	}
	var values []string
	for _, v := range is.Values {
		values = append(values, v.TXT)
	}
	for _, s := range states {
		if s.gone || !s.is(is.Note, is.AllowFrom, values) || is.Subdomain != a.Subdomain {
			continue
		}
		_, err := reg.Login(registry.Login{Username: a.Username, Password: s.password, Source: netip.MustParseAddr("127.0.0.1")})
		if s.password == "" || err == nil {
			return nil
		}
	}
	return fmt.Errorf("%s must be one of %+v, and is %+v", a.Username, states, is)
}

// TestReplyBegunAtTheKill: the one whose sending was recorded and that did not
// arrive is not taken for that of the next step, which would then be expected
// before it was done.
func TestReplyBegunAtTheKill(t *testing.T) {
	t.Parallel()
	o := newOwner("owner", 1)
	o.conns.Store(connection{1, 1000}, true)
	o.conns.Store(connection{2, 1000}, true)
	o.steps = []step{{run: 1, answered: true}, {run: 1}, {run: 2, answered: true}}
	for _, heard := range [][]int{{1, 2}, {1, 1, 2}} { // runs
		p := (&replay{T: t, owners: []*owner{o}}).newProgress()
		for i, run := range heard {
			if err := p.hear(event{kind: eventReply, run: run, port: 1000}); err != nil {
				t.Error(err)
			}
			if got, want := p.position[o] == len(o.steps), i == len(heard)-1; got != want {
				t.Errorf("after %d of the replies %v the owner has done %d steps", i+1, heard, p.position[o])
			}
		}
		if err := p.hear(event{kind: eventReply, run: 2, port: 1000}); err == nil {
			t.Error("a reply too many is not noticed")
		}
	}
}
