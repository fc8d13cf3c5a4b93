package tasker_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/taskerhq/tasker"
)

// The rules for names, as regular expressions.
var (
	dotted = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	plain  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`)
)

func TestNamesFollowTheirRules(t *testing.T) {
	t.Parallel()
	reserved := []string{"v1", "ui", "healthz", "readyz", "metrics", "control", "events", "dead"}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.OneOf(
			rapid.String(), rapid.StringMatching(`[a-zA-Z0-9._-]{0,66}`), rapid.StringMatching(`[a-z0-9][a-z._-]{60,64}`),
			rapid.SampledFrom(append(reserved, "any", "console1\n", "")),
		).Draw(t, "name")
		whole := !strings.HasSuffix(name, "\n")
		for what, test := range map[string]struct {
			err  error
			want bool
		}{
			"identifier": {tasker.ValidateIdentifier(name), whole && dotted.MatchString(name)},
			"endpoint":   {tasker.ValidateEndpoint(name), whole && dotted.MatchString(name) && name != tasker.ReservedEndpoint},
			"task type":  {tasker.ValidateTaskType(name), whole && plain.MatchString(name) && !slices.Contains(reserved, name)},
		} {
			if (test.err == nil) != test.want {
				t.Fatalf("%s %q: got %v", what, name, test.err)
			}
			if test.err != nil && (tasker.CodeOf(test.err) != tasker.Invalid || !strings.HasPrefix(test.err.Error(), "invalid "+what)) {
				t.Fatalf("%s %q: got %v (%s)", what, name, test.err, tasker.CodeOf(test.err))
			}
		}
	})
}

func TestLongNamesMakeShortMessages(t *testing.T) {
	t.Parallel()
	if err := tasker.ValidateIdentifier(strings.Repeat("x", 1<<20)); err == nil || len(err.Error()) > 400 {
		t.Errorf("the message has %d bytes", len(err.Error()))
	}
}

// TestNamesFitAQueue: RabbitMQ's names have 255 bytes at most.
func TestNamesFitAQueue(t *testing.T) {
	t.Parallel()
	if n := len("tasker.") + tasker.MaxName + len(".") + tasker.MaxName; n > 255 {
		t.Errorf("a queue's name may have %d bytes", n)
	}
}
