package main

import (
	"fmt"
	"slices"
	"strings"
)

// configText is a configuration file that is being written. Each value stands
// on a line of its own, so that one that turns out to be wrong can be taken out
// by its place.
type configText struct {
	header []string
	tables []*configTable
}

type configTable struct {
	name  string // empty for the keys before the first table
	items []*configItem
}

// configItem is a setting, or a comment where it has no key.
type configItem struct {
	notes  []string
	key    string
	list   bool
	values []*configValue
}

type configValue struct {
	notes []string
	text  string
	off   string // why it is only a comment; empty: it is not
}

func (t *configTable) set(key, value string, notes ...string) {
	t.items = append(t.items, &configItem{notes: notes, key: key, values: []*configValue{{text: value}}})
}

func (t *configTable) setList(key string, values []*configValue, notes ...string) {
	t.items = append(t.items, &configItem{notes: notes, key: key, list: true, values: values})
}

func (t *configTable) note(notes ...string) {
	t.items = append(t.items, &configItem{notes: notes})
}

// leftOut begins the comment at a value that is off.
const leftOut = "Left out: "

// render returns the file, and the value of each line that has one, the first
// line being 1.
func (c *configText) render() (text string, at map[int]*configValue) {
	w := &configWriter{at: map[int]*configValue{}}
	w.comment("", c.header)
	for _, t := range c.tables {
		if len(t.items) == 0 {
			continue
		}
		if t.name != "" {
			w.line("")
			w.line("[" + t.name + "]")
		}
		for i, item := range t.items {
			if t.name == "" && i == 0 || i > 0 && len(item.notes)+len(t.items[i-1].notes) > 0 {
				w.line("")
			}
			w.item(item)
		}
	}
	return w.text.String(), w.at
}

type configWriter struct {
	text  strings.Builder
	lines int
	at    map[int]*configValue
}

func (w *configWriter) line(s string) {
	w.text.WriteString(s + "\n")
	w.lines++
}

// comment writes notes, which must not have a way out of a comment.
func (w *configWriter) comment(indent string, notes []string) {
	for _, n := range notes {
		for l := range strings.SplitSeq(wrap(n, 96), "\n") {
			w.line(indent + "# " + l)
		}
	}
}

func (w *configWriter) item(item *configItem) {
	w.comment("", item.notes)
	switch {
	case item.key == "":
	case item.list && len(item.values) == 1 && len(item.values[0].notes) == 0:
		v := item.values[0]
		w.value(v, "", item.key+" = ["+quoteTOML(v.text)+"]")
	case item.list:
		// A list with nothing in it is not the same as none.
		off := ""
		if !slices.ContainsFunc(item.values, func(v *configValue) bool { return v.off == "" }) {
			off = "#"
		}
		w.line(off + item.key + " = [")
		for _, v := range item.values {
			w.value(v, "  ", quoteTOML(v.text)+",")
		}
		w.line(off + "]")
	default:
		w.value(item.values[0], "", item.key+" = "+quoteTOML(item.values[0].text))
	}
}

func (w *configWriter) value(v *configValue, indent, text string) {
	w.comment(indent, v.notes)
	if v.off != "" {
		w.comment(indent, []string{leftOut + v.off})
		indent += "#"
	}
	w.line(indent + text)
	w.at[w.lines] = v
}

// wrap breaks text between words, and makes what is no printable character
// visible.
func wrap(text string, width int) string {
	var b strings.Builder
	used := 0
	for i, word := range strings.Fields(text) {
		if q := fmt.Sprintf("%q", word); strings.ContainsFunc(word, isControl) {
			word = q
		}
		switch {
		case i == 0:
		case used+1+len(word) > width:
			b.WriteByte('\n')
			used = 0
		default:
			b.WriteByte(' ')
			used++
		}
		b.WriteString(word)
		used += len(word)
	}
	return b.String()
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// quoteTOML returns s as a TOML string: a literal one where that reads better.
func quoteTOML(s string) string {
	if strings.ContainsAny(s, `"\`) && !strings.Contains(s, "'") && !strings.ContainsFunc(s, isControl) {
		return "'" + s + "'"
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case isControl(r):
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
