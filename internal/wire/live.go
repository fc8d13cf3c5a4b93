package wire

import (
	"encoding/json"
	"fmt"

	"github.com/taskerhq/tasker"
)

// Live is an event with changes that a manager has stored, for live views: a
// hint, never needed for correctness.
type Live struct {
	Version int          `json:"v"`
	Changes []LiveChange `json:"changes"`
	// LeftOut counts the changes left out because there were too many.
	LeftOut int `json:"left_out"`
}

// LiveChange is a change of one result.
type LiveChange struct {
	TaskID     int64              `json:"task_id"`
	Type       string             `json:"type"`
	Identifier string             `json:"identifier"`
	Endpoint   string             `json:"endpoint"`
	Attempt    int                `json:"attempt"`
	State      tasker.ResultState `json:"state,omitempty"` // empty if unchanged
	Errnr      int                `json:"errnr,omitempty"`
	Progress   *tasker.Progress   `json:"progress,omitempty"`
	Log        bool               `json:"log,omitempty"` // there are new lines
}

// KeyLive is the routing key of the event.
const KeyLive = "live"

// EncodeLive encodes the event.
func EncodeLive(e Live) ([]byte, error) {
	e.Version = EventVersion
	body, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encode an event: %w", err)
	}
	return body, nil
}

// DecodeLive decodes the event; its errors have code [tasker.Malformed].
func DecodeLive(body []byte) (Live, error) {
	var e Live
	if err := decodeStrictly(body, &e); err != nil {
		return Live{}, malformed("%v", err)
	}
	if e.Version != EventVersion {
		return Live{}, malformed("version is %d, but this tasker reads version %d", e.Version, EventVersion)
	}
	return e, nil
}
