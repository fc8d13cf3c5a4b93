//go:build unix

package handlers_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/builtin"
)

// secretFile makes a file with a secret in it.
func secretFile(t *testing.T, secret string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestVariablesFromFiles: a variable has what its file holds when the program
// starts.
func TestVariablesFromFiles(t *testing.T) {
	t.Parallel()
	path := secretFile(t, "first")
	h := newHandler(t, "exec", handlers.Settings{"command": []any{"sh", "-c", `echo "$KEY"`}, "environment_file": map[string]any{"KEY": path}})
	if err := h.(handlers.Checker).Check(); err != nil {
		t.Error(err)
	}
	if out, err := handle(t, h, "null"); err != nil || out != `"first\n"` && out != `"first"` {
		t.Errorf("got %s, %v", out, err)
	}
	if err := os.WriteFile(path, []byte("second"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := handle(t, h, "null"); err != nil || !strings.Contains(out, "second") {
		t.Errorf("a renewed file: got %s, %v", out, err)
	}
	if err := os.Chmod(path, 0o644); err != nil { //nolint:gosec // the fault
		t.Fatal(err)
	}
	want := `setting "environment_file": "KEY" names ` + path + ", which every user of this machine may read or change (its mode is 0644): chmod o-rwx " + path
	if err := h.(handlers.Checker).Check(); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("the check: got %v", err)
	}
	if _, err := handle(t, h, "null"); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("the run: got %v", err)
	}
}

// TestHeadersAndQueryFromFiles: they are sent, and not told.
func TestHeadersAndQueryFromFiles(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s %s %s", r.Header.Get("X-Key"), r.URL.Query().Get("key"), r.URL.Query().Get("a"))
	}))
	t.Cleanup(server.Close)
	settings := handlers.Settings{
		"url": server.URL + "/?a=1", "allow_private": true, "allow": []any{server.URL + "/"},
		"headers_file": map[string]any{"x-key": secretFile(t, "one")}, "query_file": map[string]any{"key": secretFile(t, "two & more")},
	}
	h := newHandler(t, "http", settings)
	if err := h.(handlers.Checker).Check(); err != nil {
		t.Error(err)
	}
	if out, err := handle(t, h, "null"); err != nil || !strings.Contains(out, "one two \\u0026 more 1") && !strings.Contains(out, "one two & more 1") {
		t.Errorf("got %s, %v", out, err)
	}
	server.Close()
	if _, err := handle(t, h, "null"); err == nil || strings.Contains(err.Error(), "more") {
		t.Errorf("the error tells the secret: %v", err)
	}
}

func TestSecretFileSettings(t *testing.T) {
	t.Parallel()
	for want, test := range map[string]struct {
		handler  string
		settings handlers.Settings
	}{
		`setting "environment_file": "A": "b" is no absolute path`:        {"exec", handlers.Settings{"command": "true", "environment_file": map[string]any{"A": "b"}}},
		`setting "environment_file": "TASKER_A": the names with TASKER_`:  {"service", handlers.Settings{"command": "true", "environment_file": map[string]any{"TASKER_A": "/b"}}},
		`setting "environment_file": "A" is in "environment", too: give`:  {"exec", handlers.Settings{"command": "true", "environment": map[string]any{"A": "x"}, "environment_file": map[string]any{"A": "/b"}}},
		`setting "headers_file": Host is not to be set`:                   {"http", handlers.Settings{"url": "http://h/", "headers_file": map[string]any{"Host": "/b"}}},
		`setting "headers_file": "x-a" is in "headers", too: give one of`: {"http", handlers.Settings{"url": "http://h/", "headers": map[string]any{"X-A": "x"}, "headers_file": map[string]any{"x-a": "/b"}}},
		`setting "query_file" has no place beside rpc: the payload gives`: {"http", handlers.Settings{"rpc": true, "allow": []any{"http://h/"}, "query_file": map[string]any{"a": "/b"}}},
	} {
		if _, err := builtin.Catalog().Make(test.handler, test.settings); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
}
