package handlers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Typed makes a Handler of a function whose payload and result are Go values.
//
// The payload is decoded strictly. A value of another kind, an unknown member,
// one in other letters (Name for name) and one given twice are permanent
// errors that name the member; so is no payload at all (null) where P is a
// struct with members, but not where it is a pointer to one. Members of inner
// objects are held to be known and of the right kind only. To ask for a member
// make it a pointer and look.
//
// The result is encoded as it is, without escaping <, > and &. A result of a
// type without a size, as struct{}, and one that is null in JSON are none. The
// zero value beside an error is none, too.
func Typed[P, R any](f func(ctx context.Context, req *Request, payload P) (R, error)) Handler {
	members := membersOf(reflect.TypeFor[P]())
	return Func(func(ctx context.Context, req *Request) (Result, error) {
		var payload P
		if err := decodePayload(req.Payload, &payload, members); err != nil {
			return nil, Permanent(fmt.Errorf("the payload %w", err))
		}
		value, err := f(ctx, req, payload)
		if err != nil && reflect.ValueOf(&value).Elem().IsZero() {
			return nil, err
		}
		result, wrong := toResult(value)
		if wrong != nil && err == nil {
			err = Permanent(fmt.Errorf("the result cannot be written as JSON: %w", wrong))
		}
		return result, err
	})
}

// members says what is known of the members of a payload's type.
type members struct {
	object bool            // it is a JSON object, whose members are to be looked at
	names  map[string]bool // nil for any
	needed bool            // null is not enough
}

func membersOf(t reflect.Type) members {
	needed := true
	if t.Kind() == reflect.Pointer {
		t, needed = t.Elem(), false
	}
	if reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()) {
		return members{}
	}
	switch t.Kind() {
	case reflect.Map:
		return members{object: true}
	case reflect.Struct:
	default:
		return members{}
	}
	names := map[string]bool{}
	for _, field := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case name != "":
			names[name] = true
		case field.IsExported() && !field.Anonymous:
			names[field.Name] = true
		}
	}
	delete(names, "-")
	return members{object: true, names: names, needed: needed && len(names) > 0}
}

// list names the members, for messages.
func (m members) list() string {
	if len(m.names) == 0 {
		return "no members"
	}
	return strings.Join(slices.Sorted(maps.Keys(m.names)), ", ")
}

// decodePayload has errors that go on after "the payload".
func decodePayload(payload []byte, into any, known members) error {
	if trimmed := bytes.TrimSpace(payload); len(trimmed) == 0 || string(trimmed) == "null" {
		if known.needed {
			return fmt.Errorf("is missing: give an object with %s", known.list())
		}
		return json.Unmarshal([]byte("null"), into)
	}
	if known.object {
		if err := known.check(payload); err != nil {
			return err
		}
	}
	dec := json.NewDecoder(bytes.NewReader(payload))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return explain(err, payload)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("goes on after its value, at byte %d", dec.InputOffset())
	}
	return nil
}

func explain(err error, payload []byte) error {
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		place := pointerAt(payload, wrong.Offset)
		if place == "" {
			return fmt.Errorf("is %s: give %s", withArticle(wrong.Value), kindName(wrong.Type))
		}
		return fmt.Errorf("holds %s at %s: give %s", withArticle(wrong.Value), place, kindName(wrong.Type))
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("ends in the middle")
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return fmt.Errorf("has an unknown member %s", name)
	}
	return fmt.Errorf("cannot be read: %w", err)
}

func withArticle(noun string) string {
	if noun == "object" || noun == "array" {
		return "an " + noun
	}
	return "a " + noun
}

// check looks at the outermost members, which encoding/json takes in any
// letters and any number of times. What is no JSON it leaves to the decoder.
func (m members) check(payload []byte) error {
	dec := json.NewDecoder(bytes.NewReader(payload))
	if token, err := dec.Token(); err != nil || token != json.Delim('{') {
		return nil //nolint:nilerr // see above
	}
	seen := make(map[string]bool, len(m.names))
	for dec.More() {
		token, err := dec.Token()
		name, ok := token.(string)
		if err != nil || !ok {
			return nil //nolint:nilerr // see above
		}
		switch {
		case m.names != nil && !m.names[name]:
			return fmt.Errorf("has an unknown member %q: it has %s", name, m.list())
		case seen[name]:
			return fmt.Errorf("has the member %q twice", name)
		}
		seen[name] = true
		if err := dec.Decode(&skipped{}); err != nil {
			return nil //nolint:nilerr // see above
		}
	}
	return nil
}

// skipped is a JSON value that nobody looks at.
type skipped struct{}

func (*skipped) UnmarshalJSON([]byte) error { return nil }

func toResult(value any) (Result, error) {
	if t := reflect.TypeOf(value); t == nil || t.Size() == 0 {
		return nil, nil
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		return nil, err
	}
	result := bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
	if string(result) == "null" {
		return nil, nil
	}
	return result, nil
}
