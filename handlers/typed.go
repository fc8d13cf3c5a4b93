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

	"github.com/taskerhq/tasker/internal/x/jsonx"
)

// Typed returns a Handler that decodes the payload for a function, and encodes what
// the function returns.
//
// Decoding is strict. A value of the wrong type, an unknown or duplicate member, and
// one in another case (Name for name) are permanent errors that name the member.
// So is a missing payload (null) if P is a struct with members, but not if it is a
// pointer to one. Inside nested objects only unknown members and wrong types are
// errors. No member is required: to require one, make it a pointer and compare it
// with nil.
//
// The result is encoded without escaping <, > and &. There is no result if R has no
// size, like struct{}, if its JSON is null, or if the function returns an error
// and the zero value.
func Typed[P, R any](f func(ctx context.Context, req *Request, payload P) (R, error)) Handler {
	members := membersOf(reflect.TypeFor[P]())
	return Func(func(ctx context.Context, req *Request) (Result, error) {
		var payload P
		if err := decodePayload(req.Payload, &payload, members); err != nil {
			return nil, Permanent(err)
		}
		value, err := f(ctx, req, payload)
		if err != nil && reflect.ValueOf(&value).Elem().IsZero() {
			return nil, err
		}
		result, wrong := toResult(value)
		if wrong != nil && err == nil {
			err = Permanent(fmt.Errorf("encode the result: %w", wrong))
		}
		return result, err
	})
}

// members describes the members of a payload's type.
type members struct {
	object   bool            // it is a JSON object, whose members are checked
	names    map[string]bool // nil for any
	required bool            // null is an error
}

func membersOf(t reflect.Type) members {
	required := true
	if t.Kind() == reflect.Pointer {
		t, required = t.Elem(), false
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
	return members{object: true, names: names, required: required && len(names) > 0}
}

func (m members) list() string { return strings.Join(slices.Sorted(maps.Keys(m.names)), ", ") }

// known tells the user which members there are.
func (m members) known() string {
	if len(m.names) == 0 {
		return "it must be empty"
	}
	return "the members are " + m.list()
}

func decodePayload(payload []byte, into any, known members) error {
	if trimmed := bytes.TrimSpace(payload); len(trimmed) == 0 || string(trimmed) == "null" {
		if known.required {
			return fmt.Errorf("missing payload: must be an object with %s", known.list())
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
		return fmt.Errorf("invalid payload: data after the JSON value, at byte %d", dec.InputOffset())
	}
	return nil
}

func explain(err error, payload []byte) error {
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		place := pointerAt(payload, wrong.Offset)
		if place != "" {
			place = " at " + place
		}
		return fmt.Errorf("invalid payload%s: must be %s, got %s", place, kindName(wrong.Type), wrong.Value)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("invalid payload: unexpected end of JSON")
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return fmt.Errorf("unknown member %s in the payload", name)
	}
	return fmt.Errorf("invalid payload: %w", err)
}

// check checks the outermost members, which encoding/json accepts in any case and any
// number of times. Invalid JSON is left to the decoder.
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
			return fmt.Errorf("unknown member %q in the payload: %s", name, m.known())
		case seen[name]:
			return fmt.Errorf("duplicate member %q in the payload", name)
		}
		seen[name] = true
		if err := dec.Decode(&skipped{}); err != nil {
			return nil //nolint:nilerr // see above
		}
	}
	return nil
}

// skipped decodes any JSON value to nothing.
type skipped struct{}

func (*skipped) UnmarshalJSON([]byte) error { return nil }

func toResult(value any) (Result, error) {
	if t := reflect.TypeOf(value); t == nil || t.Size() == 0 {
		return nil, nil
	}
	result, err := jsonx.Encode(value)
	if err != nil || string(result) == "null" {
		return nil, err
	}
	return result, nil
}
