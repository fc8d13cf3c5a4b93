package cli_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	domain "github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/cli"
)

func TestRetry(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /worker/{identifier}/retry", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.PathValue("identifier") == "ended" {
			problem(w, http.StatusConflict, domain.Conflict, `nothing to retry in task "ended": no endpoint is failed`)
			return
		}
		switch got := strings.TrimSpace(string(body)) + " " + r.Header.Get("Idempotency-Key") + " " + r.URL.RawQuery; got {
		case `{"endpoints":"failed"}  `, `{"endpoints":"failed"}  dry_run=true`,
			`{"endpoints":["a","b"],"reason":"mended","expires":"1h"} k1 `:
		default:
			problem(w, http.StatusUnprocessableEntity, domain.Invalid, "unexpected request "+got)
			return
		}
		_, _ = w.Write([]byte(`{"status":"SENT","round":2,"retried":{"count":1200,"endpoints":["a","b"]},` +
			`"not_retried":[{"reason":"running","count":1,"endpoints":["c"]}]}`))
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	for name, test := range map[string]struct {
		args []string
		code int
		text string
	}{
		"failed": {
			[]string{"worker/one", "--only", "failed"},
			cli.ExitOK,
			"worker/one is SENT, round 2\nretried: 1200 (a, b, ...)\nnot retried, running: 1 (c)\n",
		},
		"a dry run": {[]string{"worker/one", "--only", "failed", "--dry-run"}, cli.ExitOK, "worker/one would be SENT, round 2\n"},
		"named": {
			[]string{"worker/one", "-e", "a", "-e", "b", "--reason", "mended", "--expires", "1h", "--idempotency-key", "k1"},
			cli.ExitOK,
			"retried: 1200",
		},
		"JSON":             {[]string{"worker/one", "--only", "failed", "--output", "json"}, cli.ExitOK, `"round": 2`},
		"nothing to retry": {[]string{"worker/ended", "--only", "failed"}, cli.ExitFailure, "nothing to retry"},
		"no task":          {[]string{"--only", "failed"}, cli.ExitUsage, "takes one task"},
		"no endpoints":     {[]string{"worker/one"}, cli.ExitUsage, "use either --only"},
		"both":             {[]string{"worker/one", "--only", "all", "-e", "a"}, cli.ExitUsage, "use either --only"},
		"an unknown class": {[]string{"worker/one", "--only", "broken"}, cli.ExitUsage, "use either --only"},
		"a bad name":       {[]string{"worker/one", "-e", "a/b"}, cli.ExitUsage, "a/b"},
		"a bad reason":     {[]string{"worker/one", "--only", "all", "--reason", strings.Repeat("x", 2000)}, cli.ExitUsage, "too long"},
	} {
		o := tasker(t, nil, nil, append([]string{"retry", "--api", server.URL}, test.args...)...)
		if o.code != test.code || !strings.Contains(o.stdout+o.stderr, test.text) {
			t.Errorf("%s: exit %d, want %d\n%s%s", name, o.code, test.code, o.stdout, o.stderr)
		}
	}
}
