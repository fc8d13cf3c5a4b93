// Package wire is the form of tasker's messages: versioned JSON, decoded
// strictly, but for fields of a later release. docs/protocol.md documents it, so that an endpoint can be written
// in any language.
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

// Version is the version of the messages that this package writes, and the
// only one it reads. Fields may be added within a version: readers ignore those
// that they do not know, so that programs of two releases can work side by side.
const Version = 1

// Task is the message that carries a task to an endpoint. It is a wake-up and
// a copy: the row in the database is the truth.
type Task struct {
	Version    int             `json:"v"`
	TaskID     int64           `json:"task_id"`
	Identifier string          `json:"identifier"`
	Type       string          `json:"type"`
	Payload    json.RawMessage `json:"payload"`
	StartTime  time.Time       `json:"start_time"`
}

// EncodeTask writes the message of a task.
func EncodeTask(t tasker.Task) ([]byte, error) {
	payload := t.Payload
	if payload == nil {
		payload = json.RawMessage("null")
	}
	body, err := json.Marshal(Task{
		Version: Version, TaskID: t.ID, Identifier: t.Identifier, Type: t.Type, Payload: payload, StartTime: t.StartTime,
	})
	if err != nil {
		return nil, fmt.Errorf("encode the message of task %d: %w", t.ID, err)
	}
	return body, nil
}

// MessageID is the id of a task's message, the same each time it is published.
func MessageID(taskID int64) string { return "task-" + strconv.FormatInt(taskID, 10) }

// DecodeTask reads a task's message. Its errors have code
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
		return Task{}, malformed("task_id is %d, not a positive number", t.TaskID)
	}
	if err := tasker.ValidateIdentifier(t.Identifier); err != nil {
		return Task{}, malformed("%v", err)
	}
	if err := tasker.ValidateTaskType(t.Type); err != nil {
		return Task{}, malformed("%v", err)
	}
	return t, nil
}

// unreadable says why a message cannot be read: first of all its version, so
// that a message of a later version is called that and not malformed.
func unreadable(body []byte, err error) error {
	var head struct {
		Version *int `json:"v"`
	}
	if err := json.Unmarshal(body, &head); err != nil {
		return malformed("it is no JSON object with a version: %v", err)
	}
	if head.Version == nil {
		return malformed(`it has no version "v"`)
	}
	if *head.Version != Version {
		return malformed("it has version %d and this tasker reads version %d", *head.Version, Version)
	}
	return malformed("%v", err)
}

// ResultsEnded is the event that tells the aggregation which tasks had results
// that ended; a hint, never needed for correctness.
type ResultsEnded struct {
	Version int     `json:"v"`
	TaskIDs []int64 `json:"task_ids"`
}

// KeyResultsEnded is the routing key of the event.
const KeyResultsEnded = "results.ended"

// EncodeResultsEnded writes the event.
func EncodeResultsEnded(taskIDs []int64) ([]byte, error) {
	body, err := json.Marshal(ResultsEnded{Version: Version, TaskIDs: taskIDs})
	if err != nil {
		return nil, fmt.Errorf("encode an event: %w", err)
	}
	return body, nil
}

// DecodeResultsEnded reads the event; its errors have code [tasker.Malformed].
func DecodeResultsEnded(body []byte) (ResultsEnded, error) {
	var e ResultsEnded
	if err := decodeStrictly(body, &e); err != nil {
		return ResultsEnded{}, malformed("%v", err)
	}
	if e.Version != Version {
		return ResultsEnded{}, malformed("it has version %d and this tasker reads version %d", e.Version, Version)
	}
	return e, nil
}

// decodeStrictly reads a JSON object into a struct. It refuses what
// encoding/json lets pass: a member that is written in other letters, and one
// that is there twice, of which two readers could take different ones. It
// ignores members that the struct does not have.
func decodeStrictly(body []byte, into any) error {
	if !utf8.Valid(body) {
		return fmt.Errorf("it is not valid UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	if start, err := dec.Token(); err != nil {
		return err
	} else if start != json.Delim('{') {
		return fmt.Errorf("it is no JSON object")
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
			return fmt.Errorf("field %q is there twice", name)
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
	if _, err := dec.Token(); err != nil { // its end
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return fmt.Errorf("more follows the JSON value")
	}
	return nil
}

func malformed(format string, args ...any) error {
	return tasker.Errorf(tasker.Malformed, "undecodable message: "+format, args...)
}
