package tasker

import (
	"encoding/json"
	"time"
)

// Progress is how far an attempt has come, as its handler reports it.
type Progress struct {
	Done    int64  `json:"done"`
	Total   int64  `json:"total"` // 0 if the handler does not know it
	Message string `json:"message"`
	// Time is when it was reported, by the database's clock.
	Time time.Time `json:"time"`
}

// The streams of a log.
const (
	StreamLog    = "log"    // what the handler logged
	StreamStdout = "stdout" // what its program wrote
	StreamStderr = "stderr"
)

// LogLine is one line of an attempt's log, or a gap in it.
type LogLine struct {
	// Number counts the lines of the attempt from 0, left out ones included.
	Number int64     `json:"n"`
	Time   time.Time `json:"time"` // by the database's clock
	Stream string    `json:"stream,omitempty"`
	Level  string    `json:"level,omitempty"` // debug, info, warn or error; only for StreamLog
	Text   string    `json:"text"`            // valid UTF-8, without a line end
	// Size is the line's length in bytes if Text was truncated.
	Size int `json:"size,omitempty"`
	// LeftOut is set for a gap: so many lines, from Number on, were not kept.
	LeftOut int64 `json:"left_out,omitempty"`
}

// LogTotals is how much an attempt has logged, and how much of it was left out.
type LogTotals struct {
	Lines   int64 `json:"lines"` // left out ones included
	Bytes   int64 `json:"bytes"` // left out ones included
	LeftOut int64 `json:"left_out"`
	// Complete is true if the attempt has ended and no more lines come.
	Complete bool `json:"complete"`
}

// ResultKey identifies one endpoint's result for one task.
type ResultKey struct {
	TaskID   int64
	Endpoint string
}

// LogChunk is a stored part of an attempt's log.
type LogChunk struct {
	// ID grows with time, but chunks of different endpoints may become visible
	// in another order.
	ID int64
	ResultKey
	Attempt int
	Lines   []LogLine // in order, at least one
}

// ResultNews is the state of a result, for live views.
type ResultNews struct {
	ResultKey
	Type, Identifier string // of its task
	Attempt          int
	State            ResultState
	Errnr            int
	Progress         *Progress // of the current attempt; nil if none was reported
}

// Attempt is one run of a result, from its history.
type Attempt struct {
	Attempt int `json:"attempt"`
	// Round is the round of the task that it was a part of, from 2 on; 0 is the first.
	Round int `json:"round,omitempty"`
	// State is Running while the attempt runs, ResultFailed if another one of its round
	// followed or may follow, and otherwise the state in which the result ended.
	State     ResultState     `json:"state"`
	Errnr     int             `json:"errnr"`
	Errmsg    string          `json:"errmsg"`
	StartTime *time.Time      `json:"start_time"` // nil if it was not recorded
	EndTime   *time.Time      `json:"end_time"`   // nil while it runs
	Progress  *Progress       `json:"progress"`   // the last one; nil if none was reported
	Partial   json.RawMessage `json:"partial,omitempty"`
	Log       LogTotals       `json:"log"`
}

// ChangePosition is the position of a task in the order in which tasks changed.
// The zero value comes before all.
type ChangePosition struct {
	LastModifiedTime time.Time
	ID               int64
}
