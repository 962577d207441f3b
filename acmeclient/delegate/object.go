package delegate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// object is a JSON object which keeps the order and the text of its members, so that what we do not know survives.
type object []member

type member struct {
	key    string
	rawKey []byte // the key as it is written, with its quotes
	value  json.RawMessage
	offset int64 // of the value in the text that was parsed
}

// errNoObject says that the text is JSON, but no object.
var errNoObject = errors.New("must be a JSON object")

// errOffset is an error at an offset.
type errOffset struct {
	offset int64
	err    error
}

func (e *errOffset) Error() string { return e.err.Error() }
func (e *errOffset) Unwrap() error { return e.err }

// parseObject reads text, which is one object and nothing else. No two members may have the same key: readers differ on
// which one counts. Errors are *errOffset.
func parseObject(text []byte) (object, error) {
	var whole json.RawMessage
	if err := json.Unmarshal(text, &whole); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return nil, &errOffset{syntax.Offset - 1, err} // Offset counts the octet at fault
		}
		return nil, &errOffset{0, err}
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	token, err := dec.Token()
	if err != nil || token != json.Delim('{') {
		return nil, &errOffset{0, errNoObject}
	}
	var o object
	for dec.More() {
		before := dec.InputOffset()
		token, err := dec.Token()
		if err != nil {
			return nil, &errOffset{before, err}
		}
		key, _ := token.(string)
		m := member{key: key, rawKey: bytes.TrimLeft(text[before:dec.InputOffset()], " \t\r\n,")}
		if o.index(key) >= 0 {
			return nil, &errOffset{dec.InputOffset() - int64(len(m.rawKey)), fmt.Errorf("the key %q is there twice", key)}
		}
		if err := dec.Decode(&m.value); err != nil {
			return nil, &errOffset{before, err}
		}
		m.offset = dec.InputOffset() - int64(len(m.value))
		o = append(o, m)
	}
	return o, nil
}

func (o object) index(key string) int {
	return slices.IndexFunc(o, func(m member) bool { return m.key == key })
}

// set returns o with the value of key replaced, or added at the end.
func (o object) set(key string, value []byte) object {
	if i := o.index(key); i >= 0 {
		o[i].value = value
		return o
	}
	rawKey, err := json.Marshal(key)
	if err != nil {
		panic("a string has no JSON: " + err.Error())
	}
	return append(o, member{key: key, rawKey: rawKey, value: value})
}

func (o object) remove(key string) object {
	return slices.DeleteFunc(o, func(m member) bool { return m.key == key })
}

// text writes the object. The values were parsed or marshalled, so they are JSON.
func (o object) text() []byte {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(m.rawKey)
		b.WriteByte(':')
		b.Write(m.value)
	}
	b.WriteByte('}')
	return b.Bytes()
}
