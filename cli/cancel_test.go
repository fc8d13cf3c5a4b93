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

func TestCancel(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /worker/{identifier}/cancel", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.PathValue("identifier") == "ended" {
			problem(w, http.StatusConflict, domain.Conflict, `task "ended" has ended: it is DONE`)
			return
		}
		if got := strings.TrimSpace(string(body)); got != `{"endpoints":["a","b"],"reason":"wrong file"}` && got != `{}` {
			problem(w, http.StatusUnprocessableEntity, domain.Invalid, "unexpected body "+got)
			return
		}
		_, _ = w.Write([]byte(`{"status":"CANCELING","stopped":{"count":1200,"endpoints":["a","b"]},` +
			`"stopping":{"count":1,"endpoints":["c"]},"finished_before":{"count":0,"endpoints":[]},"unreachable":{"count":0,"endpoints":[]}}`))
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	for name, test := range map[string]struct {
		args []string
		code int
		text string
	}{
		"all":          {[]string{"worker/one"}, cli.ExitOK, "worker/one is CANCELING\nstopped: 1200 (a, b, ...)\nstopping: 1 (c)\n"},
		"named":        {[]string{"worker/one", "-e", "a", "-e", "b", "--reason", "wrong file"}, cli.ExitOK, "stopping: 1"},
		"JSON":         {[]string{"worker/one", "--output", "json"}, cli.ExitOK, `"status": "CANCELING"`},
		"it has ended": {[]string{"worker/ended"}, cli.ExitFailure, "has ended"},
		"no task":      {nil, cli.ExitUsage, "takes one task"},
		"no type":      {[]string{"one"}, cli.ExitUsage, "TYPE/IDENTIFIER"},
		"a bad name":   {[]string{"worker/one", "-e", "a/b"}, cli.ExitUsage, "a/b"},
		"a bad reason": {[]string{"worker/one", "--reason", strings.Repeat("x", 2000)}, cli.ExitUsage, "too long"},
	} {
		o := tasker(t, nil, nil, append([]string{"cancel", "--api", server.URL}, test.args...)...)
		if o.code != test.code || !strings.Contains(o.stdout+o.stderr, test.text) {
			t.Errorf("%s: exit %d, want %d\n%s%s", name, o.code, test.code, o.stdout, o.stderr)
		}
	}
}
