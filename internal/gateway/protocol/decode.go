package protocol

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/x/jsonx"
)

// Decode decodes the body of a request, and validates it. Unknown fields are
// errors unless later is true: then the client speaks a later revision. An error
// is [tasker.Malformed] if the body is not one JSON object in UTF-8, and
// [tasker.Invalid] with the field if that breaks a rule.
func Decode(body []byte, later bool, into Request) error {
	if !utf8.Valid(body) {
		return tasker.Errorf(tasker.Malformed, "invalid body: not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	if !later {
		dec.DisallowUnknownFields()
	}
	if err := dec.Decode(into); err != nil {
		return decodeError(body, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return tasker.Errorf(tasker.Malformed, "invalid body: trailing data after the JSON value")
	}
	if at, found := jsonx.Duplicate(body); found {
		return tasker.FieldErrorf(at, "duplicate member %q: parsers would disagree on its value", at)
	}
	return into.Validate()
}

func decodeError(body []byte, err error) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return tasker.Errorf(tasker.Malformed, "empty body: send a JSON object")
	}
	if mismatch, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		field := "/" + strings.ReplaceAll(mismatch.Field, ".", "/")
		return tasker.FieldErrorf(field, "invalid value: got %s, want %s", mismatch.Value, mismatch.Type)
	}
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return tasker.Errorf(tasker.Malformed, "invalid body: not JSON: %v (byte %d)", syntax, syntax.Offset)
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return tasker.Errorf(tasker.Invalid, "unknown field %s", name)
	}
	return tasker.Errorf(tasker.Malformed, "invalid body: not JSON: %v", err)
}
