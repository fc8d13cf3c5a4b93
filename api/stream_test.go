package api_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/api"
)

func TestMaxStreams(t *testing.T) {
	h := newHarness(t, func(c *api.Config) { c.MaxStreams, c.MaxStreamsPerAddress = 2, 2 })
	h.server.SetStreams(fast)
	h.post(t, "/worker", newTask).want(t, http.StatusCreated)
	one, two := h.follow(t, eventsPath), h.follow(t, "/v1/events")
	one.until("snapshot")
	two.until("snapshot")
	for _, path := range []string{eventsPath, "/v1/events"} {
		a := h.get(t, path)
		a.want(t, http.StatusServiceUnavailable)
		if p := a.problem(t); p.Code != "overloaded" || !strings.Contains(p.Detail, "limit is 2") || a.header.Get("Retry-After") == "" {
			t.Errorf("%s: %v %s", path, a.header, a.body)
		}
	}
	h.get(t, "/worker").want(t, http.StatusOK) // others are not kept out
	one.cancel()
	waitFor(t, func() bool { n, _ := h.server.Streams(); return n == 1 })
	h.follow(t, eventsPath).until("snapshot")
}

func TestStreamHeaders(t *testing.T) {
	h := newHarness(t)
	h.server.SetStreams(fast)
	h.post(t, "/worker", newTask).want(t, http.StatusCreated)
	for _, path := range []string{eventsPath, "/v1/events"} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			a := h.do(t, method, path, nil)
			a.want(t, http.StatusOK)
			if a.header.Get("Content-Type") != "text/event-stream" || a.header.Get("Cache-Control") != "no-store" || a.header.Get("X-Accel-Buffering") != "no" {
				t.Errorf("%s %s: %v", method, path, a.header)
			}
			if method == http.MethodHead && len(a.body) > 0 {
				t.Errorf("HEAD %s has a body", path)
			}
		}
	}
	waitFor(t, func() bool { n, listening := h.server.Streams(); return n == 0 && !listening })
}

// A stream outlives the limits of ordinary requests, and shows that it does.
func TestStreamOutlivesTheTimeouts(t *testing.T) {
	h := newHarness(t)
	settings := fast
	settings.Heartbeat = 10 * time.Millisecond
	h.server.SetStreams(settings)
	h.server.SetTimeouts(50*time.Millisecond, 50*time.Millisecond)
	s := startServer(t, h)
	h.post(t, "/worker", newTask).want(t, http.StatusCreated)
	conn := dial(t, s)
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", eventsPath); err != nil {
		t.Fatal(err)
	}
	beats := 0
	for r := bufio.NewReader(conn); beats < 30; { // some 300 ms
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("after %d heartbeats: %v", beats, err)
		}
		if strings.HasPrefix(line, ": heartbeat") {
			beats++
		}
	}
}

func dial(t *testing.T, s *started) net.Conn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", s.server.Addr(), 5*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(5 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// When the server stops, streams end at once, well where the client reads, and
// in any case.
func TestStopEndsStreams(t *testing.T) {
	h := newHarness(t)
	h.server.SetStreams(fast)
	s := startServer(t, h)
	h.post(t, "/worker", newTask).want(t, http.StatusCreated)
	one, all := h.follow(t, s.url(eventsPath)), h.follow(t, s.url("/v1/events"))
	one.until("snapshot")
	all.until("snapshot")
	s.stop()
	if err := <-s.served; err != nil {
		t.Errorf("Serve returned %v", err)
	}
	for _, f := range []*follower{one, all} {
		for _, e := range f.ended() {
			if e.name == "end" {
				t.Error("the task is reported to have ended")
			}
		}
	}
}

// flood gives the task a log that exceeds the buffers of a socket.
func flood(h *harness) {
	text := strings.Repeat("x", 8<<10)
	for id := range int64(4000) { // 32 MB
		h.store.appendLog(id+1, console1, 1, tasker.LogLine{Number: id, Time: h.store.now, Text: text})
	}
}

// A reader that is too slow is cut off, and nothing is held for it any more.
func TestSlowReader(t *testing.T) {
	settings := fast
	settings.Write = 50 * time.Millisecond
	h := running(t, settings)
	flood(h)
	s := startServer(t, h)
	conn := dial(t, s)
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", eventsPath); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return h.store.called("LogChunksAfter") > 0 })
	waitFor(t, func() bool { n, listening := h.server.Streams(); return n == 0 && !listening })
}

// The stop does not wait for readers that hang.
func TestStopCutsSlowReaders(t *testing.T) {
	settings := fast
	settings.Write = time.Hour
	h := running(t, settings)
	flood(h)
	s := startServer(t, h)
	conn := dial(t, s)
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", eventsPath); err != nil {
		t.Fatal(err)
	}
	reads, same := 0, 0
	stuck := func() bool { // it reads no more, since nobody takes what it writes
		n := h.store.called("LogChunksAfter")
		if same++; n != reads {
			reads, same = n, 0
		}
		return n > 0 && same >= 200
	}
	waitFor(t, stuck)
	s.stop()
	select {
	case err := <-s.served:
		if err != nil {
			t.Errorf("Serve returned %v", err)
		}
	case <-time.After(5 * time.Minute):
		t.Fatal("the server does not stop")
	}
}

// Clients that disconnect leave nothing behind.
func TestStreamsThatAreLeft(t *testing.T) {
	h := running(t, fast)
	before := runtime.NumGoroutine()
	for range 5 {
		var all []*follower
		for range 20 {
			all = append(all, h.follow(t, eventsPath), h.follow(t, "/v1/events"))
		}
		for _, f := range all {
			f.until("snapshot")
		}
		for _, f := range all {
			f.cancel()
		}
		waitFor(t, func() bool { n, listening := h.server.Streams(); return n == 0 && !listening })
	}
	waitFor(t, func() bool { return runtime.NumGoroutine() <= before+5 })
}

// Ten thousand lines of a busy handler are sent piece by piece, each once.
func TestManyLines(t *testing.T) {
	h := running(t, fast)
	f := h.follow(t, eventsPath)
	var want []string
	for n := int64(0); n < 10_000; {
		piece := lines(n, n+90, h.store.now)
		piece = append(piece, tasker.LogLine{Number: n + 90, Time: h.store.now, LeftOut: 10})
		for _, line := range piece {
			if line.LeftOut > 0 {
				want = append(want, fmt.Sprintf("%d+10", line.Number))
			} else {
				want = append(want, fmt.Sprint(line.Number))
			}
		}
		h.store.appendLog(n+1, console1, 1, piece...)
		n += 100
	}
	h.finish(console1, tasker.ResultDone)
	h.finish(console2, tasker.ResultDone)
	events := f.ended()
	if got := numbersOf(t, events, "console1"); !slices.Equal(got, want) {
		t.Errorf("%d lines and gaps, want %d", len(got), len(want))
	}
	if got := events[len(events)-1].data; !strings.Contains(got, `"complete":true`) {
		t.Error(got)
	}
}
