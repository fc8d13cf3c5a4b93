// Package sdnotify tells systemd the state of a service of Type=notify; see
// sd_notify(3).
package sdnotify

import (
	"fmt"
	"net"
	"os"
	"strings"
)

// The states that systemd knows.
const (
	Ready    = "READY=1"
	Stopping = "STOPPING=1"
)

// EnvSocket names the environment variable with the address of systemd's socket.
const EnvSocket = "NOTIFY_SOCKET"

// Socket is where systemd listens. The empty one is nowhere: a process that
// systemd does not wait for tells nobody.
type Socket string

// FromEnvironment returns the socket of the process's environment, and removes
// it from there, so that programs which the process starts do not speak in its
// place.
func FromEnvironment() Socket {
	address := os.Getenv(EnvSocket)
	_ = os.Unsetenv(EnvSocket)
	return Socket(address)
}

// Notify sends a state, such as [Ready].
func (s Socket) Notify(state string) error {
	if s == "" {
		return nil
	}
	address := string(s)
	if !strings.HasPrefix(address, "/") && !strings.HasPrefix(address, "@") {
		return fmt.Errorf("unsupported %s: must be a path or an abstract address: %q", EnvSocket, address)
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write([]byte(state)); err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	return nil
}
