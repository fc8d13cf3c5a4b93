package web_test

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/identity"
)

// The dashboard takes the token of any principal, and shows what that may see. What it may
// not do is refused by the API, with a page that says why.
func TestLoginWithRights(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	access, principals, tokens := filepath.Join(dir, "access.yaml"), "principals:\n", map[string]string{}
	for _, name := range []string{"viewer", "runner", "nobody"} {
		tokens[name] = identity.NewPrincipalToken()
		sum := sha256.Sum256([]byte(tokens[name]))
		principals += "  " + name + ":\n    tokens: [{sha256: " + hex.EncodeToString(sum[:]) + ", expires: 2100-01-01}]\n"
	}
	const rules = "rules:\n  - {who: [viewer], may: [viewer], types: [worker]}\n  - {who: [runner], may: [operator], types: [worker]}\n"
	file := filepath.Join(dir, "token")
	for path, content := range map[string]string{access: principals + rules, file: token} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b := open(t, "TASKER_API_TOKEN_FILE="+file, "TASKER_API_ACCESS_FILE="+access)
	b.run("worker", "seen", nil, tasker.Done)
	b.run("backup", "b-private", nil, "")
	as := func(name string) {
		t.Helper()
		delete(b.headers, "Cookie")
		a := b.post("login", url.Values{"token": {tokens[name]}})
		if b.headers["Cookie"], _, _ = strings.Cut(a.header.Get("Set-Cookie"), ";"); a.status != http.StatusSeeOther {
			t.Fatalf("%s: status %d\n%s", name, a.status, clip(a.body))
		}
	}

	as("viewer")
	for _, page := range []string{"", "tasks", "types", "rollouts", "schedules", "endpoints", "endpoints/console1", "system", "tasks/worker/seen"} {
		if a := b.want(b.get(page), http.StatusOK); strings.Contains(a.body, "b-private") || strings.Contains(a.body, "backup") {
			t.Errorf("%q shows what the viewer may not see:\n%s", page, clip(a.body))
		}
	}
	b.want(b.get("tasks/worker/seen"), http.StatusOK, "Created by", "token")
	b.want(b.get("tasks/backup/b-private"), http.StatusNotFound)
	b.want(b.get("types/backup"), http.StatusNotFound)
	b.want(b.get("dead-letters"), http.StatusForbidden, "viewer does not have the right view for all task types")
	b.want(b.post("tasks/worker/seen/pause", url.Values{}), http.StatusForbidden, "viewer does not have the right pause")
	b.want(b.post("endpoints/console1/pause", url.Values{}), http.StatusForbidden, "viewer does not have the right drain")

	as("runner")
	form := url.Values{"payload": {"{}"}, "whom": {"all"}, "identifier": {"mine"}}
	if a := b.post("types/worker/run", form); a.status >= http.StatusInternalServerError || a.status == http.StatusForbidden {
		t.Errorf("%d %s", a.status, clip(a.body))
	}

	as("nobody")
	b.want(b.get("tasks"), http.StatusForbidden, "nobody does not have the right view for any task type", "Log out")
	b.want(b.get("types"), http.StatusOK)
	b.headers["Cookie"] = ""
	b.want(b.post("login", url.Values{"token": {identity.NewPrincipalToken()}}), http.StatusUnauthorized, "invalid token")
}
