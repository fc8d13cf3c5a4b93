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
}

// CommandCancel says that a task was canceled.
const CommandCancel = "cancel"

// EncodeControl encodes a hint about a task.
func EncodeControl(command string, taskID int64) ([]byte, error) {
	body, err := json.Marshal(Control{Version: EventVersion, Command: command, TaskID: taskID})
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
