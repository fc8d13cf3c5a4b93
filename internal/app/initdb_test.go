package app_test

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/internal/app"
	"github.com/taskerhq/tasker/internal/store"
)

// TestResetUnderLivingDaemons is refused, and names them.
func TestResetUnderLivingDaemons(t *testing.T) {
	ctx := t.Context()
	cfg := config.Config{Store: store.Config{URI: "sqlite://" + filepath.Join(t.TempDir(), "tasker.db")}}
	initialize := func(opts app.InitOptions) (string, error) {
		var out bytes.Buffer
		opts.Out = &out
		err := app.InitDatabase(ctx, cfg, opts)
		return out.String(), err
	}
	if _, err := initialize(app.InitOptions{}); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(cfg.Store, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	const id = "01AAAAAAAAAAAAAAAAAAAAAAAA"
	for _, name := range []string{"console1", "console2"} {
		e := tasker.Endpoint{Name: name, Manager: id, Host: "web1", PID: 42, TaskTypes: []string{"worker"}}
		if _, err := s.Endpoints.AcquireEndpoint(ctx, e, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Leases.TakeLease(ctx, "sweep", id, time.Hour); err != nil {
		t.Fatal(err)
	}
	const manager = "manager on web1 (pid 42) of console1, console2"
	if out, err := initialize(app.InitOptions{Reset: true, DryRun: true}); err != nil || !strings.Contains(out, manager) {
		t.Errorf("what would be done: %s, %v", out, err)
	}
	_, err = initialize(app.InitOptions{Reset: true})
	if tasker.CodeOf(err) != tasker.Conflict || !strings.Contains(err.Error(), manager) || !strings.Contains(err.Error(), "an API") || !strings.Contains(err.Error(), "--force") {
		t.Errorf("a reset under living daemons: %v", err)
	}
	if list, err := s.Endpoints.ListEndpoints(ctx, tasker.EndpointQuery{Limit: 10}); err != nil || len(list) != 2 {
		t.Errorf("after the refusal there are %v, %v", list, err)
	}
	if _, err := initialize(app.InitOptions{}); err != nil {
		t.Errorf("without a reset: %v", err)
	}
	if out, err := initialize(app.InitOptions{Reset: true, Force: true}); err != nil || !strings.Contains(out, manager) {
		t.Errorf("forced: %s, %v", out, err)
	}
	if held, err := s.Endpoints.Heartbeat(ctx, id, []string{"console1"}, time.Hour); err != nil || held {
		t.Errorf("the manager holds what was reset: %v, %v", held, err)
	}

	// Those who said goodbye are not in the way.
	if _, err := s.Endpoints.AcquireEndpoint(ctx, tasker.Endpoint{Name: "a", Manager: id, TaskTypes: []string{"worker"}}, time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := s.Endpoints.ReleaseEndpoints(ctx, id, []string{"a"}); err != nil {
		t.Fatal(err)
	}
	if _, err := initialize(app.InitOptions{Reset: true}); err != nil {
		t.Error(err)
	}
}
