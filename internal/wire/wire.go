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
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/taskerhq/tasker"
)

// Version is the only version of messages that this package writes and reads.
// Fields may be added within a version: readers ignore those they do not know,
// so that two releases can work side by side.
const Version = 1

// Task is the message that carries a task to an endpoint. It is a wake-up and a
// copy: the row in the database decides.
type Task struct {
	Version      int             `json:"v"`
	TaskID       int64           `json:"task_id"`
	Identifier   string          `json:"identifier"`
	Type         string          `json:"type"`
	Payload      json.RawMessage `json:"payload"`
	AcceptedTime time.Time       `json:"start_time"`
}

// EncodeTask encodes the message of a task.
func EncodeTask(t tasker.Task) ([]byte, error) {
	payload := t.Payload
	if payload == nil {
		payload = json.RawMessage("null")
	}
	body, err := json.Marshal(Task{
		Version: Version, TaskID: t.ID, Identifier: t.Identifier, Type: t.Type, Payload: payload, AcceptedTime: t.AcceptedTime,
	})
	if err != nil {
		return nil, fmt.Errorf("encode the message of task %d: %w", t.ID, err)
	}
	return body, nil
}

// MessageID returns the id of a task's message, the same each time it is
// published.
func MessageID(taskID int64) string { return "task-" + strconv.FormatInt(taskID, 10) }

// DecodeTask decodes the message of a task. Its errors have code
// [tasker.Malformed] and say what is wrong with the message.
func DecodeTask(body []byte) (Task, error) {
	var t Task
	if err := decodeStrictly(body, &t); err != nil {
		return Task{}, unreadable(body, err)
	}
	if t.Version != Version {
		return Task{}, unreadable(body, nil)
	}
	if t.TaskID <= 0 {
		return Task{}, malformed("task_id must be a positive number, not %d", t.TaskID)
	}
	if err := tasker.ValidateIdentifier(t.Identifier); err != nil {
		return Task{}, malformed("%v", err)
	}
	if err := tasker.ValidateTaskType(t.Type); err != nil {
		return Task{}, malformed("%v", err)
	}
	return t, nil
}

// unreadable returns why a message cannot be decoded. It checks the version
// first, so that a message of a later version is reported as such and not as
// malformed.
func unreadable(body []byte, err error) error {
	var head struct {
		Version *int `json:"v"`
	}
	if err := json.Unmarshal(body, &head); err != nil {
		return malformed("not a JSON object with a version: %v", err)
	}
	if head.Version == nil {
		return malformed(`it has no version "v"`)
	}
	if *head.Version != Version {
		return malformed("version is %d, but this tasker reads version %d", *head.Version, Version)
	}
	return malformed("%v", err)
}

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
	body, err := json.Marshal(ResultsEnded{Version: Version, TaskIDs: taskIDs})
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
	if e.Version != Version {
		return ResultsEnded{}, malformed("version is %d, but this tasker reads version %d", e.Version, Version)
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
