package protocol

import (
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/taskerhq/tasker"
)

// The limits are those of the database's columns: a value that it would refuse
// must not come into a statement with the values of other endpoints.
const (
	maxManager = 26
	maxHost    = 255 // in characters
	maxVersion = 64  // in characters
	maxBoot    = 64
)

func validManager(name string) error {
	if !plain(name, maxManager) {
		return tasker.FieldErrorf("/manager", "invalid manager: must be 1 to %d letters, digits, '_' or '-', such as a ULID", maxManager)
	}
	return nil
}

// plain reports whether s is 1 to limit letters, digits, '_' or '-'.
func plain(s string, limit int) bool {
	for _, c := range []byte(s) {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return 0 < len(s) && len(s) <= limit
}

// printable reports whether s is printable ASCII, and not empty.
func printable(s string) bool {
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return s != ""
}

func validText(field, text string, limit int) error {
	if n := utf8.RuneCountInString(text); n > limit {
		return tasker.FieldErrorf(field, "text too long: %d characters, the limit is %d", n, limit)
	}
	return nil
}

// validNumber checks a number for a column of 32 bits.
func validNumber(field string, n int) error {
	if n < math.MinInt32 || n > math.MaxInt32 {
		return tasker.FieldErrorf(field, "number out of range: %d", n)
	}
	return nil
}

func validType(field, name string) error {
	if err := tasker.ValidateTaskType(name); err != nil {
		return tasker.FieldErrorf(field, "%v", err)
	}
	return nil
}

func validTypes(names []string) error {
	for i, name := range names {
		if err := validType(fmt.Sprintf("/task_types/%d", i), name); err != nil {
			return err
		}
	}
	return nil
}

func validTaskID(field string, id int64) error {
	if id <= 0 {
		return tasker.FieldErrorf(field, "invalid task id: must be a positive number, not %d", id)
	}
	return nil
}

func validCount(field string, n int) error {
	if n == 0 || n > MaxItems {
		return tasker.FieldErrorf("/"+field, "invalid number of %s: must be 1 to %d, not %d", field, MaxItems, n)
	}
	return nil
}

func validLimit(limit int) error {
	if limit < 1 || limit > MaxLimit {
		return tasker.FieldErrorf("/limit", "invalid limit: must be 1 to %d, not %d", MaxLimit, limit)
	}
	return nil
}
