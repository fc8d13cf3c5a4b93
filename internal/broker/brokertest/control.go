package brokertest

import (
	"context"
	"testing"

	"github.com/taskerhq/tasker/internal/broker"
)

// obey listens to hints until the test ends, and returns those that come.
func obey(t *testing.T, b broker.Broker, endpoints ...string) (hints chan string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	hints, done := make(chan string, 10_000), make(chan error, 1)
	go func() { done <- b.ListenControl(ctx, endpoints, func(body []byte) { hints <- string(body) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Logf("ListenControl returned %v", err)
		}
	})
	return hints
}

// obeys sends probes to an endpoint until they are heard.
func obeys(t *testing.T, b broker.Broker, hints chan string, endpoint string) {
	t.Helper()
	eventually(t, "a hint to "+endpoint+" is heard", func() bool {
		_ = b.SendControl(t.Context(), []string{endpoint}, []byte("probe"))
		select {
		case <-hints:
			return true
		default:
			return false
		}
	})
}

// wantHint waits for a hint and skips probes.
func wantHint(t *testing.T, hints chan string, want string) {
	t.Helper()
	for {
		got := receive(t, hints, "the hint "+want)
		if got == want {
			return
		}
		if got != "probe" {
			t.Errorf("heard %q, want %q", got, want)
		}
	}
}

// A hint reaches the managers of the endpoints that it names, or all.
func testControl(t *testing.T, h Harness) {
	first := obey(t, h.Broker, "console1", "a.dotted-name")
	second := obey(t, h.Broker, "console2")
	obeys(t, h.Broker, first, "a.dotted-name")
	obeys(t, h.Broker, second, "console2")
	for _, hint := range []struct {
		body      string
		endpoints []string
	}{{"one", []string{"console1"}}, {"two", []string{"console2", "unknown"}}, {"all", nil}} {
		if err := h.Broker.SendControl(t.Context(), hint.endpoints, []byte(hint.body)); err != nil {
			t.Fatal(err)
		}
	}
	wantHint(t, first, "one")
	wantHint(t, first, "all")
	wantHint(t, second, "two")
	wantHint(t, second, "all")
	if err := h.Broker.Close(); err != nil {
		t.Fatal(err)
	}
	wantError(t, h.Broker.SendControl(t.Context(), nil, nil), broker.ErrClosed)
	wantError(t, h.Broker.ListenControl(t.Context(), nil, func([]byte) {}), broker.ErrClosed)
}

// After a cut managers hear hints again.
func testControlComesBack(t *testing.T, h Harness) {
	hints := obey(t, h.Broker, "console1")
	obeys(t, h.Broker, hints, "console1")
	h.Faults.Cut()
	h.Faults.Restore()
	for len(hints) > 0 {
		<-hints
	}
	obeys(t, h.Broker, hints, "console1")
}
