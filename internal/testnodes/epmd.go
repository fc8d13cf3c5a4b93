package testnodes

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// EPMD is Erlang's port mapper, through which cluster nodes find each other.
type EPMD struct {
	node
	port int
}

// StartEPMD starts a port mapper with its log in dir.
func StartEPMD(ctx context.Context, dir string) (*EPMD, error) {
	program, err := find("epmd")
	if err != nil {
		return nil, err
	}
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	e := &EPMD{port: port, node: node{
		name: "epmd", log: filepath.Join(dir, "epmd.log"),
		ready: func(ctx context.Context) error {
			var d net.Dialer
			conn, err := d.DialContext(ctx, "tcp", fmt.Sprintf("%s:%d", loopback, port))
			if err != nil {
				return err
			}
			return conn.Close()
		},
		command: func() *exec.Cmd {
			cmd := exec.Command(program, "-port", strconv.Itoa(port))
			cmd.Env = append(foreign(os.Environ()), "ERL_EPMD_ADDRESS="+loopback)
			return cmd
		},
	}}
	return e, e.Start(ctx)
}
