package sdnotify_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/taskerhq/tasker/internal/x/sdnotify"
)

func TestNotify(t *testing.T) {
	for _, address := range []string{filepath.Join(t.TempDir(), "socket"), fmt.Sprintf("@tasker-sdnotify-%d", os.Getpid())} {
		listener, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = listener.Close() })
		t.Setenv(sdnotify.EnvSocket, address)
		socket := sdnotify.FromEnvironment()
		if _, there := os.LookupEnv(sdnotify.EnvSocket); there {
			t.Errorf("%s is still in the environment", sdnotify.EnvSocket)
		}
		for _, state := range []string{sdnotify.Ready, sdnotify.Stopping} {
			if err := socket.Notify(state); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, 64)
			n, err := listener.Read(got)
			if err != nil || string(got[:n]) != state {
				t.Errorf("%s: received %q, %v", address, got[:n], err)
			}
		}
	}
}

func TestNobodyToNotify(t *testing.T) {
	t.Parallel()
	if err := sdnotify.Socket("").Notify(sdnotify.Ready); err != nil {
		t.Error(err)
	}
	for _, address := range []string{"vsock:2:1234", "relative", filepath.Join(t.TempDir(), "none")} {
		if err := sdnotify.Socket(address).Notify(sdnotify.Ready); err == nil {
			t.Errorf("%s: no error", address)
		}
	}
}
