package app_test

import (
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/internal/app"
)

// TestDevCanBeLookedAt while it runs: by the doctor, and its dead letters.
func TestDevCanBeLookedAt(t *testing.T) {
	dir := t.TempDir()
	cfg, err := config.Load(config.Options{
		Environ: []string{fastTypes, "TASKER_API_PORT=0"}, Without: config.PartDatabase | config.PartBroker | config.PartAdmin,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := app.OfDev(cfg, dir); tasker.CodeOf(err) != tasker.Invalid || !strings.Contains(err.Error(), "there is no database of tasker dev in "+dir) {
		t.Errorf("before it ran: %v", err)
	}
	dev(t, cfg, app.DevOptions{DataDir: dir, Out: io.Discard, Version: "test"})
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
	if report.Problems() > 0 || !strings.Contains(text.String(), "2 endpoints, and every one was heard from a moment ago") ||
		!strings.Contains(text.String(), "the broker is inside of the process of tasker dev") {
		t.Error(text.String())
	}
	letters, err := app.OpenDeadLetters(t.Context(), looking, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer letters.Close(t.Context())
	if list, err := letters.List(t.Context(), 0, 10); err != nil || len(list) > 0 {
		t.Errorf("got %v, %v", list, err)
	}
	if err := letters.Requeue(t.Context(), 7); err == nil || !strings.Contains(err.Error(), "POST /v1/dead-letters/7/requeue to its API") {
		t.Errorf("got %v", err)
	}
}
