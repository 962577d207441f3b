package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"unicode/utf8"

	"cnamed/registry"
)

// exportReader reads an export line by line. Errors begin with the name of the
// file and the number of the line.
type exportReader struct {
	lines  *bufio.Reader
	name   string
	number int
	read   int64 // bytes

	header  exportHeader
	tokens  []registry.Token
	retired []string
	next    exportLine // the first after those
	found   exportEnd
}

// newExportReader reads everything before the accounts.
func newExportReader(r io.Reader, name string) (*exportReader, error) {
	x := &exportReader{lines: bufio.NewReaderSize(r, maxExportLine), name: name, tokens: []registry.Token{}}
	if err := x.readHeader(); err != nil {
		return nil, err
	}
	for {
		if err := x.readLine(); err != nil {
			return nil, err
		}
		switch {
		case x.next.Token != nil:
			token, err := x.next.Token.token()
			if err != nil {
				return nil, x.fail(fmt.Errorf("the token: %w", err))
			}
			x.tokens = append(x.tokens, token)
			x.found.Tokens++
		case x.next.Retired != "":
			x.retired = append(x.retired, x.next.Retired)
			x.found.Retired++
		default:
			return x, nil
		}
	}
}

func (x *exportReader) readHeader() error {
	const otherwise = "cnamed export writes such a file; for one of cnamed backup see cnamed restore --help"
	line, err := x.line()
	if err == nil {
		err = json.Unmarshal(line, &x.header)
	}
	switch {
	case errors.Is(err, io.EOF):
		return withHint(fmt.Errorf("%s is empty", x.name), otherwise)
	case err != nil || x.header.Format != exportFormat:
		return withHint(fmt.Errorf("%s is no export: its first line is no header", x.name), otherwise)
	case x.header.Version > exportVersion:
		return withHint(x.fail(fmt.Errorf("it has version %d of the format, this program knows %d", x.header.Version, exportVersion)),
			"install the version of cnamed that wrote it, or a newer one")
	case x.header.Version < 1 || x.header.Serial > 1<<62:
		return x.fail(errors.New("the header makes no sense"))
	}
	return nil
}

// entries yields the accounts. It ends with an error unless the last line is
// there and says how many there were.
func (x *exportReader) entries() iter.Seq2[*registry.Entry, error] {
	return func(yield func(*registry.Entry, error) bool) {
		for ; x.next.Account != nil; x.found.Accounts++ {
			e, err := x.next.Account.entry()
			if err != nil {
				yield(nil, x.fail(fmt.Errorf("account %s: %w", x.next.Account.Username, err)))
				return
			}
			if !yield(e, nil) {
				return
			}
			if err := x.readLine(); err != nil {
				yield(nil, err)
				return
			}
		}
		if err := x.finish(); err != nil {
			yield(nil, err)
		}
	}
}

func (x *exportReader) finish() error {
	switch {
	case x.next.End == nil:
		return x.fail(errors.New("tokens and retired names come before the accounts"))
	case *x.next.End != x.found:
		return x.fail(fmt.Errorf("there are %+v, and there should be %+v: lines are missing", x.found, *x.next.End))
	}
	switch _, err := x.line(); {
	case err == nil:
		return x.fail(errors.New("there is more after the last line"))
	case !errors.Is(err, io.EOF):
		return x.fail(err)
	}
	return nil
}

// readLine decodes the next line, which is not the first.
func (x *exportReader) readLine() error {
	line, err := x.line()
	if errors.Is(err, io.EOF) {
		return withHint(fmt.Errorf("%s ends after line %d, without its last line: it was cut short", x.name, x.number),
			"copy or export it again; nothing was imported")
	}
	if err != nil {
		return x.fail(err)
	}
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields() // they would be lost
	x.next = exportLine{}
	if err := d.Decode(&x.next); err != nil {
		return x.fail(err)
	}
	if d.More() {
		return x.fail(errors.New("there is more than one object on the line"))
	}
	kinds := 0
	for _, is := range []bool{x.next.Token != nil, x.next.Retired != "", x.next.Account != nil, x.next.End != nil} {
		if is {
			kinds++
		}
	}
	if kinds != 1 {
		return x.fail(errors.New("the line has to be one of token, retired, account and end"))
	}
	return nil
}

// line returns the next line, which is good until the next call.
func (x *exportReader) line() ([]byte, error) {
	line, err := x.lines.ReadSlice('\n')
	x.read += int64(len(line))
	if len(line) > 0 || err == nil {
		x.number++
	}
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, fmt.Errorf("it is longer than %d bytes", maxExportLine)
	case errors.Is(err, io.EOF) && len(line) > 0:
		return nil, io.EOF // not a whole line
	case err != nil:
		return nil, err
	case !utf8.Valid(line):
		return nil, errors.New("it is not UTF-8")
	}
	return line, nil
}

func (x *exportReader) fail(err error) error { return fmt.Errorf("%s:%d: %w", x.name, x.number, err) }
