package clienttest_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/client/clienttest"
	"github.com/taskerhq/tasker/handlers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A program that rolls out a version is tested against handlers of the test's own.
func TestOwnHandlers(t *testing.T) {
	deploy := handlers.Func(func(_ context.Context, req *handlers.Request) (handlers.Result, error) {
		if req.Endpoint == "web2" {
			return nil, handlers.WithCode(28, errors.New("no space left"))
		}
		return json.RawMessage(`{"version":"2.4"}`), nil
	})
	s := clienttest.Start(t, clienttest.WithHandler("deploy", deploy), clienttest.WithEndpoints("web1", "web2", "web3"))
	_, _, err := s.Client.CreateTask(t.Context(), "deploy", client.NewTask{Identifier: "v2.4"})
	if err != nil {
		t.Fatal(err)
	}
	answer, err := s.Client.Wait(t.Context(), "deploy", "v2.4")
	if err != nil || answer.Task.Status != tasker.Failed || answer.Summary.Failed != 1 || len(answer.Results) != 3 {
		t.Fatalf("got %+v, %v", answer, err)
	}
	for _, r := range answer.Results {
		if (r.Endpoint == "web2") != (r.Errnr == 28) || (r.Endpoint != "web2") != (string(r.Payload) == `{"version":"2.4"}`) {
			t.Errorf("got %+v", r)
		}
	}
}

// Without options it is what "tasker dev" is; settings change its configuration. Two
// of them do not disturb each other.
func TestDefaults(t *testing.T) {
	t.Parallel()
	for _, identifier := range []string{"a", "b"} {
		s := clienttest.Start(t, clienttest.WithSetting("api.max_body", "2048"))
		task := client.NewTask{Identifier: identifier, Payload: map[string]float64{"seconds": 0}}
		if _, _, err := s.Client.CreateTask(t.Context(), "sleep", task); err != nil {
			t.Fatal(err)
		}
		answer, err := s.Client.Wait(t.Context(), "sleep", identifier)
		if err != nil || answer.Task.Status != tasker.Done || answer.Task.ID != 1 || answer.Summary.Expected != 2 {
			t.Errorf("got %+v, %v", answer, err)
		}
		answered, err := http.Post(s.URL+"/sleep", "application/json", strings.NewReader(`{"x":"`+strings.Repeat("x", 4096)+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		_ = answered.Body.Close()
		if answered.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("a body over the limit: %s", answered.Status)
		}
	}
}

// failing is a test that a mistake ends.
type failing struct {
	testing.TB
	message string
}

func (f *failing) Fatalf(format string, args ...any) {
	f.message = strings.TrimSpace(format)
	for _, arg := range args {
		if err, ok := arg.(error); ok {
			f.message = err.Error()
		}
	}
	panic(f)
}

// A mistake in the options fails the test, and says what is wrong.
func TestMistakes(t *testing.T) {
	nothing := handlers.Func(func(context.Context, *handlers.Request) (handlers.Result, error) { return nil, nil })
	for want, option := range map[string]clienttest.Option{
		"API_MAX_BDY": clienttest.WithSetting("api.max_bdy", "1"),
		"Not A Type":  clienttest.WithHandler("Not A Type", nothing),
		"not a name!": clienttest.WithEndpoints("not a name!"),
	} {
		f := &failing{TB: t}
		func() {
			defer func() {
				if got := recover(); got != any(f) {
					t.Errorf("%s: got %v", want, got)
				}
			}()
			clienttest.Start(f, option)
		}()
		if !strings.Contains(f.message, want) {
			t.Errorf("got %q, want a word of %q", f.message, want)
		}
	}
}
