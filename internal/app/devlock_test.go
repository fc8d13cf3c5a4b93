//go:build unix

package app_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/taskerhq/tasker/internal/app"
)

// TestDevIsAloneInItsDirectory: a second process fails at once, with the first one's
// id, and prints no greeting.
func TestDevIsAloneInItsDirectory(t *testing.T) {
	dir := t.TempDir()
	_, stop := dev(t, load(t), app.DevOptions{DataDir: dir, Out: io.Discard, Version: "test"})
	var greeting bytes.Buffer
	again := app.DevOptions{DataDir: dir, Out: &greeting, Version: "test"}
	err := app.RunDev(t.Context(), load(t), again, slog.New(slog.NewTextHandler(t.Output(), nil)))
	want := fmt.Sprintf(`data directory in use by another "tasker dev" (process %d): %s: stop it, or use another directory with --data, or --ephemeral`, os.Getpid(), dir)
	if err == nil || !strings.HasSuffix(err.Error(), want) || greeting.Len() > 0 {
		t.Errorf("got %v\nwant %s\nit said %s", err, want, greeting.String())
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	// The directory is free again.
	if _, stop := dev(t, load(t), again); stop() != nil || greeting.Len() == 0 {
		t.Errorf("it said %q", greeting.String())
	}
}
