package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// maxFile bounds what is read of a configuration file, in bytes.
const maxFile = 8 << 20

// given are the values of one setting, as one source gave them.
type given struct {
	values []string
	at     []Origin
}

// fileReader walks the expressions of a TOML document. The library's own strict
// decoding stops at the first value of a wrong type; walking finds every
// mistake, each with its place.
type fileReader struct {
	name     string
	parser   unstable.Parser
	settings map[string]Setting
	keys     []string
	found    map[string]given
	zones    []Origin // of the headers [[zone]]
	problems Problems
}

// readFile returns the settings of a TOML file, and where its further zones begin.
func readFile(path string, settings []Setting) (map[string]given, []Origin, Problems) {
	data, err := readBounded(path)
	if err != nil {
		return nil, nil, Problems{{Origin: Origin{File: path}, Err: err}}
	}

	r := &fileReader{name: path, settings: map[string]Setting{}, found: map[string]given{}}
	r.know(settings)

	// Syntax, and keys and tables that are given twice, are the library's
	// business: it stops at the first, since nothing after it can be trusted.
	var document map[string]any
	var syntax *toml.DecodeError
	if err := toml.Unmarshal(data, &document); errors.As(err, &syntax) {
		line, column := syntax.Position()
		return nil, nil, Problems{{
			Origin: Origin{File: path, Line: line, Column: column},
			Err:    &ValueError{strings.TrimPrefix(syntax.Error(), "toml: "), "the file is TOML: key = \"value\", lists in [ ]"},
		}}
	} else if err != nil {
		return nil, nil, Problems{{Origin: Origin{File: path}, Err: err}}
	}

	r.parser.Reset(data)
	table := ""
	for r.parser.NextExpression() {
		e := r.parser.Expression()
		switch e.Kind {
		case unstable.Table, unstable.ArrayTable:
			table = r.table(e)
		case unstable.KeyValue:
			r.keyValue(table, e)
		}
	}
	if err := r.parser.Error(); err != nil {
		r.problems = append(r.problems, &Problem{Origin: Origin{File: path}, Err: err})
	}
	return r.found, r.zones, r.problems
}

// know adds settings to those that the file can have.
func (r *fileReader) know(settings []Setting) {
	for _, s := range settings {
		r.settings[s.Key] = s
		r.keys = append(r.keys, s.Key)
	}
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, &ValueError{fmt.Sprintf("cannot be read: %v", errors.Unwrap(err)), "name the file with --config"}
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	if len(data) > maxFile {
		return nil, &ValueError{"is larger than 8 MiB", "is it the right file?"}
	}
	return data, nil
}

// zoneTable is the name of the tables of further zones.
const zoneTable = "zone"

// table returns the prefix that a table header gives to the keys below it.
func (r *fileReader) table(e *unstable.Node) string {
	path, first := keyPath("", e)
	if path == zoneTable {
		if e.Kind == unstable.Table {
			r.problem(first.Raw, path, &ValueError{"is a list of tables", "write [[zone]] at the head of each"})
		}
		i := len(r.zones)
		r.zones = append(r.zones, r.origin(first.Raw))
		r.know(zoneSettings(i))
		return fmt.Sprintf("%s[%d]", zoneTable, i)
	}
	if e.Kind == unstable.ArrayTable {
		r.problem(first.Raw, path, &ValueError{"is not a list of tables", fmt.Sprintf("write [%s]", path)})
		return path
	}
	for _, k := range r.keys {
		if strings.HasPrefix(k, path+".") {
			return path
		}
	}
	r.problem(first.Raw, path, &ValueError{"unknown table", didYouMean(path, []string{"dns", "api", "acme", "log", zoneTable})})
	return path
}

func (r *fileReader) keyValue(prefix string, e *unstable.Node) {
	path, first := keyPath(prefix, e)
	value := e.Value()
	if value.Kind == unstable.InlineTable {
		for it := value.Children(); it.Next(); {
			r.keyValue(path, it.Node())
		}
		return
	}
	setting, ok := r.settings[path]
	if path == zoneTable {
		r.problem(first.Raw, path, &ValueError{"is a list of tables", "write each zone as a table with the head [[zone]]"})
		return
	}
	if !ok {
		r.problem(first.Raw, path, &ValueError{"unknown key", didYouMean(path, r.keys)})
		return
	}
	if value.Kind != unstable.Array {
		r.value(setting, value, first.Raw)
		return
	}
	if !setting.List {
		r.problem(first.Raw, path, &ValueError{"takes one value, not a list", fmt.Sprintf("write %s = \"…\"", lastLabel(path))})
		return
	}
	if _, ok := r.found[path]; !ok {
		r.found[path] = given{}
	}
	for it := value.Children(); it.Next(); {
		r.value(setting, it.Node(), first.Raw)
	}
}

// value takes down one scalar. The place of a value whose own the parser does
// not keep is that of its key.
func (r *fileReader) value(s Setting, v *unstable.Node, key unstable.Range) {
	at := v.Raw
	if at.Length == 0 {
		at = key
	}
	switch v.Kind {
	case unstable.String, unstable.Integer, unstable.Bool:
		g := r.found[s.Key]
		g.values = append(g.values, string(v.Data))
		g.at = append(g.at, r.origin(at))
		r.found[s.Key] = g
	default:
		r.problem(at, s.Key, &ValueError{"takes a string", fmt.Sprintf("write %s = \"…\"", lastLabel(s.Key))})
	}
}

func (r *fileReader) problem(at unstable.Range, key string, err error) {
	r.problems = append(r.problems, &Problem{Origin: r.origin(at), Key: key, Err: err})
}

func (r *fileReader) origin(at unstable.Range) Origin {
	start := r.parser.Shape(at).Start
	return Origin{File: r.name, Line: start.Line, Column: start.Column}
}

// keyPath returns the dotted path of a key or of a table header, and the first
// node of it.
func keyPath(prefix string, e *unstable.Node) (string, *unstable.Node) {
	path := prefix
	var first *unstable.Node
	for it := e.Key(); it.Next(); {
		if first == nil {
			first = it.Node()
		}
		if path != "" {
			path += "."
		}
		path += string(it.Node().Data)
	}
	return path, first
}

func lastLabel(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }
