package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	mysqldriver "github.com/go-sql-driver/mysql"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/gateway"
	"github.com/taskerhq/tasker/internal/gateway/protocol"
	"github.com/taskerhq/tasker/internal/ledger"
)

// What the database answers, and that it does not, is told apart by the client as
// the store tells it.
func TestErrorsOfTheDatabase(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	g := newGated(s)
	close(g.gate)
	server := gateway.NewServer(gateway.Config{}, g.stores(), byName{}, &notes{}, testLog(t))
	run(t, server)
	c := newClient(t, server, "a")
	for name, test := range map[string]struct {
		err      error
		code     tasker.Code
		answered bool
	}{
		"away":          {tasker.WrapError(tasker.Unavailable, io.EOF, "database: cannot store the results"), tasker.Unavailable, false},
		"too slow":      {fmt.Errorf("store: %w", context.DeadlineExceeded), tasker.Unavailable, false},
		"disk full":     {tasker.WrapError(tasker.Unavailable, &mysqldriver.MySQLError{Number: 1021}, "full"), tasker.Unavailable, true},
		"a bad value":   {tasker.WrapError(tasker.Invalid, &mysqldriver.MySQLError{Number: 1366}, "bad"), tasker.Invalid, true},
		"a large value": {tasker.Errorf(tasker.TooLarge, "large"), tasker.TooLarge, true},
		"a bug":         {errors.New("secret detail"), tasker.Internal, true},
	} {
		g.fail = func([]ledger.End) error { return test.err }
		_, err := c.Attempts.FinishAttempts(t.Context(), ends("a", tasker.Task{ID: 1}))
		if tasker.CodeOf(err) != test.code || c.Database.Answered(err) != test.answered || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v with code %s, answered %t", name, err, tasker.CodeOf(err), c.Database.Answered(err))
		}
	}
}

// What is no gateway is no answer, and the error says who it was.
func TestProxies(t *testing.T) {
	t.Parallel()
	for name, proxy := range map[string]http.HandlerFunc{
		"an error page": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(http.StatusBadGateway)
			_, _ = io.WriteString(w, "<html>502 Bad Gateway</html>")
		},
		"a login page": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>Welcome</html>") },
		"other JSON": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, "{}")
		},
		"a refusal": func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "too large", http.StatusRequestEntityTooLarge)
		},
		"a redirect": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/login", http.StatusFound) },
		"a cut":      func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"a late cut": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set(protocol.HeaderRevision, "1")
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, `{"done":[true`)
		},
		"half an answer": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set(protocol.HeaderRevision, "1")
			_, _ = io.WriteString(w, `{"done":[true`)
		},
		"no answers": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set(protocol.HeaderRevision, "1")
			_, _ = io.WriteString(w, `{"done":[]}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			web := httptest.NewServer(proxy)
			t.Cleanup(web.Close)
			c, err := gateway.NewClient(gateway.ClientConfig{Addresses: []string{web.URL}, Tokens: tokensOf("a")})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.Close)
			_, err = c.Attempts.FinishAttempts(t.Context(), ends("a", tasker.Task{ID: 1}))
			if tasker.CodeOf(err) != tasker.Unavailable || c.Database.Answered(err) {
				t.Errorf("%v with code %s, answered %t", err, tasker.CodeOf(err), c.Database.Answered(err))
			}
			if !strings.Contains(err.Error(), web.URL) && !strings.Contains(err.Error(), "unreadable answer to finish") {
				t.Errorf("does not say who it was: %v", err)
			}
		})
	}
}

// If one gateway ends, the next one is asked, in the same call.
func TestTwoGateways(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	var addresses []string
	var webs []*httptest.Server
	for range 2 {
		web := httptest.NewServer(newServer(t, s, gateway.Config{}).Handler())
		t.Cleanup(web.Close)
		webs, addresses = append(webs, web), append(addresses, web.URL)
	}
	c, err := gateway.NewClient(gateway.ClientConfig{Addresses: addresses, Tokens: tokensOf("a")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	acquire(t, c, "a", "m1")
	one, two := createTask(t, s, "one"), createTask(t, s, "two")
	if _, err := c.Results.ReceiveResults(t.Context(), messages("a", "m1", one)); err != nil {
		t.Fatal(err)
	}
	webs[0].CloseClientConnections()
	webs[0].Close()
	for range 3 {
		got, err := c.Results.ReceiveResults(t.Context(), messages("a", "m1", one, two))
		if err != nil || got[0].Outcome != ledger.Duplicate {
			t.Fatal(got, err)
		}
	}
	webs[1].CloseClientConnections()
	webs[1].Close()
	if _, err := c.Attempts.FinishAttempts(t.Context(), ends("a", one)); tasker.CodeOf(err) != tasker.Unavailable || c.Database.Answered(err) {
		t.Error(err)
	}
}

// A token that was rotated is read again; one that is gone is no refusal of what was
// sent, and an answer.
func TestTokensAreReadAgain(t *testing.T) {
	t.Parallel()
	server := newServer(t, newStore(t), gateway.Config{})
	token := "token-a"
	reads := 0
	c, err := gateway.NewClient(gateway.ClientConfig{
		Addresses: []string{gateway.InProcessAddress}, Transport: gateway.InProcess(server.Handler()),
		Tokens: map[string]gateway.Token{"a": func() (string, error) {
			if reads++; reads == 1 {
				return "an old one", nil
			}
			return token, nil
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	acquire(t, c, "a", "m1")
	if held, err := c.Endpoints.Heartbeat(t.Context(), "m1", []string{"a"}, time.Minute); err != nil || !held || reads != 2 {
		t.Errorf("held %t, %v, read %d times", held, err, reads)
	}
	if _, err := c.Endpoints.Heartbeat(t.Context(), "m1", []string{"b"}, time.Minute); err == nil || !strings.Contains(err.Error(), `"b"`) {
		t.Errorf("an endpoint without a token: %v", err)
	}
	gone, err := gateway.NewClient(gateway.ClientConfig{
		Addresses: []string{gateway.InProcessAddress}, Transport: gateway.InProcess(server.Handler()),
		Tokens: map[string]gateway.Token{"a": func() (string, error) { return "gone", nil }},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = gone.Attempts.FinishAttempts(t.Context(), ends("a", tasker.Task{ID: 1}))
	if tasker.CodeOf(err) != tasker.Unauthorized || !gone.Database.Answered(err) {
		t.Errorf("%v, answered %t", err, gone.Database.Answered(err))
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	for address, ok := range map[string]bool{
		"https://gateway1:8889": true, "https://gateway1/": true, "http://127.0.0.1:8889": true, "http://[::1]:1": true, "http://localhost": true,
		"http://gateway1:8889": false, "gateway1:8889": false, "https://": false, "https://a:b@host": false, "https://host/path": false,
		"https://host?x": false, "ftp://host": false,
	} {
		_, err := gateway.NewClient(gateway.ClientConfig{Addresses: []string{address}, Tokens: tokensOf("a")})
		if (err == nil) != ok || err != nil && tasker.CodeOf(err) != tasker.Invalid {
			t.Errorf("%s: %v", address, err)
		}
	}
	if _, err := gateway.NewClient(gateway.ClientConfig{Tokens: tokensOf("a")}); err == nil {
		t.Error("no address is fine")
	}
	if _, err := gateway.NewClient(gateway.ClientConfig{Addresses: []string{"https://host"}}); err == nil {
		t.Error("no token is fine")
	}
}
