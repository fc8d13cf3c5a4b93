package wire

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/taskerhq/tasker"
)

// The versions of a task's message. Both are read, and [Form] says which one is
// written: version 1 as long as some endpoint reads only that. Fields may be
// added within a version: readers ignore those they do not know.
const (
	// Version1 always carries the payload.
	Version1 = 1
	// Version carries a small payload, and of every payload its size and digest.
	Version = 2
)

// DefaultMaxPayload is the size of the largest payload that a message carries,
// unless configured otherwise.
const DefaultMaxPayload = 64 << 10

// Task is the message that carries a task to an endpoint. It is a wake-up and a
// copy: the row in the database decides.
type Task struct {
	Version    int    `json:"v"`
	TaskID     int64  `json:"task_id"`
	Identifier string `json:"identifier"`
	Type       string `json:"type"`
	// Payload is nil if the message does not carry it: see [Form].
	Payload json.RawMessage `json:"payload,omitempty"`
	// PayloadSize is the number of bytes of the payload, as the task's row has
	// them, and PayloadSHA256 their SHA-256 in lower-case hexadecimal. Both are
	// zero in version 1.
	PayloadSize   int64     `json:"payload_size"`
	PayloadSHA256 string    `json:"payload_sha256"`
	StartTime     time.Time `json:"start_time"`
	// The others are reserved: this release does not write them, checks only
	// their JSON type, and ignores them.
	NotAfter    *time.Time `json:"not_after,omitempty"`
	Priority    int64      `json:"priority,omitempty"`
	Traceparent string     `json:"traceparent,omitempty"`
	Signature   string     `json:"signature,omitempty"`
	UID         string     `json:"uid,omitempty"`
}

// taskV1 has the fields of version 1.
type taskV1 struct {
	Version    int             `json:"v"`
	TaskID     int64           `json:"task_id"`
	Identifier string          `json:"identifier"`
	Type       string          `json:"type"`
	Payload    json.RawMessage `json:"payload"`
	StartTime  time.Time       `json:"start_time"`
}

// Form is how the message of a task is written.
type Form struct {
	Version int
	// MaxPayload is the size in bytes of the largest payload that a message of
	// version 2 carries. Endpoints read a larger one where they record the task.
	MaxPayload int64
}

// EncodeTask encodes the message of a task in the newest form.
func EncodeTask(t tasker.Task) ([]byte, error) {
	return Form{Version: Version, MaxPayload: DefaultMaxPayload}.Encode(t)
}

// Encode encodes the message of a task.
func (f Form) Encode(t tasker.Task) ([]byte, error) {
	payload := t.Payload
	if payload == nil {
		payload = json.RawMessage("null")
	}
	body, err := f.encode(t, payload)
	if err != nil {
		return nil, fmt.Errorf("encode the message of task %d: %w", t.ID, err)
	}
	return body, nil
}

func (f Form) encode(t tasker.Task, payload json.RawMessage) ([]byte, error) {
	if f.Version == Version1 {
		return json.Marshal(taskV1{
			Version: Version1, TaskID: t.ID, Identifier: t.Identifier, Type: t.Type, Payload: payload, StartTime: t.StartTime,
		})
	}
	if !json.Valid(payload) {
		return nil, fmt.Errorf("the payload is not valid JSON")
	}
	body, err := json.Marshal(Task{
		Version: Version, TaskID: t.ID, Identifier: t.Identifier, Type: t.Type,
		PayloadSize: int64(len(payload)), PayloadSHA256: PayloadSHA256(payload), StartTime: t.StartTime,
	})
	if err != nil || int64(len(payload)) > f.MaxPayload {
		return body, err
	}
	// The payload is written byte for byte, as its digest is of those bytes.
	const member = `,"payload":`
	whole := make([]byte, 0, len(body)+len(member)+len(payload))
	whole = append(whole, body[:len(body)-1]...)
	whole = append(whole, member...)
	whole = append(whole, payload...)
	return append(whole, '}'), nil
}

// PayloadSHA256 returns the SHA-256 of a payload in the form of a message.
func PayloadSHA256(payload []byte) string {
	sum := sha256.Sum256(payload)
	return hex.EncodeToString(sum[:])
}

// MessageID returns the id of a task's message, the same each time it is
// published.
func MessageID(taskID int64) string { return "task-" + strconv.FormatInt(taskID, 10) }

// DecodeTask decodes the message of a task, of either version. Its errors have
// code [tasker.Malformed] and say what is wrong with the message.
func DecodeTask(body []byte) (Task, error) {
	t, ok := scanTask(body)
	if !ok {
		var err error
		if t, err = parseTask(body); err != nil {
			return Task{}, err
		}
	}
	if err := t.check(); err != nil {
		return Task{}, err
	}
	return t, nil
}

// parseTask decodes what [scanTask] leaves to it: what is invalid, and what is
// unusual, such as escapes in names and fields of later releases. It checks the
// version first, so that a message of a later version is reported as such and
// not as malformed.
func parseTask(body []byte) (Task, error) {
	var head struct {
		Version *int `json:"v"`
	}
	if err := json.Unmarshal(body, &head); err != nil {
		return Task{}, malformed("not a JSON object with a version: %v", err)
	}
	if head.Version == nil {
		return Task{}, malformed(`it has no version "v"`)
	}
	switch *head.Version {
	case Version1:
		var t taskV1
		if err := decodeStrictly(body, &t); err != nil {
			return Task{}, malformed("%v", err)
		}
		return Task{
			Version: t.Version, TaskID: t.TaskID, Identifier: t.Identifier, Type: t.Type, Payload: t.Payload, StartTime: t.StartTime,
		}, nil
	case Version:
		var t Task
		if err := decodeStrictly(body, &t); err != nil {
			return Task{}, malformed("%v", err)
		}
		return t, nil
	}
	return Task{}, malformed("version is %d, but this tasker reads versions %d and %d", *head.Version, Version1, Version)
}

// check returns what is wrong with a decoded message.
func (t *Task) check() error {
	if t.TaskID <= 0 {
		return malformed("task_id must be a positive number, not %d", t.TaskID)
	}
	if err := tasker.ValidateIdentifier(t.Identifier); err != nil {
		return malformed("%v", err)
	}
	if err := tasker.ValidateTaskType(t.Type); err != nil {
		return malformed("%v", err)
	}
	if t.Version == Version1 {
		return nil
	}
	if t.PayloadSize <= 0 {
		return malformed("payload_size must be a positive number, not %d", t.PayloadSize)
	}
	if !isSHA256(t.PayloadSHA256) {
		return malformed("payload_sha256 must be 64 lower-case hexadecimal digits, not %q", t.PayloadSHA256)
	}
	if t.Payload == nil {
		return nil
	}
	if int64(len(t.Payload)) != t.PayloadSize {
		return malformed("payload has %d bytes, not payload_size %d", len(t.Payload), t.PayloadSize)
	}
	if got := PayloadSHA256(t.Payload); got != t.PayloadSHA256 {
		return malformed("payload does not match payload_sha256: it has %s", got)
	}
	return nil
}

func isSHA256(text string) bool {
	if len(text) != hex.EncodedLen(sha256.Size) {
		return false
	}
	for _, c := range []byte(text) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
