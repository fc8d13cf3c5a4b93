package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mysqldriver "github.com/go-sql-driver/mysql"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/gateway"
	"github.com/taskerhq/tasker/internal/gateway/protocol"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/store"
)

func acquire(t *testing.T, c *gateway.Client, endpoint, manager string) {
	t.Helper()
	holder, err := c.Endpoints.AcquireEndpoint(t.Context(), tasker.Endpoint{
		Name: endpoint, Manager: manager, TaskTypes: []string{"job"},
	}, time.Minute)
	if err != nil || holder != nil {
		t.Fatalf("held by %+v, %v", holder, err)
	}
}

func createTask(t *testing.T, s *store.Store, identifier string) tasker.Task {
	t.Helper()
	task, _, err := s.Tasks.CreateTask(t.Context(), tasker.Task{Type: "job", Identifier: identifier, Payload: []byte("1")})
	if err != nil {
		t.Fatal(err)
	}
	return task
}

func messages(endpoint, manager string, tasks ...tasker.Task) (list []ledger.Incoming) {
	for _, task := range tasks {
		list = append(list, ledger.Incoming{
			ResultKey: tasker.ResultKey{TaskID: task.ID, Endpoint: endpoint}, Manager: manager, Type: task.Type, Identifier: task.Identifier,
			State: tasker.Running,
		})
	}
	return list
}

func ends(endpoint string, tasks ...tasker.Task) (list []ledger.End) {
	for _, task := range tasks {
		list = append(list, ledger.End{
			ResultKey: tasker.ResultKey{TaskID: task.ID, Endpoint: endpoint}, Attempt: 1, State: tasker.ResultDone,
		})
	}
	return list
}

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

// gated is a database whose writes wait until the gate is open, and may fail.
type gated struct {
	gateway.Endpoints
	gateway.Results
	attempts
	gateway.Work
	gateway.Live
	gateway.Database
	entered chan string
	gate    chan struct{}
	fail    func(rows []ledger.End) error
}

func newGated(s *store.Store) *gated {
	return &gated{
		Endpoints: s.Endpoints, Results: s.Inbox, attempts: s.Attempts, Work: s.Attempts, Live: s.Live, Database: s.DB,
		entered: make(chan string, 1000), gate: make(chan struct{}), fail: func([]ledger.End) error { return nil },
	}
}

func (g *gated) stores() gateway.Stores {
	return gateway.Stores{Endpoints: g, Results: g, Attempts: g, Work: g, Live: g, Database: g}
}

func (g *gated) enter(ctx context.Context, what string) error {
	g.entered <- what
	select {
	case <-g.gate:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *gated) RenewLeases(ctx context.Context, list []ledger.Renewal) ([]bool, error) {
	if err := g.enter(ctx, "heartbeat"); err != nil {
		return nil, err
	}
	return g.Endpoints.RenewLeases(ctx, list)
}

func (g *gated) ReceiveResults(ctx context.Context, list []ledger.Incoming) ([]ledger.Recording, error) {
	if err := g.enter(ctx, "receive"); err != nil {
		return nil, err
	}
	return g.Results.ReceiveResults(ctx, list)
}

func (g *gated) StartAttempts(ctx context.Context, list []ledger.Start) ([]bool, error) {
	if err := g.enter(ctx, "start"); err != nil {
		return nil, err
	}
	return g.attempts.StartAttempts(ctx, list)
}

func (g *gated) FinishAttempts(ctx context.Context, list []ledger.End) ([]bool, error) {
	if err := g.enter(ctx, "finish"); err != nil {
		return nil, err
	}
	if err := g.fail(list); err != nil {
		return nil, err
	}
	return g.attempts.FinishAttempts(ctx, list)
}

func (g *gated) SaveLive(ctx context.Context, list []ledger.LiveUpdate) error {
	if err := g.enter(ctx, "live"); err != nil {
		return err
	}
	return g.Live.SaveLive(ctx, list)
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

// An endpoint that floods is refused, the others are not, and in all no more are
// served than may be.
func TestFlood(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	g := newGated(s)
	server := gateway.NewServer(gateway.Config{MaxPerEndpoint: 4, MaxRequests: 10}, g.stores(), byName{}, &notes{}, testLog(t))
	run(t, server)
	send := func(endpoint string) (status int, retryAfter string) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, protocol.Prefix+protocol.OpFinish,
			strings.NewReader(`{"endpoint":"`+endpoint+`","ends":[{"task_id":1,"attempt":1,"state":"DONE"}]}`))
		r.Header.Set("Authorization", "Bearer token-"+endpoint)
		w := httptest.NewRecorder()
		server.Handler().ServeHTTP(w, r)
		return w.Code, w.Header().Get("Retry-After")
	}
	var group sync.WaitGroup
	waits := func(endpoint string) {
		before := server.Waiting()
		group.Go(func() {
			if status, _ := send(endpoint); status != http.StatusOK {
				t.Errorf("%s: status %d", endpoint, status)
			}
		})
		for server.Waiting() == before {
			time.Sleep(time.Millisecond)
		}
	}
	for range 4 {
		waits("flood")
	}
	for range 100 {
		if status, after := send("flood"); status != http.StatusServiceUnavailable || after == "" {
			t.Fatalf("the flood gets %d, Retry-After %q", status, after)
		}
	}
	for i := range 6 { // others are served
		waits(fmt.Sprint("e", i))
	}
	if status, after := send("one more"); status != http.StatusServiceUnavailable || after == "" {
		t.Errorf("one more gets %d, Retry-After %q", status, after)
	}
	close(g.gate)
	group.Wait()
	if status, _ := send("flood"); status != http.StatusOK {
		t.Errorf("after the flood: status %d", status)
	}
}

// A result that is larger than a gateway takes is refused, and the endpoint learns
// that, also if it is still sending.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	server := newServer(t, newStore(t), gateway.Config{MaxBody: 1 << 20})
	web := httptest.NewServer(server.Handler())
	t.Cleanup(web.Close)
	c, err := gateway.NewClient(gateway.ClientConfig{Addresses: []string{web.URL}, Tokens: tokensOf("a")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	large := ends("a", tasker.Task{ID: 1}, tasker.Task{ID: 2})
	large[0].Payload = []byte(`"` + strings.Repeat("x", 12<<20) + `"`)
	for range 5 {
		_, err = c.Attempts.FinishAttempts(t.Context(), large)
		if tasker.CodeOf(err) != tasker.TooLarge || !c.Database.Answered(err) {
			t.Fatalf("%v with code %s, answered %t", err, tasker.CodeOf(err), c.Database.Answered(err))
		}
	}
	if _, err := c.Attempts.FinishAttempts(t.Context(), large[1:]); err != nil {
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

// Fields of a later revision are ignored, unknown ones of this revision refused.
func TestRevisions(t *testing.T) {
	t.Parallel()
	server := newServer(t, newStore(t), gateway.Config{})
	for revision, want := range map[string]int{"": 422, "1": 422, "2": 200, "x": 422} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, protocol.Prefix+protocol.OpReturn,
			strings.NewReader(`{"endpoint":"a","later":1}`))
		r.Header.Set("Authorization", "Bearer token-a")
		r.Header.Set(protocol.HeaderRevision, revision)
		w := httptest.NewRecorder()
		server.Handler().ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("revision %q: %d %s, want %d", revision, w.Code, w.Body, want)
		}
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
