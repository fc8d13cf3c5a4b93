// Package wire encodes and decodes tasker's messages: versioned JSON, decoded
// strictly except for fields of later releases. docs/protocol.md documents it,
// so that an endpoint can be written in any language.
package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/taskerhq/tasker"
)

// EventVersion is the only version of events that this package writes and reads.
// Fields may be added within a version: readers ignore those they do not know,
// so that two releases can work side by side.
const EventVersion = 1

// ResultsEnded is an event with the tasks that had results end: a hint, never
// needed for correctness.
type ResultsEnded struct {
	Version int     `json:"v"`
	TaskIDs []int64 `json:"task_ids"`
}

// KeyResultsEnded is the routing key of the event.
const KeyResultsEnded = "results.ended"

// EncodeResultsEnded encodes the event.
func EncodeResultsEnded(taskIDs []int64) ([]byte, error) {
	body, err := json.Marshal(ResultsEnded{Version: EventVersion, TaskIDs: taskIDs})
	if err != nil {
		return nil, fmt.Errorf("encode an event: %w", err)
	}
	return body, nil
}

// DecodeResultsEnded decodes the event; its errors have code
// [tasker.Malformed].
func DecodeResultsEnded(body []byte) (ResultsEnded, error) {
	var e ResultsEnded
	if err := decodeStrictly(body, &e); err != nil {
		return ResultsEnded{}, malformed("%v", err)
	}
	if e.Version != EventVersion {
		return ResultsEnded{}, malformed("version is %d, but this tasker reads version %d", e.Version, EventVersion)
	}
	return e, nil
}

// decodeStrictly decodes a JSON object into a struct. It refuses two things
// that encoding/json accepts: a member in other letters, and a duplicate
// member, of which two readers could take different ones. It ignores members
// that the struct does not have.
func decodeStrictly(body []byte, into any) error {
	if !utf8.Valid(body) {
		return fmt.Errorf("not valid UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	if start, err := dec.Token(); err != nil {
		return err
	} else if start != json.Delim('{') {
		return fmt.Errorf("not a JSON object")
	}
	object := reflect.ValueOf(into).Elem()
	fields := make(map[string]reflect.Value, object.NumField())
	for field, value := range object.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		fields[name] = value
	}
	seen := make(map[string]bool, len(fields))
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return err
		}
		name, _ := token.(string)
		field, ok := fields[name]
		if seen[name] {
			return fmt.Errorf("duplicate field %q", name)
		}
		seen[name] = true
		if !ok {
			for known := range fields {
				if strings.EqualFold(known, name) {
					return fmt.Errorf("unknown field %q: did you mean %q?", name, known)
				}
			}
			field = reflect.ValueOf(new(json.RawMessage)).Elem() // of a later release
		}
		if err := dec.Decode(field.Addr().Interface()); err != nil {
			return fmt.Errorf("field %q: %w", name, err)
		}
	}
	if _, err := dec.Token(); err != nil { // the closing brace
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return fmt.Errorf("unexpected data after the JSON value")
	}
	return nil
}

func malformed(format string, args ...any) error {
	return tasker.Errorf(tasker.Malformed, "invalid message: "+format, args...)
}
