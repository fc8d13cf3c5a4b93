package gateway_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/gateway"
	"github.com/taskerhq/tasker/internal/ledger"
)

// losing is a transport that loses answers to requests that were served.
type losing struct {
	http.RoundTripper
	lose atomic.Int64
}

func (l *losing) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := l.RoundTripper.RoundTrip(r)
	if err == nil && l.lose.Add(-1) >= 0 {
		_ = response.Body.Close()
		return nil, io.ErrUnexpectedEOF
	}
	return response, err
}

// A request whose answer was lost after its commit is made again: nothing is
// recorded, started or stored twice.
func TestAnswerLostAfterTheCommit(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	server := newServer(t, s, gateway.Config{})
	link := &losing{RoundTripper: gateway.InProcess(server.Handler())}
	c, err := gateway.NewClient(gateway.ClientConfig{
		Addresses: []string{gateway.InProcessAddress}, Tokens: tokensOf("a"), Transport: link,
	})
	if err != nil {
		t.Fatal(err)
	}
	acquire(t, c, "a", "m1")
	task := createTask(t, s, "one")
	lost := func(what string, err error) {
		t.Helper()
		if tasker.CodeOf(err) != tasker.Unavailable || c.Database.Answered(err) || !strings.Contains(err.Error(), gateway.InProcessAddress) {
			t.Errorf("%s: %v, answered %t", what, err, c.Database.Answered(err))
		}
	}
	link.lose.Store(1)
	_, err = c.Results.ReceiveResults(t.Context(), messages("a", "m1", task))
	lost("receive", err)
	got, err := c.Results.ReceiveResults(t.Context(), messages("a", "m1", task))
	if err != nil || got[0].Outcome != ledger.Duplicate || !got[0].Own || got[0].State != tasker.Running || got[0].Attempt != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	link.lose.Store(1)
	_, err = c.Attempts.FinishAttempts(t.Context(), ends("a", task))
	lost("finish", err)
	stored, err := c.Attempts.FinishAttempts(t.Context(), ends("a", task))
	if err != nil || stored[0] {
		t.Errorf("%v, %v", stored, err)
	}
	result, err := s.Results.FindResult(t.Context(), task.ID, "a")
	if err != nil || result.State != tasker.ResultDone || result.Attempt != 1 {
		t.Errorf("%+v, %v", result, err)
	}
}

// No request is answered before the commit of what it brought.
func TestAnswersComeAfterTheCommit(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	g := newGated(s)
	server := gateway.NewServer(gateway.Config{}, g.stores(), byName{}, &notes{}, testLog(t))
	run(t, server)
	c := newClient(t, server, "a")
	acquire(t, c, "a", "m1")
	task := createTask(t, s, "one")
	key := tasker.ResultKey{TaskID: task.ID, Endpoint: "a"}
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"heartbeat", func() error {
			_, err := c.Endpoints.Heartbeat(t.Context(), "m1", []string{"a"}, time.Minute)
			return err
		}},
		{"receive", func() error {
			_, err := c.Results.ReceiveResults(t.Context(), messages("a", "m1", task))
			return err
		}},
		{"start", func() error {
			_, err := c.Attempts.StartAttempts(t.Context(), []ledger.Start{{ResultKey: key, Manager: "m1"}})
			return err
		}},
		{"live", func() error { return c.Live.SaveLive(t.Context(), []ledger.LiveUpdate{{ResultKey: key, Attempt: 1}}) }},
		{"finish", func() error {
			_, err := c.Attempts.FinishAttempts(t.Context(), ends("a", task))
			return err
		}},
	} {
		answered := make(chan error, 1)
		go func() { answered <- step.do() }()
		if entered := <-g.entered; entered != step.name {
			t.Fatalf("%s is written, want %s", entered, step.name)
		}
		select {
		case err := <-answered:
			t.Errorf("%s was answered before its commit: %v", step.name, err)
			continue
		default:
		}
		g.gate <- struct{}{}
		if err := <-answered; err != nil {
			t.Errorf("%s: %v", step.name, err)
		}
	}
	result, err := s.Results.FindResult(t.Context(), task.ID, "a")
	if err != nil || result.State != tasker.ResultDone {
		t.Errorf("%+v, %v", result, err)
	}
}

// What comes from many endpoints during a write is the next one, and an end that the
// database refuses is nobody else's problem: each is told what became of its own.
func TestRefusedEndIsNobodyElsesProblem(t *testing.T) {
	t.Parallel()
	const n = 20
	for name, refusal := range map[string]error{
		"refused": tasker.Errorf(tasker.Invalid, "a bad value"), "connection lost": tasker.Errorf(tasker.Unavailable, "lost"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			g := newGated(s)
			var statements atomic.Int64
			g.fail = func(rows []ledger.End) error {
				statements.Add(1)
				if slices.ContainsFunc(rows, func(e ledger.End) bool { return e.Endpoint == "e7" }) {
					return refusal
				}
				return nil
			}
			server := gateway.NewServer(gateway.Config{}, g.stores(), byName{}, &notes{}, testLog(t))
			run(t, server)
			task := createTask(t, s, "one")
			var clients []*gateway.Client
			for i := range n {
				endpoint := fmt.Sprint("e", i)
				clients = append(clients, newClient(t, server, endpoint))
				acquire(t, clients[i], endpoint, "m1")
				if _, err := s.Inbox.ReceiveResults(t.Context(), messages(endpoint, "m1", task)); err != nil {
					t.Fatal(err)
				}
			}
			first := make(chan struct{})
			var group sync.WaitGroup
			finish := func(i int) {
				stored, err := clients[i].Attempts.FinishAttempts(t.Context(), ends(fmt.Sprint("e", i), task))
				if refused := i == 7; refused && tasker.CodeOf(err) != tasker.CodeOf(refusal) || !refused && (err != nil || !stored[0]) {
					t.Errorf("e%d: %v, %v", i, stored, err)
				}
			}
			group.Go(func() { finish(0); close(first) })
			<-g.entered
			for i := 1; i < n; i++ {
				group.Go(func() { finish(i) })
			}
			for server.Waiting() < n-1 { // all others
				time.Sleep(time.Millisecond)
			}
			close(g.gate)
			group.Wait()
			<-first
			if made := statements.Load(); made > 13 {
				t.Errorf("%d statements for %d endpoints", made, n)
			}
			results, err := s.Results.TaskResults(t.Context(), task.ID)
			if err != nil || len(results) != n {
				t.Fatal(len(results), err)
			}
			for _, r := range results {
				if want := map[bool]tasker.ResultState{true: tasker.Running, false: tasker.ResultDone}[r.Endpoint == "e7"]; r.State != want {
					t.Errorf("%s is %s, want %s", r.Endpoint, r.State, want)
				}
			}
		})
	}
}
