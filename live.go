package tasker

import (
	"encoding/json"
	"time"
)

// Progress is how far an attempt says that it is.
type Progress struct {
	Done    int64  `json:"done"`
	Total   int64  `json:"total"` // 0 where the handler does not know it
	Message string `json:"message"`
	// Time is when the handler said so, by the database's clock.
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
	// Number counts the lines of the attempt, from 0, those included that
	// were left out.
	Number int64     `json:"n"`
	Time   time.Time `json:"time"` // by the database's clock
	Stream string    `json:"stream,omitempty"`
	Level  string    `json:"level,omitempty"` // debug, info, warn or error; of StreamLog only
	Text   string    `json:"text"`            // valid UTF-8, without a line end
	// Size is the line's true length in bytes, where Text was cut.
	Size int `json:"size,omitempty"`
	// LeftOut makes it a gap: so many lines, from Number on, were not kept.
	LeftOut int64 `json:"left_out,omitempty"`
}

// LogTotals is how much an attempt has logged, and how much of it is kept.
type LogTotals struct {
	Lines   int64 `json:"lines"` // those included that were left out
	Bytes   int64 `json:"bytes"` // likewise
	LeftOut int64 `json:"left_out"`
	// Complete tells that the attempt has ended and that nothing more comes.
	Complete bool `json:"complete"`
}

// ResultKey identifies one endpoint's result for one task.
type ResultKey struct {
	TaskID   int64
	Endpoint string
}

// LogChunk is a stored piece of an attempt's log.
type LogChunk struct {
	// ID rises with time; chunks of different endpoints may become visible in
	// another order.
	ID int64
	ResultKey
	Attempt int
	Lines   []LogLine // in order, at least one
}

// ResultNews is where a result stands, for live views.
type ResultNews struct {
	ResultKey
	Type, Identifier string // of its task
	Attempt          int
	State            ResultState
	Errnr            int
	Progress         *Progress // of the current attempt; nil where it said nothing
}

// Attempt is one run of a result, as its history tells it.
type Attempt struct {
	Attempt int `json:"attempt"`
	// State is where the attempt led: Running while it runs, ResultFailed
	// where another one followed or may follow, else the result's end.
	State     ResultState     `json:"state"`
	Errnr     int             `json:"errnr"`
	Errmsg    string          `json:"errmsg"`
	StartTime *time.Time      `json:"start_time"` // nil where it was not recorded
	EndTime   *time.Time      `json:"end_time"`   // nil while it runs
	Progress  *Progress       `json:"progress"`   // the last one; nil for none
	Partial   json.RawMessage `json:"partial,omitempty"`
	Log       LogTotals       `json:"log"`
}

// ChangePosition is the place of a task in the order in which tasks changed;
// the zero value is before all.
type ChangePosition struct {
	LastModifiedTime time.Time
	ID               int64
}
