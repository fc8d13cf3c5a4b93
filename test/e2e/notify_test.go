package e2e

import (
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/taskerhq/tasker/internal/x/sdnotify"
)

// systemd is what a service manager hears from a daemon.
type systemd struct {
	t    *testing.T
	conn *net.UnixConn
	path string
}

func newSystemd(t *testing.T) *systemd {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &systemd{t, conn, path}
}

func (s *systemd) env() string { return sdnotify.EnvSocket + "=" + s.path }

// hears waits for the next state, which must be this one.
func (s *systemd) hears(state string) {
	s.t.Helper()
	_ = s.conn.SetReadDeadline(time.Now().Add(5 * time.Minute))
	got := make([]byte, 256)
	n, err := s.conn.Read(got)
	if err != nil || string(got[:n]) != state {
		s.t.Fatalf("the service manager was told %q, want %q: %v", got[:n], state, err)
	}
}

// TestNotifySystemd: a daemon is ready when it can be used, and not before; and
// it says when it begins to stop.
func TestNotifySystemd(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	api, manager := newSystemd(t), newSystemd(t)
	a := start(t, append([]string{api.env()}, s.env...), "api")
	api.hears(sdnotify.Ready)
	if code, _, err := s.request(http.MethodGet, "/healthz", "", nil); err != nil || code != http.StatusOK {
		t.Errorf("/healthz of an API that is ready: %d, %v", code, err)
	}
	m := start(t, append([]string{manager.env()}, s.env...), "manager", "--endpoint", "console1")
	manager.hears(sdnotify.Ready)
	s.post("worker", `{"identifier":"one"}`)
	s.await("/worker/one", "DONE")
	if code := m.stop(); code != 0 {
		t.Errorf("the manager ended with %d", code)
	}
	manager.hears(sdnotify.Stopping)
	if code := a.stop(); code != 0 {
		t.Errorf("the API ended with %d", code)
	}
	api.hears(sdnotify.Stopping)
}
