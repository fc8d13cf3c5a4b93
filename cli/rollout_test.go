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

// rolloutsAPI is an API with one rollout, which waits for an approval.
func rolloutsAPI(t *testing.T) string {
	t.Helper()
	mux := http.NewServeMux()
	answer := func(text string, bodies ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			for _, want := range bodies {
				if strings.TrimSpace(string(body)) == want {
					_, _ = w.Write([]byte(text))
					return
				}
			}
			problem(w, http.StatusConflict, domain.Conflict, "rollout waits for no approval: it is RUNNING; got "+string(body))
		}
	}
	const waves = `"waves":[{"n":1,"size":1,"until":1,"bad_at_most":1},{"n":2,"size":9,"until":10,"bad_at_most":10}]`
	mux.HandleFunc("POST /worker/one/approve", answer(
		`{"changed":true,"rollout":{"state":"RUNNING","wave":2,"settings":{},`+waves+`}}`, `{}`, `{"wave":2,"reason":"fine"}`))
	mux.HandleFunc("POST /worker/again/approve", answer(`{"changed":false,"rollout":{"state":"RUNNING","wave":1,"settings":{},`+waves+`}}`, `{}`))
	mux.HandleFunc("POST /worker/none/approve", answer(""))
	mux.HandleFunc("POST /worker/one/resume", answer(
		`{"changed":true,"rollout":{"state":"RUNNING","wave":3,"settings":{},"endpoints":10,"max_concurrency":3,"forgiven":["a","b"],"bad":["c"],"reason":"mended"}}`,
		`{}`, `{"all":true,"reason":"fine"}`))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

func TestRollout(t *testing.T) {
	url := rolloutsAPI(t)
	for name, test := range map[string]struct {
		args []string
		code int
		text string
	}{
		"approve":           {[]string{"approve", "worker/one"}, cli.ExitOK, "worker/one: approved\nrollout: RUNNING, wave 2 of 2 is open\n"},
		"approve ahead":     {[]string{"approve", "worker/one", "--wave", "2", "--reason", "fine"}, cli.ExitOK, "worker/one: approved\n"},
		"approve again":     {[]string{"approve", "worker/again"}, cli.ExitOK, "worker/again: approved already\nrollout: RUNNING, wave 1 of 2 is open\n"},
		"as JSON":           {[]string{"approve", "worker/one", "--output", "json"}, cli.ExitOK, `"wave": 2`},
		"nothing waits":     {[]string{"approve", "worker/none"}, cli.ExitFailure, "waits for no approval"},
		"no task":           {[]string{"approve", "worker"}, cli.ExitUsage, "TYPE/IDENTIFIER"},
		"a bad wave":        {[]string{"approve", "worker/one", "--wave", "0"}, cli.ExitUsage, "invalid wave 0"},
		"resume":            {[]string{"resume", "worker/one"}, cli.ExitOK, "rollout: RUNNING, 3 of 10 endpoints are open (mended)\nbad: 1 (c)\nforgiven: 2 (a, b)\n"},
		"promote":           {[]string{"resume", "worker/one", "--all", "--reason", "fine"}, cli.ExitOK, "forgiven: 2"},
		"promote a type":    {[]string{"resume", "worker", "--all"}, cli.ExitUsage, "name it as TYPE/IDENTIFIER"},
		"a reason too long": {[]string{"approve", "worker/one", "--reason", strings.Repeat("x", 2000)}, cli.ExitUsage, "too long"},
	} {
		o := tasker(t, nil, nil, append(test.args, "--api", url)...)
		if o.code != test.code || !strings.Contains(o.stdout+o.stderr, test.text) {
			t.Errorf("%s: exit %d, want %d\n%s%s", name, o.code, test.code, o.stdout, o.stderr)
		}
	}
}
