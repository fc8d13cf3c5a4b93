package app_test

import (
	"io"
	"strings"
	"testing"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/internal/app"
)

// TestDevCanBeLookedAt while it runs: by the doctor, and over its API.
func TestDevCanBeLookedAt(t *testing.T) {
	dir := t.TempDir()
	cfg, err := config.Load(config.Options{
		Environ: []string{fastTypes, "TASKER_API_PORT=0"}, Without: config.PartDatabase | config.PartBroker | config.PartAdmin,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := app.OfDev(cfg, dir); tasker.CodeOf(err) != tasker.Invalid || !strings.Contains(err.Error(), "database of tasker dev not found in "+dir) {
		t.Errorf("before it ran: %v", err)
	}
	base, stop := dev(t, cfg, app.DevOptions{DataDir: dir, Out: io.Discard, Version: "test"})
	looking, err := app.OfDev(cfg, dir)
	if err != nil {
		t.Fatal(err)
	}
	report, err := app.Doctor(t.Context(), looking, app.DoctorOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if err := report.WriteText(&text, false); err != nil {
		t.Fatal(err)
	}
	if report.Problems() > 0 || !strings.Contains(text.String(), "2 endpoints, all alive") ||
		!strings.Contains(text.String(), "the broker is in the process of tasker dev") {
		t.Error(text.String())
	}
	if _, err := app.DevURL(t.TempDir()); tasker.CodeOf(err) != tasker.Invalid || !strings.Contains(err.Error(), "tasker dev is not running in ") {
		t.Errorf("got %v for another directory", err)
	}
	if url, err := app.DevURL(dir); err != nil || url != base {
		t.Errorf("got URL %q, %v, want %s", url, err, base)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := app.DevURL(dir); tasker.CodeOf(err) != tasker.Invalid {
		t.Errorf("got %v after the end", err)
	}
}
