package cli_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	domain "github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/cli"
)

// endpointsAPI is an API with the endpoints a, alive, and b.
func endpointsAPI(t *testing.T) string {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/endpoints", func(w http.ResponseWriter, r *http.Request) {
		switch chosen := r.URL.Query()["select"]; {
		case slices.Equal(chosen, []string{"role=web", "role=db"}):
			_, _ = w.Write([]byte(`{"endpoints":[{"name":"chosen"}],"next":null}`))
			return
		case slices.Equal(chosen, []string{"role=none"}):
			_, _ = w.Write([]byte(`{"endpoints":[],"next":null}`))
			return
		case len(chosen) > 0:
			problem(w, http.StatusUnprocessableEntity, domain.Invalid, "invalid selector")
			return
		}
		_, _ = w.Write([]byte(`{"endpoints":[{"name":"a","alive":true,"host":"h\u001b[2J","pid":7,"task_types":["worker"]},{"name":"b"}],"next":null}`))
	})
	mux.HandleFunc("GET /v1/endpoint-tokens", func(w http.ResponseWriter, _ *http.Request) {
		problem(w, http.StatusNotFound, domain.NotFound, "path not found") // as an API of an older release
	})
	mux.HandleFunc("DELETE /v1/endpoints/{name}", func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") != "Bearer s3cret":
			problem(w, http.StatusUnauthorized, domain.Unauthorized, "missing token")
		case r.PathValue("name") == "a":
			problem(w, http.StatusConflict, domain.Conflict, `endpoint "a" is alive: its manager is on host h, pid 7`)
		default:
			_, _ = w.Write([]byte(`{"name":"b","task_types":["worker"],"open_tasks":3,"queues_pending":false}`))
		}
	})
	mux.HandleFunc("POST /v1/endpoints/{name}/token", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("name") == "a" {
			problem(w, http.StatusConflict, domain.Conflict, `endpoint "a" has a token`)
			return
		}
		_, _ = w.Write([]byte(`{"id":3,"endpoint":"c","created_time":"2026-05-06T01:00:00Z","token":"tasker_ep_abc"}`))
	})
	mux.HandleFunc("POST /v1/endpoints/{name}/token/rotate", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("name") == "b" {
			problem(w, http.StatusNotFound, domain.NotFound, `endpoint "b" has no token`)
			return
		}
		_, _ = w.Write([]byte(`{"id":4,"endpoint":"a","created_time":"2026-05-06T01:00:00Z","token":"tasker_ep_` + r.FormValue("overlap") + `"}`))
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

func TestEndpointTokens(t *testing.T) {
	url := endpointsAPI(t)
	env := []string{"TASKER_API_URL=" + url}
	for _, test := range []struct {
		args           string
		code           int
		stdout, stderr string
	}{
		{"endpoints add c", cli.ExitOK, "token of c: tasker_ep_abc\n", ""},
		{"endpoints add c", cli.ExitOK, "token_file: secrets/c.token", ""},
		{"endpoints add c --output json", cli.ExitOK, `"token": "tasker_ep_abc"`, ""},
		{"endpoints add a", cli.ExitFailure, "", `endpoint a has a token: "tasker endpoints rotate a"`},
		{"endpoints add", cli.ExitUsage, "", "takes the name of one endpoint, got 0"},
		{"endpoints add c d", cli.ExitUsage, "", "takes the name of one endpoint, got 2"},
		{"endpoints add any", cli.ExitUsage, "", `invalid endpoint "any": reserved name`},
		{"endpoints rotate a", cli.ExitOK, "token of a: tasker_ep_86400\nthe one that it had is valid until 2026-05-07T01:00:00Z", ""},
		{"endpoints rotate a --overlap 0", cli.ExitOK, "tasker_ep_0\nthe one that it had ends within seconds", ""},
		{"endpoints rotate b", cli.ExitFailure, "", `endpoint b has no token: "tasker endpoints add b"`},
		{"endpoints rotate a --overlap -1s", cli.ExitUsage, "", "invalid --overlap -1s"},
		{"endpoints rotate a --overlap 1500ms", cli.ExitUsage, "", "invalid --overlap 1.5s"},
	} {
		o := tasker(t, nil, env, strings.Fields(test.args)...)
		if o.code != test.code || !strings.Contains(o.stdout, test.stdout) || !strings.Contains(o.stderr, test.stderr) {
			t.Errorf("%v: exit %d\n%s%s", test.args, o.code, o.stdout, o.stderr)
		}
	}
}

func TestListTokens(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/endpoints", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"endpoints":[{"name":"a","alive":true,"host":"h","pid":7,"task_types":["worker"]},{"name":"b"}],"next":null}`))
	})
	mux.HandleFunc("GET /v1/endpoint-tokens", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"tokens":[{"id":1,"endpoint":"a","created_time":"2026-05-06T01:00:00Z","valid_until":"2026-05-07T01:00:00Z","last_used":"2026-05-06"},` +
			`{"id":2,"endpoint":"a","created_time":"2026-05-06T01:00:00Z"},{"id":3,"endpoint":"c","created_time":"2026-05-06T01:00:00Z"}],"next":null}`))
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	o := tasker(t, nil, []string{"TASKER_API_URL=" + server.URL}, "endpoints", "list")
	want := `NAME  ALIVE  LAST SEEN             TOKEN           HOST  PID  TASK TYPES
a     yes    0001-01-01T00:00:00Z  2026-05-06 (2)  h     7    worker
b     no     0001-01-01T00:00:00Z  -               -     0    -
c     no     never                 unused          -     -    -
`
	if o.code != cli.ExitOK || o.stdout != want {
		t.Errorf("exit %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	o = tasker(t, nil, []string{"TASKER_API_URL=" + server.URL}, "endpoints", "list", "--output", "json")
	if !strings.Contains(o.stdout, `"valid_until": "2026-05-07T01:00:00Z"`) || !strings.Contains(o.stdout, `"endpoint": "c"`) {
		t.Error(o.stdout)
	}
}

func TestEndpoints(t *testing.T) {
	url := endpointsAPI(t)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"TASKER_API_URL=" + url, "TASKER_API_TOKEN_FILE=" + token}
	for _, test := range []struct {
		env            []string
		args           []string
		code           int
		stdout, stderr string
	}{
		{env, []string{"endpoints", "list"}, cli.ExitOK, "a     yes", ""},
		{env, []string{"endpoints", "list", "-S", "role=web", "--select", "role=db"}, cli.ExitOK, "chosen  no", ""},
		{env, []string{"endpoints", "list", "--output", "names"}, cli.ExitOK, "a\nb\n", ""},
		{env, []string{"endpoints", "list", "--output", "jsonl"}, cli.ExitOK, `{"endpoint":{"name":"a",`, ""},
		{env, []string{"endpoints", "list", "-S", "role=none"}, cli.ExitOK, "no registered endpoint is chosen\n", ""},
		{env, []string{"endpoints", "list", "-S", ""}, cli.ExitUsage, "", "invalid selector"},
		{env, []string{"endpoints", "remove", "b"}, cli.ExitOK, "removed b: 3 open tasks", ""},
		{env, []string{"endpoints", "remove", "a", "b"}, cli.ExitFailure, "removed b", "is alive: its manager is on host h, pid 7"},
		{nil, []string{"endpoints", "remove", "b", "--api", url}, cli.ExitFailure, "", "missing token"},
		{nil, []string{"endpoints", "list", "--api", "http://127.0.0.1:1"}, cli.ExitFailure, "", "cannot reach the API at http://127.0.0.1:1"},
		{nil, []string{"endpoints", "list", "--api", "nowhere"}, cli.ExitUsage, "", "--api: invalid API URL"},
		{env, []string{"endpoints", "remove"}, cli.ExitUsage, "", "missing endpoint"},
		{env, []string{"endpoints", "remove", "a/b"}, cli.ExitUsage, "", "invalid endpoint"},
		{env, []string{"endpoints", "list", "--token-file", "/nowhere"}, cli.ExitUsage, "", "--token-file"},
	} {
		o := tasker(t, nil, test.env, test.args...)
		if o.code != test.code || !strings.Contains(o.stdout, test.stdout) || !strings.Contains(o.stderr, test.stderr) {
			t.Errorf("%v: exit %d\n%s%s", test.args, o.code, o.stdout, o.stderr)
		}
		if strings.Contains(o.stdout, "\x1b") {
			t.Errorf("%v: what the API said steers the terminal: %q", test.args, o.stdout)
		}
	}
	// The variable is no mistake of a daemon's.
	if o := tasker(t, nil, []string{"TASKER_API_URL=" + url}, "api"); o.code != cli.ExitOK {
		t.Errorf("exit %d: %s", o.code, o.stderr)
	}
}
