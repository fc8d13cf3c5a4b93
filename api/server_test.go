package api_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker/api"
)

// started is a server on its own port.
type started struct {
	*harness
	scheme string
	stop   context.CancelFunc
	served chan error
	client *http.Client
}

func start(t *testing.T, change ...func(*api.Config)) *started {
	t.Helper()
	return startServer(t, newHarness(t, change...))
}

// startServer serves the server of a harness on its own port.
func startServer(t *testing.T, h *harness) *started {
	t.Helper()
	if err := h.server.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &started{harness: h, scheme: "http", stop: cancel, served: make(chan error, 1), client: &http.Client{Transport: &http.Transport{}}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.served <- h.server.Serve(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		s.client.CloseIdleConnections()
	})
	return s
}

func (s *started) url(path string) string { return s.scheme + "://" + s.server.Addr() + path }

func (s *started) post(ctx context.Context, body string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url("/worker"), strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

func TestServe(t *testing.T) {
	addresses := []string{"", "localhost"}
	if l, err := net.Listen("tcp", "[::1]:0"); err == nil { // not every machine has IPv6
		_ = l.Close()
		addresses = append(addresses, "::1")
	}
	for _, listen := range addresses {
		t.Run(listen, func(t *testing.T) {
			s := start(t, func(c *api.Config) { c.Listen = listen })
			if status, err := s.post(t.Context(), newTask); err != nil || status != http.StatusCreated {
				t.Errorf("status %d, %v", status, err)
			}
			s.stop()
			if err := <-s.served; err != nil {
				t.Errorf("Serve returned %v", err)
			}
			if _, err := s.post(t.Context(), newTask); err == nil {
				t.Error("it still answers")
			}
		})
	}
}

// Serve listens by itself, and Close is for those that never serve.
func TestServeListens(t *testing.T) {
	h := newHarness(t)
	if h.server.Addr() != "" || h.server.Close() != nil {
		t.Error("a server that does not listen has an address")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.server.Serve(ctx); err != nil {
		t.Errorf("Serve returned %v", err)
	}
	closed := newHarness(t)
	if err := errors.Join(closed.server.Listen(), closed.server.Close(), closed.server.Close()); err != nil {
		t.Error(err)
	}
	if err := closed.server.Serve(t.Context()); err == nil {
		t.Error("a closed server serves")
	}
}

func TestPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	h := newHarness(t, func(c *api.Config) { c.Port = l.Addr().(*net.TCPAddr).Port })
	err = h.server.Serve(t.Context())
	if err == nil || !strings.Contains(err.Error(), l.Addr().String()) || !strings.Contains(err.Error(), "api.port") {
		t.Errorf("error %v", err)
	}
}

// Requests that run when the server stops are answered.
func TestGracefulStop(t *testing.T) {
	s := start(t)
	s.dispatcher.entered, s.dispatcher.release = make(chan struct{}), make(chan struct{})
	type result struct {
		status int
		err    error
	}
	answered := make(chan result, 1)
	go func() {
		status, err := s.post(context.Background(), newTask)
		answered <- result{status, err}
	}()
	<-s.dispatcher.entered
	s.stop()
	waitFor(t, func() bool { // it takes no more
		c, err := net.DialTimeout("tcp", s.server.Addr(), time.Second)
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
	s.dispatcher.release <- struct{}{}
	if got := <-answered; got.err != nil || got.status != http.StatusCreated {
		t.Errorf("status %d, %v", got.status, got.err)
	}
	if err := <-s.served; err != nil {
		t.Errorf("Serve returned %v", err)
	}
}

// Requests that do not end in time are aborted, and Serve returns an error.
func TestStopCutsOff(t *testing.T) {
	s := start(t, func(c *api.Config) { c.ShutdownTimeout = time.Millisecond })
	s.dispatcher.entered, s.dispatcher.release = make(chan struct{}), make(chan struct{})
	answered := make(chan error, 1)
	go func() {
		_, err := s.post(context.Background(), newTask)
		answered <- err
	}()
	<-s.dispatcher.entered
	s.stop()
	if err := <-s.served; !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "aborted") {
		t.Errorf("Serve returned %v", err)
	}
	if err := <-answered; err == nil {
		t.Error("the request was answered")
	}
	s.dispatcher.release <- struct{}{}
}

// What net/http would answer by itself is behind the token, too.
func TestOptionsStar(t *testing.T) {
	s := start(t, withToken)
	conn, err := net.DialTimeout("tcp", s.server.Addr(), 5*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(conn, "OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 401 ") {
		t.Errorf("%v: %s", err, got)
	}
}

func waitFor(t *testing.T, condition func() bool) {
	t.Helper()
	deadline := time.NewTimer(5 * time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-deadline.C:
			t.Fatal("it did not happen in time")
		case <-tick.C:
		}
	}
}
