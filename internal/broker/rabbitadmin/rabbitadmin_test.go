package rabbitadmin_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker/rabbitadmin"
)

// answering is a management API with one answer to everything.
func answering(t *testing.T, status int, body string) *rabbitadmin.Client {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "/elsewhere") // of a redirect, which is not followed
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	c, err := rabbitadmin.New(server.URL, "boss", "hunter2")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRefusalsSayWhatToDo(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status int
		body   string
		code   tasker.Code
		want   string
	}{
		"wrong password": {
			401, `{"error":"not_authorized","reason":"Login failed"}`, tasker.Unauthorized,
			`refuses the user "boss" (not_authorized: Login failed): check rabbitmq.user and its password`,
		},
		"no administrator": {
			401, `{"error":"not_authorised","reason":"Not administrator user"}`, tasker.Unauthorized,
			`rabbitmqctl set_user_tags boss administrator`,
		},
		"something else there": {502, "<html>", tasker.Internal, "returned 502: Bad Gateway"},
		"elsewhere":            {302, "", tasker.Internal, "returned 302: Found"},
		"long": {
			400, `{"error":"bad_request","reason":"` + strings.Repeat("x", 5000) + `"}`, tasker.Internal,
			"returned 400: bad_request: xxx",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := answering(t, test.status, test.body).EnsureVhost(t.Context(), "tasker")
			if tasker.CodeOf(err) != test.code || !strings.Contains(fmt.Sprint(err), test.want) {
				t.Errorf("got %v (%s), want %s (%s)", err, tasker.CodeOf(err), test.want, test.code)
			}
			if err != nil && (len(err.Error()) > 600 || strings.Contains(err.Error(), "hunter2")) {
				t.Errorf("too long, or with the password: %v", err)
			}
		})
	}
}

func TestNoAnswer(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close() // nobody listens on its port any more
	c, err := rabbitadmin.New(server.URL, "boss", "hunter2")
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.DescribeVhost(t.Context(), "tasker")
	if tasker.CodeOf(err) != tasker.Unavailable || !strings.Contains(err.Error(), "rabbitmq-plugins enable rabbitmq_management") {
		t.Errorf("got %v", err)
	}
}

func TestNotTheManagementAPI(t *testing.T) {
	t.Parallel()
	_, err := answering(t, 200, "<html>").DescribeVhost(t.Context(), "tasker")
	if err == nil || !strings.Contains(err.Error(), "is not RabbitMQ's management API") {
		t.Errorf("got %v", err)
	}
}

func TestNamesAndBodiesOnTheWire(t *testing.T) {
	t.Parallel()
	var seen []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		seen = append(seen, r.Method+" "+r.URL.EscapedPath()+" "+string(body))
		if user, password, ok := r.BasicAuth(); !ok || user != "boss" || password != "hunter2" {
			t.Errorf("%s %s came as %q", r.Method, r.URL, user)
		}
		if r.Method == http.MethodGet {
			_, _ = io.WriteString(w, `{"tags":["monitoring","policymaker"]}`)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(server.Close)
	c, err := rabbitadmin.New(server.URL+"/", "boss", "hunter2")
	if err != nil {
		t.Fatal(err)
	}
	if created, err := c.EnsureVhost(t.Context(), "/"); created || err != nil {
		t.Errorf("got %v, %v", created, err)
	}
	if created, err := c.EnsureUser(t.Context(), "a b", "p"); created || err != nil {
		t.Errorf("got %v, %v", created, err)
	}
	if err := c.SetPermissions(t.Context(), "/", "a b", rabbitadmin.Permissions{Configure: "c", Write: "w", Read: "r"}); err != nil {
		t.Error(err)
	}
	want := []string{
		"PUT /api/vhosts/%2F {}",
		"GET /api/users/a%20b ",
		`PUT /api/users/a%20b {"password":"p","tags":"monitoring,policymaker"}`, // the tags it had
		`PUT /api/permissions/%2F/a%20b {"configure":"c","write":"w","read":"r"}`,
	}
	if got := strings.Join(seen, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

func TestNewRefusesAddresses(t *testing.T) {
	t.Parallel()
	for _, uri := range []string{"", "localhost:15672", "ftp://h", "http://", "http://u:hunter2@h", "http://u:hun ter2@h"} {
		if _, err := rabbitadmin.New(uri, "u", "p"); err == nil || strings.Contains(err.Error(), "hun") {
			t.Errorf("%q: got %v", uri, err)
		}
	}
}
