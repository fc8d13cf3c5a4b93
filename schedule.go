package tasker

import (
	"fmt"
	"time"
)

// MaxAhead is how far ahead a task may be told to start: ten years.
const MaxAhead = 10 * 365 * 24 * time.Hour

// Start is when a task is to start, as it was asked for: at a time, or a while
// after its acceptance. The zero value is at once.
type Start struct {
	At time.Time     // zero if In tells
	In time.Duration // 0 if At tells
}

// IsZero reports whether nothing was asked for.
func (s Start) IsZero() bool { return s.At.IsZero() && s.In == 0 }

// Time returns when a task starts that is accepted now. A time that has passed is
// now.
func (s Start) Time(now time.Time) time.Time {
	start := now.Add(s.In)
	if !s.At.IsZero() {
		start = s.At
	}
	if start.Before(now) {
		start = now
	}
	return start.UTC().Truncate(time.Microsecond)
}

// Check returns an [Invalid] error of the field if the start is more than
// [MaxAhead] after now.
func (s Start) Check(now time.Time) error {
	if s.Time(now).Sub(now) <= MaxAhead {
		return nil
	}
	if s.At.IsZero() {
		return FieldErrorf("/in", "invalid in: %s is more than 10 years", s.In)
	}
	return FieldErrorf("/start_time", "invalid start_time: %s is more than 10 years ahead: give a time such as "+
		`"2026-05-06T01:14:24Z", or Unix seconds`, s.At.UTC().Format(time.RFC3339))
}

// String returns the same text for what means the same.
func (s Start) String() string {
	if s.At.IsZero() {
		return fmt.Sprintf("in %s", s.In)
	}
	return "at " + s.At.UTC().Format(time.RFC3339Nano)
}

// Expiry is when a task expires, as it was asked for: at a time, or a while after
// its start. The zero value is never.
type Expiry struct {
	At    time.Time     // zero if After tells
	After time.Duration // 0 if At tells
}

// IsZero reports whether the task never expires.
func (e Expiry) IsZero() bool { return e.At.IsZero() && e.After == 0 }

// Time returns when a task expires that starts at a time; nil if it never does.
func (e Expiry) Time(start time.Time) *time.Time {
	switch {
	case e.IsZero():
		return nil
	case e.At.IsZero():
		return new(start.Add(e.After).UTC().Truncate(time.Microsecond))
	}
	return new(e.At.UTC().Truncate(time.Microsecond))
}

// Check returns an [Invalid] error unless the task expires after it starts.
func (e Expiry) Check(start time.Time) error {
	if at := e.Time(start); at != nil && !at.After(start) {
		return FieldErrorf("/expires", "invalid expires: %s is not after the start of the task, %s",
			at.Format(time.RFC3339Nano), start.UTC().Format(time.RFC3339Nano))
	}
	return nil
}

// String returns the same text for what means the same.
func (e Expiry) String() string {
	if e.At.IsZero() {
		return fmt.Sprintf("after %s", e.After)
	}
	return "at " + e.At.UTC().Format(time.RFC3339Nano)
}

// Expect is how many endpoints a task must be for; nil is no bound.
type Expect struct {
	Min *int `json:"min,omitempty"`
	Max *int `json:"max,omitempty"`
}
