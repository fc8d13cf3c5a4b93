package cli_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/taskerhq/tasker/cli"
)

// guarded is an API that answers who has its token, and remembers what it was given.
type guarded struct {
	url   string
	mu    sync.Mutex
	given []string // the Authorization of each request
}

func newGuarded(t *testing.T, name, token string) *guarded {
	t.Helper()
	g := &guarded{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := r.Header.Get("Authorization")
		g.mu.Lock()
		g.given = append(g.given, header)
		g.mu.Unlock()
		if token != "" && header != "Bearer "+token {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = fmt.Fprint(w, `{"status":401,"code":"unauthorized","detail":"invalid token"}`)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"task_types":[{"name":%q,"handler":"worker"}]}`, name)
	}))
	t.Cleanup(server.Close)
	g.url = server.URL
	return g
}

// got returns what the API was given since it was last asked.
func (g *guarded) got() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	given := g.given
	g.given = nil
	return given
}

// A context has the URL and the token of an API, in files of the user alone.
func TestLogin(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	env := []string{"HOME=" + home}
	prod, staging := newGuarded(t, "prod-type", "secret-1"), newGuarded(t, "staging-type", "")
	execute(t, env, "", "context", "list").want(t, cli.ExitOK, "no contexts\n", "")
	execute(t, env, "", "login").want(t, cli.ExitUsage, "", "missing --api: give the URL of the API for the new context default")
	execute(t, env, "wrong", "login", "prod", "--api", prod.url).want(t, cli.ExitFailure, "", "invalid token")
	execute(t, env, "two words", "login", "prod", "--api", prod.url).want(t, cli.ExitUsage, "", "nothing is stored")
	execute(t, env, "", "login", "../prod", "--api", prod.url).want(t, cli.ExitUsage, "", `invalid name of a context "../prod"`)
	execute(t, env, "", "login", "prod", "--api", "ftp://x").want(t, cli.ExitUsage, "", "--api")
	execute(t, env, "", "context", "list").want(t, cli.ExitOK, "no contexts\n", "")
	if _, err := os.Stat(filepath.Join(home, ".config")); err == nil {
		t.Error("a login that failed has stored something")
	}
	execute(t, env, "secret-1\n", "login", "prod", "--api", prod.url).want(t, cli.ExitOK, "context prod: "+prod.url+" is used from now on\n", "")
	execute(t, env, "", "types").want(t, cli.ExitOK, "prod-type", "")
	execute(t, env, "", "login", "staging", "--api", staging.url).want(t, cli.ExitOK, "staging", "")
	execute(t, env, "", "types").want(t, cli.ExitOK, "staging-type", "")
	execute(t, env, "", "types", "--context", "prod").want(t, cli.ExitOK, "prod-type", "")

	list := execute(t, env, "", "context", "list")
	list.want(t, cli.ExitOK, "* staging", "")
	for _, format := range []string{"text", "json", "names"} {
		o := execute(t, env, "", "context", "list", "--output", format)
		if o.want(t, cli.ExitOK, "prod", ""); strings.Contains(o.stdout+o.stderr, "secret-1") {
			t.Errorf("--output %s shows the token", format)
		}
	}
	execute(t, env, "", "context", "use", "prod").want(t, cli.ExitOK, "uses prod\n", "")
	execute(t, env, "", "types").want(t, cli.ExitOK, "prod-type", "")
	execute(t, env, "", "context", "use", "nosuch").want(t, cli.ExitUsage, "", `unknown context "nosuch"`)
	execute(t, env, "", "context", "use").want(t, cli.ExitUsage, "", "the name of one context")
	execute(t, env, "", "types", "--context", "nosuch").want(t, cli.ExitUsage, "", `unknown context "nosuch"`)
	execute(t, env, "", "__complete", "context", "use", "").want(t, cli.ExitOK, "prod\nstaging\n", "")

	dir := filepath.Join(home, ".config", "tasker")
	for _, name := range []string{dir, filepath.Join(dir, "contexts"), filepath.Join(dir, "context"), filepath.Join(dir, "contexts", "prod.json")} {
		info, err := os.Stat(name)
		if err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	file := filepath.Join(dir, "contexts", "prod.json")
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	prod.got()
	execute(t, env, "", "types").want(t, cli.ExitUsage, "", "chmod 600")
	if got := prod.got(); len(got) > 0 {
		t.Errorf("a token that others can read was sent: %q", got)
	}
	// A new token, for the same API.
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	execute(t, env, "secret-2", "login", "prod").want(t, cli.ExitFailure, "", "invalid token")
	execute(t, env, "", "types").want(t, cli.ExitOK, "prod-type", "") // the old one is still there
	execute(t, env, "secret-1", "login", "prod").want(t, cli.ExitOK, prod.url, "")
	execute(t, env, "", "context", "delete", "prod").want(t, cli.ExitOK, "deleted prod\n", "")
	execute(t, env, "", "context", "list", "--output", "json").want(t, cli.ExitOK, `"in_use": false`, "")
	execute(t, nil, "", "login", "--api", staging.url).want(t, cli.ExitUsage, "", "HOME or XDG_CONFIG_HOME")
}

// Flags come before the environment, and that before the context in use. The token of one
// API is never sent to another.
func TestContextPrecedence(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	env := []string{"XDG_CONFIG_HOME=" + home}
	inUse, other := newGuarded(t, "in-use", "token-of-context"), newGuarded(t, "other", "")
	execute(t, env, "token-of-context", "login", "--api", inUse.url).want(t, cli.ExitOK, "default", "")
	tokenFile := filepath.Join(home, "token")
	if err := os.WriteFile(tokenFile, []byte("token-of-file"), 0o600); err != nil {
		t.Fatal(err)
	}
	byURL, byToken := append(env, "TASKER_API_URL="+other.url), append(env, "TASKER_API_URL="+other.url, "TASKER_API_TOKEN_FILE="+tokenFile)
	for _, test := range []struct {
		name  string
		env   []string
		args  string
		asked *guarded
		token string
	}{
		{"the context in use", env, "", inUse, "Bearer token-of-context"},
		{"a flag", env, "--api " + other.url, other, ""},
		{"the environment", byURL, "", other, ""},
		{"the environment with its token", byToken, "", other, "Bearer token-of-file"},
		{"a named context in the same environment", byToken, "--context default", inUse, "Bearer token-of-context"},
		{"a flag in the same environment", byToken, "--api " + other.url, other, "Bearer token-of-file"},
	} {
		inUse.got()
		other.got()
		execute(t, test.env, "", append([]string{"types"}, strings.Fields(test.args)...)...).want(t, cli.ExitOK, "", "")
		if got := test.asked.got(); len(got) != 1 || got[0] != test.token {
			t.Errorf("%s: the API was given %q, want %q", test.name, got, test.token)
		}
		if got := append(inUse.got(), other.got()...); len(got) > 0 {
			t.Errorf("%s: the other API was asked", test.name)
		}
	}
	execute(t, env, "", "types", "--token-file", tokenFile).want(t, cli.ExitFailure, "", "invalid token")
	if got := inUse.got(); len(got) != 1 || got[0] != "Bearer token-of-file" {
		t.Errorf("--token-file replaces the token of the context: %q", got)
	}
	execute(t, byURL, "", "context", "use", "default").want(t, cli.ExitOK, "uses default", "but TASKER_API_URL is set, and comes first")
	for _, args := range []string{"--context default --api http://x", "--context default --dev", "--api http://x --dev"} {
		execute(t, env, "", append([]string{"types"}, strings.Fields(args)...)...).want(t, cli.ExitUsage, "", "--api")
	}
}
