package e2e

import (
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/taskerhq/tasker/internal/x/sdnotify"
)

// systemd receives the states that a daemon sends to its service manager.
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

// expect waits for the next state and checks it.
func (s *systemd) expect(state string) {
	s.t.Helper()
	_ = s.conn.SetReadDeadline(time.Now().Add(5 * time.Minute))
	got := make([]byte, 256)
	n, err := s.conn.Read(got)
	if err != nil || string(got[:n]) != state {
		s.t.Fatalf("state %q, want %q: %v", got[:n], state, err)
	}
}

// A daemon reports ready only when it can be used, and stopping when it starts
// to stop.
func TestNotifySystemd(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	api, manager := newSystemd(t), newSystemd(t)
	a := start(t, append([]string{api.env()}, s.env...), "api")
	api.expect(sdnotify.Ready)
	if code, _, err := s.request(http.MethodGet, "/healthz", "", nil); err != nil || code != http.StatusOK {
		t.Errorf("/healthz of a ready API: %d, %v", code, err)
	}
	m := start(t, append([]string{manager.env()}, s.env...), "manager", "--endpoint", "console1")
	manager.expect(sdnotify.Ready)
	s.post("worker", `{"identifier":"one"}`)
	s.await("/worker/one", "DONE")
	if code := m.stop(); code != 0 {
		t.Errorf("exit code %d of the manager", code)
	}
	manager.expect(sdnotify.Stopping)
	if code := a.stop(); code != 0 {
		t.Errorf("exit code %d of the API", code)
	}
	api.expect(sdnotify.Stopping)
}
