package retrypolicy

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/taskerhq/tasker/internal/x/clock"
	"github.com/taskerhq/tasker/internal/x/near"
	"github.com/taskerhq/tasker/internal/x/text"
)

// leadingZero matches what some read as octal and others as decimal.
var leadingZero = regexp.MustCompile(`^[+-]?0[0-9_]+$`)

// interval reads an interval, which is at a pointer and has a name for messages.
func (r *reader) interval(at, name string, value any, least time.Duration) time.Duration {
	written := ""
	switch v := value.(type) {
	case json.Number:
		written = string(v)
	case string:
		written = v
	}
	interval, ok := clock.Parse(written)
	switch {
	case leadingZero.MatchString(written):
		r.fail(at, "invalid %s: ambiguous number %s, octal or decimal: remove the leading 0", name, written)
	case !ok:
		r.fail(at, `invalid %s: must be seconds, or a duration such as "1m30s", got %s`, name, shown(value))
	case interval < least || interval > MaxInterval:
		r.fail(at, "invalid %s: must be %v-87600h, got %s", name, least, shown(value))
	}
	return interval
}

// shown returns a wrong value for a message, briefly.
func shown(value any) string {
	switch v := value.(type) {
	case nil:
		return "null"
	case string:
		return strconv.Quote(text.Shorten(v, 80))
	case json.Number:
		return text.Shorten(string(v), 80)
	case bool:
		return strconv.FormatBool(v)
	case []any:
		return "a list"
	}
	return "an object"
}

func suggestion(name string, known []string) string {
	if meant := near.Name(name, known); meant != "" {
		return fmt.Sprintf(": did you mean %q?", meant)
	}
	return ": must be one of " + strings.Join(known, ", ")
}

// pointer returns a key as a part of a JSON pointer, shortened.
func pointer(key string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(text.Shorten(key, 80))
}
