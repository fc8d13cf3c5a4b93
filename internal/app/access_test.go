package app_test

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/internal/app"
	"github.com/taskerhq/tasker/internal/identity"
)

// The access file counts as soon as it is read again. A mistake in it keeps the one before.
func TestAccessFileIsReloaded(t *testing.T) {
	dir, token := t.TempDir(), identity.NewPrincipalToken()
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sum := sha256.Sum256([]byte(token))
	access := func(rule string) {
		t.Helper()
		write("access.yaml", "principals:\n  ann:\n    tokens: [{sha256: "+hex.EncodeToString(sum[:])+", expires: 2100-01-01}]\nrules:\n  - {"+rule+"}\n")
	}
	access("who: [ann], may: [view]")
	write("test.config.yaml", "task_types: [{name: worker, settings: {duration: 0}}]\napi: {access_file: access.yaml}\n")
	cfg, err := config.Load(config.Options{
		Mode: "test", Dir: dir, Environ: []string{"TASKER_API_PORT=0"},
		Without: config.PartDatabase | config.PartBroker | config.PartAdmin,
	})
	if err != nil {
		t.Fatal(err)
	}
	asked, done := make(chan os.Signal), make(chan error, 1)
	base, _ := dev(t, cfg, app.DevOptions{Ephemeral: true, Reload: app.Reload{Asked: asked, Done: func(err error) { done <- err }}})
	reload := func() error {
		t.Helper()
		select {
		case asked <- syscall.SIGHUP:
			return <-done
		case <-time.After(5 * time.Minute):
			t.Fatal("nobody hears the signal")
			return nil
		}
	}
	status := func(path string) int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	want := func(when string, tasks int) {
		t.Helper()
		if got := status("/worker"); got != tasks {
			t.Errorf("%s: status %d, want %d", when, got, tasks)
		}
	}
	want("at the start", http.StatusOK)
	access("who: [ann], may: [vieww]")
	if err := reload(); err == nil {
		t.Error("a mistake was accepted")
	}
	want("after a mistake", http.StatusOK)
	access("who: [ann], may: [run], types: [worker]")
	if err := reload(); err != nil {
		t.Fatal(err)
	}
	want("without the right to view", http.StatusForbidden)
	write("access.yaml", "principals: {bob: }\n")
	if err := reload(); err != nil {
		t.Fatal(err)
	}
	want("without ann", http.StatusUnauthorized)
}
