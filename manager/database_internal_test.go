package manager

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
)

// A manager says what it waits for: the database or, in gateway mode, the gateway,
// which also refuses a token.
func TestLogNamesWhatIsAwaited(t *testing.T) {
	for _, test := range []struct {
		name  string
		store Store
		err   error
		want  []string
	}{
		{
			"database",
			Store{},
			tasker.WrapError(tasker.Unavailable, errors.New("connection refused"), "database unavailable"),
			[]string{"WARN waiting for the database", "INFO database available again"},
		},
		{
			"gateway",
			Store{Gateway: true},
			tasker.Errorf(tasker.Unauthorized, "unknown token"),
			[]string{"WARN waiting for the gateway", "INFO gateway available again"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.store.Database = nothing{}
			var out strings.Builder
			cfg := Config{Endpoints: []string{"a"}, TaskTypes: []tasker.TaskType{{Name: "worker"}}, SpoolDir: ""}
			m, err := New(cfg, test.store, nothing{}, handlers.NewRegistry(), slog.New(slog.NewTextHandler(&out, nil)))
			if err != nil {
				t.Fatal(err)
			}
			out.Reset()
			failures := 2
			err = m.db.retry(t.Context(), "heartbeat", func(context.Context) error {
				if failures == 0 {
					return nil
				}
				failures--
				return test.err
			})
			var got []string
			for line := range strings.Lines(out.String()) {
				_, line, _ = strings.Cut(line, "level=")
				level, line, _ := strings.Cut(line, ` msg="`)
				message, _, _ := strings.Cut(line, `"`)
				got = append(got, level+" "+message)
			}
			if err != nil || !slices.Equal(got, test.want) || !strings.Contains(out.String(), test.err.Error()) {
				t.Errorf("%v, logged:\n%s", err, out.String())
			}
		})
	}
}
