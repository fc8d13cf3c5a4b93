package wire

import (
	"encoding/json"
	"fmt"
)

// Control is a hint to managers. What it is about is in the database: a manager that
// gets one only looks there.
type Control struct {
	Version int    `json:"v"`
	Command string `json:"command"` // such as CommandCancel; readers ignore others
	TaskID  int64  `json:"task_id"`
	// Type is that of the task; empty if the command does not need it.
	Type string `json:"type,omitempty"`
	// SpreadMS is within how many milliseconds managers are to look, each at a random
	// time, if the hint is for very many.
	SpreadMS int64 `json:"spread_ms,omitempty"`
}

// The commands.
const (
	// CommandCancel says that a task was canceled.
	CommandCancel = "cancel"
	// CommandHold says that something was paused, drained or resumed. TaskID is 0 unless
	// it was a task.
	CommandHold = "hold"
	// CommandRetry says that a task was retried: results of its type wait.
	CommandRetry = "retry"
	// CommandReceive says that a task was retried which the endpoint has not received.
	CommandReceive = "receive"
)

// EncodeControl encodes a hint, with the version of this package.
func EncodeControl(hint Control) ([]byte, error) {
	hint.Version = EventVersion
	body, err := json.Marshal(hint)
	if err != nil {
		return nil, fmt.Errorf("encode a hint: %w", err)
	}
	return body, nil
}

// DecodeControl decodes a hint; its errors have code [tasker.Malformed].
func DecodeControl(body []byte) (Control, error) {
	var c Control
	if err := decodeStrictly(body, &c); err != nil {
		return Control{}, malformed("%v", err)
	}
	if c.Version != EventVersion {
		return Control{}, malformed("version is %d, but this tasker reads version %d", c.Version, EventVersion)
	}
	return c, nil
}
