package cli_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	domain "github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/cli"
)

// endpointsAPI is an API with the endpoints a, alive, and b.
func endpointsAPI(t *testing.T) string {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/endpoints", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"endpoints":[{"name":"a","alive":true,"host":"h\u001b[2J","pid":7,"task_types":["worker"]},{"name":"b"}],"next":null}`))
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
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
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
