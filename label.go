package tasker

import "strings"

// The limits of the labels of a task: their number, and the bytes of all their keys and
// values together.
const (
	MaxTaskLabels     = 16
	MaxTaskLabelsSize = 2048
)

// LabelFilter selects what has a label.
type LabelFilter struct {
	Key   string
	Value *string // nil means any
}

// ParseLabelFilter parses a filter such as "ticket=CHG-7", or "ticket" for any value. It
// does not check the key and the value.
func ParseLabelFilter(s string) LabelFilter {
	key, value, ok := strings.Cut(s, "=")
	if !ok {
		return LabelFilter{Key: key}
	}
	return LabelFilter{Key: key, Value: &value}
}

// String returns the text that [ParseLabelFilter] parses.
func (f LabelFilter) String() string {
	if f.Value == nil {
		return f.Key
	}
	return f.Key + "=" + *f.Value
}
