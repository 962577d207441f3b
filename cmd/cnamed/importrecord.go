package main

import (
	"slices"
	"strconv"
	"strings"
)

// oldRecord is one entry of records in acme-dns, as we write it.
type oldRecord struct {
	text  string
	notes []string
	owner string
	typ   string // in upper case; empty where no type was found
	data  []string
}

// namesLast are the types whose data ends in a name.
var namesLast = []string{"NS", "CNAME", "PTR", "MX", "SRV", "DNAME"}

// readRecords takes the static records apart as far as it must. In acme-dns
// every name is absolute, with a dot at the end or not; here one without is
// below the domain.
func (c *converter) readRecords() {
	for _, text := range c.old.General.Records {
		if strings.TrimSpace(text) == "" {
			continue
		}
		r := &oldRecord{text: strings.TrimSpace(text)}
		c.records = append(c.records, r)
		fields := strings.Fields(r.text)
		i := typeField(fields)
		if i < 0 {
			continue // it will be found to be wrong
		}
		r.owner, r.typ, r.data = fields[0], strings.ToUpper(fields[i]), fields[i+1:]
		if strings.Join(r.data, " ") != strings.ToLower(strings.Join(r.data, " ")) {
			r.notes = append(r.notes, "acme-dns served the data of this one in lower case.")
		}
		r.makeAbsolute(fields, i)
	}
}

// typeField returns the index of the type in a record: behind the owner, and
// perhaps a TTL and a class in either order.
func typeField(fields []string) int {
	for i := 1; i < min(len(fields), 4); i++ {
		f := strings.ToUpper(fields[i])
		switch {
		case f == "IN":
		case isTTL(f):
		default:
			if i+1 < len(fields) {
				return i
			}
			return -1
		}
	}
	return -1
}

// isTTL reports whether s is a number, with the units of BIND or without.
func isTTL(s string) bool {
	_, err := strconv.Atoi(strings.NewReplacer("W", "", "D", "", "H", "", "M", "", "S", "").Replace(s))
	return err == nil
}

// makeAbsolute ends names with the dot that they had in effect.
func (r *oldRecord) makeAbsolute(fields []string, typ int) {
	before := slices.Clone(fields)
	if fields[0] == "@" {
		fields[0] = "." // acme-dns knows no origin
	} else {
		fields[0] = withDot(fields[0])
	}
	if last := len(fields) - 1; slices.Contains(namesLast, r.typ) && last > typ && !strings.Contains(r.text, ";") {
		fields[last] = withDot(fields[last])
	}
	if slices.Equal(before, fields) {
		return
	}
	r.notes = append(r.notes, "A full name ends in a dot here; acme-dns had: "+r.text)
	// Only names have changed, so that the text between quotes stays as it is.
	_, rest, _ := strings.Cut(r.text, before[0])
	r.text = fields[0] + rest
	if last := len(fields) - 1; before[last] != fields[last] {
		r.text = strings.TrimSuffix(r.text, before[last]) + fields[last]
	}
	r.owner, r.data = fields[0], fields[typ+1:]
}

func withDot(name string) string {
	if strings.HasSuffix(name, ".") {
		return name
	}
	return name + "."
}

// plainName is a name in lower case and without the dot at its end.
func plainName(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }
