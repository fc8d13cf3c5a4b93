package api

import (
	"log/slog"
	"net"
	"net/http"
	"testing"
)

type addressed struct {
	net.Listener
	addr net.Addr
}

func (l addressed) Addr() net.Addr { return l.addr }

// A name such as localhost may stand for an address that others can reach.
func TestListensOnLoopback(t *testing.T) {
	for address, want := range map[string]bool{
		"127.0.0.1": true, "127.9.9.9": true, "::1": true, "0.0.0.0": false, "::": false, "10.0.0.1": false,
	} {
		if got := listensOnLoopback(addressed{addr: &net.TCPAddr{IP: net.ParseIP(address)}}); got != want {
			t.Errorf("%s: %v", address, got)
		}
	}
	if listensOnLoopback(addressed{addr: &net.UnixAddr{}}) {
		t.Error("what is no TCP address is trusted")
	}
}

// TestAccessLevel: what tasker does on purpose under load, or while a service
// is away, fills no log with errors.
func TestAccessLevel(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]slog.Level{
		http.StatusInternalServerError: slog.LevelError,
		http.StatusServiceUnavailable:  slog.LevelWarn,
		http.StatusNotFound:            slog.LevelWarn,
		http.StatusOK:                  slog.LevelInfo,
	} {
		if got := accessLevel("/{task_type}", status); got != want {
			t.Errorf("%d is logged at %s, want %s", status, got, want)
		}
	}
}
