package api

import (
	"fmt"
	"reflect"
	"strings"
	"time"
)

// schema is a JSON Schema (2020-12), as OpenAPI 3.1 uses it, with the few
// words that this API needs.
type schema struct {
	Ref                  string            `json:"$ref,omitempty"`
	Type                 string            `json:"type,omitempty"`
	Format               string            `json:"format,omitempty"`
	ContentEncoding      string            `json:"contentEncoding,omitempty"`
	Properties           map[string]schema `json:"properties,omitempty"`
	Required             []string          `json:"required,omitempty"`
	Items                *schema           `json:"items,omitempty"`
	AdditionalProperties *schema           `json:"additionalProperties,omitempty"`
	AnyOf                []schema          `json:"anyOf,omitempty"`
}

// schemas makes schemas of Go types, and keeps those of structs under their names.
type schemas map[string]schema

// of returns the schema of t: for a struct, a reference to the one that is kept.
func (s schemas) of(t reflect.Type) (schema, error) {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return schema{Type: "string", Format: "date-time"}, nil
	case t == reflect.TypeFor[[]byte]():
		return schema{Type: "string", ContentEncoding: "base64"}, nil
	case t.Kind() != reflect.Pointer && t.Implements(reflect.TypeFor[interface{ MarshalText() ([]byte, error) }]()):
		return schema{Type: "string"}, nil
	}
	switch t.Kind() {
	case reflect.String:
		return schema{Type: "string"}, nil
	case reflect.Bool:
		return schema{Type: "boolean"}, nil
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return schema{Type: "integer"}, nil
	case reflect.Slice:
		items, err := s.of(t.Elem())
		return schema{Type: "array", Items: &items}, err
	case reflect.Map:
		values, err := s.of(t.Elem())
		if t.Elem().Kind() == reflect.Slice { // nil is null in JSON, and means something in a map
			values = schema{AnyOf: []schema{values, {Type: "null"}}}
		}
		return schema{Type: "object", AdditionalProperties: &values}, err
	case reflect.Pointer:
		there, err := s.of(t.Elem())
		return schema{AnyOf: []schema{there, {Type: "null"}}}, err
	case reflect.Struct:
		return s.ofStruct(t)
	}
	return schema{}, fmt.Errorf("no schema for %s", t)
}

func (s schemas) ofStruct(t reflect.Type) (schema, error) {
	ref := schema{Ref: "#/components/schemas/" + t.Name()}
	if _, done := s[t.Name()]; done {
		return ref, nil
	}
	made := schema{Type: "object", Properties: make(map[string]schema)}
	s[t.Name()] = made
	for _, field := range reflect.VisibleFields(t) {
		if field.Anonymous {
			continue // its own fields are visible too
		}
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			return schema{}, fmt.Errorf("%s.%s has no JSON name", t, field.Name)
		}
		property, err := s.of(field.Type)
		if err != nil {
			return schema{}, err
		}
		made.Properties[name] = property
		if options != "omitempty" && options != "omitzero" {
			made.Required = append(made.Required, name)
		}
	}
	s[t.Name()] = made
	return ref, nil
}
