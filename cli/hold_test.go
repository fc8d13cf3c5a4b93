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

// holdsAPI is an API at which everything can be held, except what is called ended.
func holdsAPI(t *testing.T) string {
	t.Helper()
	const hold = `"hold":{"by":"ann","at":"2026-05-06T01:14:24Z","reason":"new disk","until":"2026-05-06T03:14:24Z"}`
	mux := http.NewServeMux()
	answer := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if r.PathValue("name") == "ended" {
				problem(w, http.StatusConflict, domain.Conflict, `task "ended" has ended: it is DONE`)
				return
			}
			if got := strings.TrimSpace(string(body)); got != `{"reason":"new disk","until":"2h"}` && got != `{}` && got != "" {
				problem(w, http.StatusUnprocessableEntity, domain.Invalid, "unexpected body "+got)
				return
			}
			_, _ = w.Write([]byte(text))
		}
	}
	paused := answer(`{` + hold + `,"running":{"count":12,"endpoints":["a","b"]},"held":7,"unaware":{"count":1,"endpoints":["old"]}}`)
	resumed := answer(`{"changed":true}`)
	mux.HandleFunc("POST /worker/{name}/pause", paused)
	mux.HandleFunc("POST /worker/{name}/resume", resumed)
	mux.HandleFunc("POST /v1/task-types/{name}/pause", paused)
	mux.HandleFunc("POST /v1/task-types/{name}/resume", answer(`{"changed":false}`))
	mux.HandleFunc("POST /v1/endpoints/{name}/drain",
		answer(`{`+hold+`,"running":{"count":1,"tasks":["worker/one"]},"held":3,"unaware":true}`))
	mux.HandleFunc("POST /v1/endpoints/{name}/resume", resumed)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

func TestHold(t *testing.T) {
	url := holdsAPI(t)
	const paused = " is paused until 2026-05-06T03:14:24Z\nheld: 7\nstill running: 12 (a, b, ...)\n" +
		"not obeyed by managers of an older release: 1 (old)\n"
	for name, test := range map[string]struct {
		args string
		code int
		text string
	}{
		"pause a task":     {"pause worker/one", cli.ExitOK, "worker/one" + paused},
		"pause a type":     {"pause worker --until 2h --reason", cli.ExitOK, "worker" + paused},
		"pause, as JSON":   {"pause worker --output json", cli.ExitOK, `"held": 7`},
		"pause what ended": {"pause worker/ended", cli.ExitFailure, "has ended"},
		"pause nothing":    {"pause", cli.ExitUsage, "takes one task"},
		"pause a bad name": {"pause worker/a/b", cli.ExitUsage, "a/b"},
		"resume a task":    {"resume worker/one", cli.ExitOK, "worker/one is not paused any more\n"},
		"resume a type":    {"resume worker", cli.ExitOK, "worker was not paused\n"},
		"resume nothing":   {"resume", cli.ExitUsage, "takes one task"},
		"drain": {
			"endpoints drain web1", cli.ExitOK,
			"web1 is drained until 2026-05-06T03:14:24Z\nheld: 3\nstill running: 1 (worker/one)\nnot obeyed",
		},
		"drain some":         {"endpoints drain web1 ended web2", cli.ExitFailure, "not drained: ended: "},
		"drain, as JSON":     {"endpoints drain web1 --output json", cli.ExitOK, `"drained": {`},
		"drain nothing":      {"endpoints drain", cli.ExitUsage, "name at least one"},
		"drain a bad name":   {"endpoints drain a/b", cli.ExitUsage, "a/b"},
		"resume an endpoint": {"endpoints resume web1", cli.ExitOK, "web1 is not drained any more\n"},
	} {
		args := strings.Fields(test.args)
		if args[len(args)-1] == "--reason" {
			args = append(args, "new disk")
		}
		o := tasker(t, nil, nil, append(args, "--api", url)...)
		if o.code != test.code || !strings.Contains(o.stdout+o.stderr, test.text) {
			t.Errorf("%s: exit %d, want %d\n%s%s", name, o.code, test.code, o.stdout, o.stderr)
		}
	}
}
