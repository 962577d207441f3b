package httpapi_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// node is any object of an OpenAPI document.
type node = map[string]any

// document is an OpenAPI document.
type document struct {
	root node
}

func readDocument(t *testing.T) *document {
	t.Helper()
	text, err := os.ReadFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	d := &document{}
	if err := json.Unmarshal(text, &d.root); err != nil {
		t.Fatal(err)
	}
	return d
}

// at returns the node under keys, and follows references.
func (d *document) at(n any, keys ...string) node {
	m, _ := d.resolve(n).(node)
	for _, key := range keys {
		m, _ = d.resolve(m[key]).(node)
	}
	return m
}

func (d *document) resolve(n any) any {
	m, _ := n.(node)
	ref, ok := m["$ref"].(string)
	if !ok {
		return n
	}
	return d.at(d.root, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
}

// check holds a value against a schema. It knows the keywords that the document
// uses, and refuses others.
func (d *document) check(schema node, v any) error {
	schema = d.at(schema)
	for _, keyword := range slices.Sorted(maps.Keys(schema)) {
		if err := d.checkKeyword(keyword, schema, v); err != nil {
			return fmt.Errorf("%s: %w", keyword, err)
		}
	}
	return nil
}

func (d *document) checkKeyword(keyword string, schema node, v any) error {
	arg := schema[keyword]
	object, _ := v.(node)
	text, isText := v.(string)
	switch keyword {
	case "description", "examples", "$ref":
	case "type":
		types, many := arg.([]any)
		if !many {
			types = []any{arg}
		}
		if !slices.Contains(types, any(typeOf(v))) {
			return fmt.Errorf("%v is of type %s, want %v", v, typeOf(v), types)
		}
	case "enum":
		if !slices.Contains(arg.([]any), v) {
			return fmt.Errorf("%v is none of %v", v, arg)
		}
	case "pattern":
		if isText && !regexp.MustCompile(arg.(string)).MatchString(text) {
			return fmt.Errorf("%q does not match", text)
		}
	case "maxLength":
		if isText && utf8.RuneCountInString(text) > int(arg.(float64)) {
			return fmt.Errorf("%q is too long", text)
		}
	case "format":
		if isText {
			return checkFormat(arg.(string), text)
		}
	case "required":
		for _, key := range arg.([]any) {
			if _, ok := object[key.(string)]; !ok && object != nil {
				return fmt.Errorf("%v is missing", key)
			}
		}
	case "properties":
		for key, sub := range arg.(node) {
			if value, ok := object[key]; ok {
				if err := d.check(sub.(node), value); err != nil {
					return fmt.Errorf("%s: %w", key, err)
				}
			}
		}
	case "additionalProperties":
		for key := range object {
			if _, ok := d.at(schema, "properties")[key]; !ok && arg == false {
				return fmt.Errorf("%s is not described", key)
			}
		}
	case "maxItems":
		if items, _ := v.([]any); len(items) > int(arg.(float64)) {
			return fmt.Errorf("%d items", len(items))
		}
	case "items":
		items, _ := v.([]any)
		for i, item := range items {
			if err := d.check(arg.(node), item); err != nil {
				return fmt.Errorf("%d: %w", i, err)
			}
		}
	case "allOf":
		for _, sub := range arg.([]any) {
			if err := d.check(sub.(node), v); err != nil {
				return err
			}
		}
	case "anyOf":
		for _, sub := range arg.([]any) {
			if d.check(sub.(node), v) == nil {
				return nil
			}
		}
		return fmt.Errorf("%v is none of the kinds", v)
	default:
		return fmt.Errorf("the test does not know the keyword")
	}
	return nil
}

func checkFormat(format, text string) (err error) {
	switch format {
	case "date-time":
		_, err = time.Parse(time.RFC3339, text)
		if !strings.HasSuffix(text, "Z") {
			err = fmt.Errorf("%q is not UTC", text)
		}
	case "uuid":
		_, err = uuid.Parse(text)
	default:
		err = fmt.Errorf("the test does not know the format %s", format)
	}
	return err
}

func typeOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case float64:
		return "number"
	case []any:
		return "array"
	default:
		return "object"
	}
}
