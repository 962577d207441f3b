package test

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"cnamed/test/program"
)

// event is a system call of a recorded server: one that changes a file of its
// data folder, flushes one, or begins to send a reply.
type event struct {
	kind   eventKind
	began  int    // the call's place in the order of all lines; others may come before its end
	name   string // of the file
	port   int    // reply: to which it goes
	run    int    // of the server: 1, 2
	to     string // rename
	offset int64  // write; truncate: the new size
	data   []byte // write, reply
}

type eventKind int

const (
	eventCreate eventKind = iota
	eventWrite
	eventTruncate
	eventRename
	eventRemove
	eventSync  // of a file
	eventNames // flush of the folder
	eventReply
)

// recorded are the calls that are understood, and those that must not occur, as
// what they would do to a data folder is not.
const recorded = "openat,open,creat,write,pwrite64,fsync,fdatasync,ftruncate,rename,renameat,renameat2,unlink,unlinkat," +
	"mmap,writev,pwritev,pwritev2,truncate,fallocate,copy_file_range,sendfile,splice,link,linkat,symlinkat"

// record starts a server under strace, which writes its calls to file.
func record(t *testing.T, file, data string) *program.Server {
	t.Helper()
	trace := []string{pathOf("strace"), "-f", "-yy", "-xx", "-s", "65536", "-e", "signal=none", "-e", "trace=" + recorded,
		"--seccomp-bpf", "-o", file, "--"}
	s, err := program.Start(testContext(t), binary, program.Options{Setup: func(c *exec.Cmd) {
		c.Path, c.Args = trace[0], append(trace, append([]string{binary}, c.Args[1:]...)...)
	}}, serveArgs(data)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { endRecorded(t, s, syscall.SIGKILL) })
	return s
}

// endRecorded sends a signal to a recorded server, and returns when it has ended
// and all is written.
func endRecorded(t *testing.T, s *program.Server, sig syscall.Signal) {
	select {
	case <-s.Exited():
		return
	default:
	}
	for _, child := range childrenOf(s.Pid()) {
		if err := syscall.Kill(child, sig); err != nil && !errors.Is(err, syscall.ESRCH) { // it may have ended meanwhile
			t.Error(err)
		}
	}
	<-s.Exited()
}

func childrenOf(parent int) (children []int) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", parent))
	for _, file := range files {
		text, _ := os.ReadFile(file)
		for _, field := range strings.Fields(string(text)) {
			pid, _ := strconv.Atoi(field)
			children = append(children, pid)
		}
	}
	return children
}

// traced is a call as strace writes it, its two halves put together.
type traced struct {
	line   int
	name   string
	args   []string
	result string
}

// readRecording reads what strace wrote of a server with a data folder, which has
// ended. first numbers the lines. Of a write that was under way when the server was
// killed strace cannot tell how much was done, but the file can.
func readRecording(file, data string, first int) (events []event, lines int, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	scanner := bufio.NewScanner(f)
	scanner.Buffer(nil, 1<<20)
	begun := map[string]traced{} // by thread
	for scanner.Scan() {
		line := first + lines
		lines++
		thread, rest, _ := strings.Cut(scanner.Text(), " ")
		rest = strings.TrimLeft(rest, " ")
		if strings.HasPrefix(rest, "+++") || strings.HasPrefix(rest, "---") {
			continue
		}
		if unfinished, ok := strings.CutSuffix(rest, " <unfinished ...>"); ok {
			call := parseCall(line, strings.TrimSuffix(unfinished, ",")+") = ?")
			begun[thread] = call
			if e, ok := call.reply(); ok {
				events = append(events, e)
			}
			continue
		}
		var call traced
		if resumed, ok := strings.CutPrefix(rest, "<... "); ok {
			call = begun[thread]
			delete(begun, thread)
			_, tail, _ := strings.Cut(resumed, " resumed>")
			end := parseCall(line, "x("+strings.TrimPrefix(tail, ", "))
			call.args, call.result = append(call.args, end.args...), end.result
		} else {
			call = parseCall(line, rest)
			if e, ok := call.reply(); ok {
				events = append(events, e)
				continue
			}
		}
		e, ok, err := call.event(data)
		if err != nil {
			return nil, 0, fmt.Errorf("line %d: %w", line, err)
		}
		if ok {
			events = append(events, e)
		}
	}
	for _, call := range begun {
		e, ok, err := call.event(data)
		if err != nil {
			return nil, 0, fmt.Errorf("line %d: %w", call.line, err)
		}
		if ok {
			events = append(events, e)
		}
	}
	return events, lines, scanner.Err()
}

// parseCall takes a line apart. Texts are in hexadecimal, so that no punctuation
// is a part of one.
func parseCall(line int, text string) traced {
	name, rest, _ := strings.Cut(text, "(")
	end := strings.LastIndex(rest, " = ")
	if end < 0 {
		return traced{line: line, name: name}
	}
	args := strings.TrimSuffix(strings.TrimRight(rest[:end], " "), ")")
	args = strings.TrimSuffix(args, " <unfinished ...>") // of a thread that was killed
	c := traced{line: line, name: name, result: rest[end+3:]}
	if args != "" {
		c.args = strings.Split(args, ", ")
	}
	return c
}

// number is the result, or -1 where the call failed or never returned.
func (c *traced) number() int64 {
	text, _, _ := strings.Cut(c.result, "<")
	text, _, _ = strings.Cut(text, " ")
	n, err := strconv.ParseInt(text, 0, 64)
	if err != nil {
		return -1
	}
	return n
}

// reply returns the beginning of an HTTP response, which counts from the moment
// in which it may have been sent.
func (c *traced) reply() (event, bool) {
	if c.name != "write" || len(c.args) < 2 {
		return event{}, false
	}
	_, peer, isConn := strings.Cut(c.args[0], "->127.0.0.1:")
	data := unhex(strings.Trim(c.args[1], `"`))
	if !isConn || !strings.HasPrefix(data, "HTTP/1.1 ") {
		return event{}, false
	}
	port, _ := strconv.Atoi(strings.TrimSuffix(peer, "]>"))
	return event{kind: eventReply, began: c.line, port: port, data: []byte(data)}, true
}

var errNotUnderstood = errors.New("a call that changes the data in a way that the test does not know")

// event returns what a call did to the data folder, if anything.
func (c *traced) event(data string) (e event, ok bool, err error) {
	killed := c.result == "?" && c.name == "pwrite64"
	if c.number() < 0 && !killed {
		return e, false, nil
	}
	arg := func(i int) string {
		if i < len(c.args) {
			return c.args[i]
		}
		return ""
	}
	e.began = c.line
	var path string
	at := func(folder, name int) string { // an argument that is a path, and the folder it is in
		p := unhex(strings.Trim(arg(name), `"`))
		if !filepath.IsAbs(p) && folder >= 0 {
			p = filepath.Join(unhex(descriptor(arg(folder))), p)
		}
		return p
	}
	switch c.name {
	case "open", "openat":
		folder, name := 0, 1
		if c.name == "open" {
			folder, name = -1, 0
		}
		flags := arg(name + 1)
		if path, e.kind = at(folder, name), eventCreate; inside(data, path) && strings.Contains(flags, "O_TRUNC") {
			return e, false, fmt.Errorf("%w: %s with O_TRUNC", errNotUnderstood, path)
		}
		if !strings.Contains(flags, "O_CREAT") {
			return e, false, nil
		}
	case "write", "pwrite64":
		path, e.kind = unhex(descriptor(arg(0))), eventWrite
		if !inside(data, path) {
			return e, false, nil
		}
		e.data = []byte(unhex(strings.Trim(arg(1), `"`)))
		e.offset = -1 // at the end
		if c.name == "pwrite64" {
			if e.offset, err = strconv.ParseInt(arg(3), 10, 64); err != nil {
				return e, false, err
			}
		}
		want := int(c.number())
		if killed {
			if want = written(path, e.offset, e.data); want == 0 {
				return e, false, nil
			}
		}
		if want > len(e.data) {
			return e, false, fmt.Errorf("%d octets of %d were recorded", len(e.data), want)
		}
		e.data = e.data[:want]
	case "fsync", "fdatasync":
		if path, e.kind = unhex(descriptor(arg(0))), eventSync; path == data {
			e.kind = eventNames
			return e, true, nil
		}
	case "ftruncate":
		path, e.kind = unhex(descriptor(arg(0))), eventTruncate
		if e.offset, err = strconv.ParseInt(arg(1), 10, 64); err != nil {
			return e, false, err
		}
	case "rename", "renameat", "renameat2":
		from, to := at(-1, 0), at(-1, 1)
		if c.name != "rename" {
			from, to = at(0, 1), at(2, 3)
		}
		path, e.kind, e.to = from, eventRename, filepath.Base(to)
		if inside(data, from) != inside(data, to) {
			return e, false, nil // a socket comes from a folder of its own
		}
	case "unlink":
		path, e.kind = at(-1, 0), eventRemove
	case "unlinkat":
		path, e.kind = at(0, 1), eventRemove
	case "mmap":
		// The index of the log is shared memory, and made anew after a crash.
		path = unhex(descriptor(arg(4)))
		if !strings.Contains(arg(3), "MAP_SHARED") || strings.HasSuffix(path, "-shm") {
			return e, false, nil
		}
		if inside(data, path) {
			return e, false, fmt.Errorf("%w: mmap of %s", errNotUnderstood, path)
		}
	default:
		for i := range c.args {
			if inside(data, unhex(descriptor(arg(i)))) || inside(data, at(-1, i)) {
				return e, false, fmt.Errorf("%w: %s", errNotUnderstood, c.name)
			}
		}
	}
	if !inside(data, path) {
		return e, false, nil
	}
	e.name = filepath.Base(path)
	return e, true, nil
}

// written returns how much of data a file has at an offset.
func written(path string, offset int64, data []byte) (n int) {
	content, _ := os.ReadFile(path)
	if offset > int64(len(content)) {
		return 0
	}
	content = content[offset:]
	for n < min(len(data), len(content)) && content[n] == data[n] {
		n++
	}
	return n
}

// inside reports whether path is a file that matters, directly in the folder.
func inside(data, path string) bool {
	return filepath.Dir(path) == data && !strings.HasSuffix(path, "-shm")
}

// descriptor returns what strace -yy says that a descriptor leads to.
func descriptor(arg string) string {
	_, path, _ := strings.Cut(arg, "<")
	return strings.TrimSuffix(path, ">")
}

// unhex reads the \x.. of strace. A text without them stays.
func unhex(text string) string {
	raw, err := hex.DecodeString(strings.ReplaceAll(text, `\x`, ""))
	if err != nil || !strings.HasPrefix(text, `\x`) {
		return text
	}
	return string(raw)
}

// TestWriteUnderWayAtTheKill: what was done of it is there for the next server,
// whose writes come behind it.
func TestWriteUnderWayAtTheKill(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	path := filepath.Join(folder, "cnamed.db-wal")
	hex := func(text string) string {
		return regexp.MustCompile("..").ReplaceAllString(fmt.Sprintf("%x", text), `\x$0`)
	}
	call := fmt.Sprintf(`7 pwrite64(9<%s>, "%s", 4, 2`, hex(path), hex("abcd"))
	for content, want := range map[string]string{"01abcd": "abcd@2", "01abxxx": "ab@2", "01": "", "0": ""} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, lines := range []string{
			call + ") = ?\n",
			call + " <unfinished ...>) = ?\n",
			call + " <unfinished ...>\n7 +++ killed by SIGKILL +++\n",
			call + " <unfinished ...>\n7 <... pwrite64 resumed>) = ?\n",
		} {
			file := filepath.Join(t.TempDir(), "calls")
			if err := os.WriteFile(file, []byte(lines), 0o600); err != nil {
				t.Fatal(err)
			}
			events, _, err := readRecording(file, folder, 0)
			got := ""
			for _, e := range events {
				got += fmt.Sprint(string(e.data), "@", e.offset)
			}
			if err != nil || got != want {
				t.Errorf("%q and %q: %q, %v", lines, content, got, err)
			}
		}
	}
}
