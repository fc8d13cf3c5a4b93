package api

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/wire"
	"github.com/taskerhq/tasker/internal/x/netlimit"
	"github.com/taskerhq/tasker/internal/x/signal"
)

// Two tokens hold for a while after one was exchanged.
func TestTokenOverlap(t *testing.T) {
	now := time.Date(2026, 5, 6, 1, 14, 24, 0, time.UTC)
	a := newAuthenticator(Config{Token: "first", TokenOverlap: time.Minute}).(*credentials).single
	a.now = func() time.Time { return now }
	want := func(first, second, empty bool) {
		t.Helper()
		if a.valid("first") != first || a.valid("second") != second || a.valid("") != empty {
			t.Errorf("first %v, second %v, none %v", a.valid("first"), a.valid("second"), a.valid(""))
		}
	}
	want(true, false, false)
	a.set("second")
	want(true, true, false)
	now = now.Add(30 * time.Second)
	a.set("second") // read again: not exchanged
	now = now.Add(30 * time.Second)
	want(false, true, false)
}

func TestRefusalsAreCounted(t *testing.T) {
	var out bytes.Buffer
	c := newRefusals(slog.New(slog.NewTextHandler(&out, nil)))
	var ends []func()
	c.after = func(_ time.Duration, f func()) { ends = append(ends, f) }
	first := 0
	for range 1000 {
		if c.count("10.0.0.1") {
			first++
		}
	}
	if first != 1 || !c.count("10.0.0.2") || len(ends) != 2 {
		t.Fatalf("%d were the first, %d periods", first, len(ends))
	}
	for _, end := range ends {
		end()
	}
	if log := out.String(); strings.Count(log, "\n") != 1 || !strings.Contains(log, "remote=10.0.0.1 requests=999") {
		t.Errorf("logged %s", log)
	}
	ends, _ = nil, c.count("10.0.0.3")
	c.count("10.0.0.3")
	c.flush()
	for _, end := range ends { // after the end of the server
		end()
	}
	if log := out.String(); strings.Count(log, "\n") != 2 || !strings.Contains(log, "remote=10.0.0.3 requests=1") {
		t.Errorf("logged at the end %s", log)
	}
	for i := range 2 * maxRefusers {
		c.count(strings.Repeat("x", i+1))
	}
	if len(c.counted) > maxRefusers+1 {
		t.Errorf("%d addresses are kept", len(c.counted))
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := netlimit.New(tcp, 10, 2, slog.New(slog.DiscardHandler))
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	defer func() {
		_ = server.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("the server ended by %v", err)
		}
	}()
	var conns []net.Conn
	dial := func() net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", tcp.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
		_ = conn.SetDeadline(time.Now().Add(5 * time.Minute))
		return conn
	}
	defer func() {
		for _, conn := range conns {
			_ = conn.Close()
		}
	}()
	answered := func(conn net.Conn) bool {
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		n, _ := conn.Read(make([]byte, 12))
		return n > 0
	}
	first, second := dial(), dial()
	if !answered(first) || !answered(second) {
		t.Fatal("two connections are not served")
	}
	if answered(dial()) {
		t.Error("a third one of the address is served")
	}
	_ = first.Close()
	deadline := time.Now().Add(5 * time.Minute)
	for !answered(dial()) {
		if time.Now().After(deadline) {
			t.Fatal("the place of a closed connection is not given back")
		}
	}
}

func TestStreamsOfAnAddress(t *testing.T) {
	st := newStreams(3, 2, nil, nil)
	var leave []func()
	for _, address := range []string{"a", "a", "b"} {
		l, err := st.acquire(address)
		if err != nil {
			t.Fatal(err)
		}
		leave = append(leave, l)
	}
	if _, err := st.acquire("c"); tasker.CodeOf(err) != tasker.Overloaded {
		t.Error("a fourth stream")
	}
	leave[2]()
	if _, err := st.acquire("a"); tasker.CodeOf(err) != tasker.Overloaded || !strings.Contains(err.Error(), "from one address") {
		t.Errorf("a third stream of an address: %v", err)
	}
	if _, err := st.acquire("b"); err != nil {
		t.Errorf("another address: %v", err)
	}
}

// TestHubIgnoresNegativeCounts: whoever can send events cannot hide that others
// were left out.
func TestHubIgnoresNegativeCounts(t *testing.T) {
	h := newHub(nil, nil, slog.New(slog.DiscardHandler))
	hints := &allHints{wake: signal.New()}
	h.all[hints] = true
	for _, leftOut := range []int{-5, 3} {
		body, err := wire.EncodeLive(wire.Live{LeftOut: leftOut})
		if err != nil {
			t.Fatal(err)
		}
		h.notify(t.Context(), body)
	}
	if _, leftOut := hints.take(); leftOut != 3 {
		t.Errorf("got %d left out, want 3", leftOut)
	}
}
