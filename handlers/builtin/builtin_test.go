package builtin_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/builtin"
	"github.com/taskerhq/tasker/handlers/internal/handlertest"
)

func newHandler(t *testing.T, name string, settings handlers.Settings) handlers.Handler {
	t.Helper()
	h, err := builtin.Catalog().Make(name, settings)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestTakeTheirTime runs in a bubble with its own clock, which does not wait.
func TestTakeTheirTime(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		handler  string
		settings handlers.Settings
		payload  string
		want     time.Duration
		result   string
		errnr    int
		errmsg   string
	}{
		"worker":                 {"worker", nil, "null", 20 * time.Second, `{"yeah":1234123,"yiya":"yippie"}`, 0, ""},
		"worker at once":         {"worker", handlers.Settings{"duration": 0}, "null", 0, `{"yeah":1234123,"yiya":"yippie"}`, 0, ""},
		"backup":                 {"backup", nil, "null", 5 * time.Second, "", 32, "could not backup!"},
		"backup, as text":        {"backup", handlers.Settings{"duration": "1m30s"}, "null", 90 * time.Second, "", 32, "could not backup!"},
		"sleep":                  {"sleep", nil, `{"seconds": 0.5}`, 500 * time.Millisecond, `{"seconds":0.5}`, 0, ""},
		"sleep not at all":       {"sleep", nil, `{"seconds": 0}`, 0, `{"seconds":0}`, 0, ""},
		"sleep for a whole year": {"sleep", nil, `{"seconds": 3.1536e7}`, 365 * 24 * time.Hour, `{"seconds":31536000}`, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHandler(t, test.handler, test.settings)
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				result, err := h.Handle(t.Context(), handlertest.NewRecorder().Request(test.payload))
				if took := time.Since(start); took != test.want {
					t.Errorf("it took %s, want %s", took, test.want)
				}
				if string(result) != test.result || handlers.Errnr(err) != test.errnr || err != nil && err.Error() != test.errmsg {
					t.Errorf("got %s, errnr %d, %v", result, handlers.Errnr(err), err)
				}
			})
		})
	}
}

func TestStopWithTheirContext(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"worker", "backup", "sleep"} {
		for _, cause := range []error{handlers.ErrTimeout, handlers.ErrCanceled, handlers.ErrShutdown} {
			ctx, cancel := context.WithCancelCause(t.Context())
			cancel(cause)
			result, err := newHandler(t, name, nil).Handle(ctx, handlertest.NewRecorder().Request(`{"seconds": 3600}`))
			if !errors.Is(err, cause) || result != nil {
				t.Errorf("%s: got %s, %v; want %v", name, result, err, cause)
			}
		}
	}
}

func TestRefuseSettings(t *testing.T) {
	t.Parallel()
	for want, test := range map[string]struct {
		name     string
		settings handlers.Settings
	}{
		`unknown handler "nope": the handlers are ` + strings.Join(builtin.Catalog().Names(), ", "): {"nope", nil},
		`handler "worker": unknown setting "duratoin": the settings are duration`: {
			"worker",
			handlers.Settings{"duration": 1, "duratoin": 1},
		},
		`handler "sleep": unknown setting "duration": the handler has no settings`: {
			"sleep",
			handlers.Settings{"duration": 1},
		},
		`handler "backup": setting "duration": invalid duration "soon": must be seconds, or text such as 1m30s`: {
			"backup",
			handlers.Settings{"duration": "soon"},
		},
		`handler "backup": setting "duration": invalid duration true: must be seconds, or text such as 1m30s`: {
			"backup",
			handlers.Settings{"duration": true},
		},
		`handler "worker": setting "duration": invalid duration -1: must not be negative`: {
			"worker",
			handlers.Settings{"duration": -1},
		},
	} {
		if h, err := builtin.Catalog().Make(test.name, test.settings); h != nil || err == nil || err.Error() != want {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
}

// TestDescriptions: handlers describe themselves, and an example has the members of its
// schema.
func TestDescriptions(t *testing.T) {
	t.Parallel()
	for name, settings := range map[string]handlers.Settings{
		"sleep": nil, "ifconfig": nil, "worker": nil, "backup": nil,
		"copyfile": {"sources": []any{"/in"}, "destinations": []any{"/out"}},
	} {
		describer, ok := handlers.Find[handlers.Describer](newHandler(t, name, settings))
		if !ok {
			t.Errorf("%s is not a Describer", name)
			continue
		}
		d := describer.Describe()
		if d.Description == "" || d.Usage == "" {
			t.Errorf("%s: got %+v", name, d)
		}
		if d.Schema == nil {
			continue
		}
		var schema struct {
			Schema     string `json:"$schema"`
			Properties map[string]struct{ Type string }
			Required   []string
		}
		var example map[string]any
		if err := errors.Join(json.Unmarshal(d.Schema, &schema), json.Unmarshal(d.Example, &example)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if schema.Schema != "https://json-schema.org/draft/2020-12/schema" || len(example) != len(schema.Properties) {
			t.Errorf("%s: schema %s, example %s", name, d.Schema, d.Example)
		}
		for _, member := range schema.Required {
			if _, ok := example[member]; !ok {
				t.Errorf("%s: the example has no %q", name, member)
			}
		}
	}
}
