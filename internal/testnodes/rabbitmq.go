package testnodes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const (
	rabbitmqBin      = "/usr/lib/rabbitmq/bin" // of the Debian package
	rabbitmqUser     = "tasker"
	rabbitmqPassword = "pw"
	rabbitmqVHost    = "tasker"
)

// RabbitMQOptions are what the nodes of a cluster must agree on. The zero value
// is a node that stands alone.
type RabbitMQOptions struct {
	// Name is the node's name before the "@"; "" means "rabbit".
	Name string
	// Peers are the names of all nodes of the cluster, this one's too. They
	// find each other while they start, so start them at the same time. They
	// notice within 8 s that one of them does not answer, and those that see
	// less than half of them pause.
	Peers []string
	// EPMD is the port mapper that the nodes of a cluster share; see
	// [StartEPMD]. Without it the node has its own.
	EPMD *EPMD
	// MaxMessageSize bounds the bodies of messages, in bytes; 0 means the
	// node's own default.
	MaxMessageSize int
	// Cookie is the secret that the nodes share; "" means a fixed one.
	Cookie string
}

// RabbitMQ is a node with the management plugin.
type RabbitMQ struct {
	node
	dir                          string
	name                         string
	opts                         RabbitMQOptions
	ownEPMD                      bool
	amqp, management, distribute int
}

// StartRabbitMQ starts a node with its files below dir, which must exist, and
// waits until it serves. It needs the package rabbitmq-server.
func StartRabbitMQ(ctx context.Context, dir string, opts RabbitMQOptions) (*RabbitMQ, error) {
	r, err := NewRabbitMQ(ctx, dir, opts)
	if err != nil {
		return nil, err
	}
	if err := r.Start(ctx); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// NewRabbitMQ prepares a node and does not start it: for a cluster, whose nodes
// wait for each other. Close it in the end.
func NewRabbitMQ(ctx context.Context, dir string, opts RabbitMQOptions) (*RabbitMQ, error) {
	server, err := find("rabbitmq-server", rabbitmqBin)
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	if opts.Name == "" {
		opts.Name = "rabbit"
	}
	if opts.Cookie == "" {
		opts.Cookie = "taskertestnodes"
	}
	r := &RabbitMQ{dir: dir, name: opts.Name + "@localhost", opts: opts}
	for _, port := range []*int{&r.amqp, &r.management, &r.distribute} {
		if *port, err = FreePort(); err != nil {
			return nil, err
		}
	}
	r.node = node{
		name: "RabbitMQ " + opts.Name, log: filepath.Join(dir, "rabbitmq.log"), ready: r.serves,
		command: func() *exec.Cmd {
			cmd := exec.Command(server)
			cmd.Env = r.environment()
			return cmd
		},
	}
	if err := r.prepare(); err != nil {
		return nil, err
	}
	if r.opts.EPMD == nil {
		r.ownEPMD = true
		if r.opts.EPMD, err = StartEPMD(ctx, dir); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (r *RabbitMQ) path(name string) string { return filepath.Join(r.dir, name) }

// NodeName is the Erlang name, such as "rabbit@localhost".
func (r *RabbitMQ) NodeName() string { return r.name }

// Addr is the host and port of AMQP.
func (r *RabbitMQ) Addr() string { return fmt.Sprintf("%s:%d", loopback, r.amqp) }

// URI is the AMQP address, with the user, who is an administrator, and the
// virtual host, which exist from the start.
func (r *RabbitMQ) URI() string {
	return fmt.Sprintf("amqp://%s:%s@%s/%s", rabbitmqUser, rabbitmqPassword, r.Addr(), rabbitmqVHost)
}

// ManagementURI is the address of the management API, with the same user.
func (r *RabbitMQ) ManagementURI() string {
	return fmt.Sprintf("http://%s:%s@%s:%d", rabbitmqUser, rabbitmqPassword, loopback, r.management)
}

// Close kills the node, and its port mapper where it has its own.
func (r *RabbitMQ) Close() {
	r.Kill()
	if r.ownEPMD {
		r.opts.EPMD.Kill()
	}
}

// Wipe removes all that the node knows, as a lost disk does. The node must not
// run. When it starts it has its user and virtual host again, and no queue.
func (r *RabbitMQ) Wipe() error {
	if r.Alive() {
		return fmt.Errorf("wipe %s: %w", r.node.name, ErrRunning)
	}
	if err := os.RemoveAll(r.path("data")); err != nil {
		return err
	}
	return os.Mkdir(r.path("data"), 0o700)
}

// Alarm raises the alarm of a node that runs out of memory, which blocks its
// publishers, or ends it. A restart ends it, too.
func (r *RabbitMQ) Alarm(ctx context.Context, on bool) error {
	mark := []string{"0.4"}
	if on {
		mark = []string{"absolute", "1"}
	}
	return r.Control(ctx, append([]string{"set_vm_memory_high_watermark"}, mark...)...)
}

// Control runs rabbitmqctl on the node. That starts an Erlang of its own, which
// takes a second.
func (r *RabbitMQ) Control(ctx context.Context, args ...string) error {
	ctl, err := find("rabbitmqctl", rabbitmqBin)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, ctl, args...)
	cmd.Env = r.environment()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("rabbitmqctl %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// prepare writes the files that the node reads.
func (r *RabbitMQ) prepare() error {
	for _, dir := range []string{"data", "generated", "schema", "plugins"} {
		if err := os.MkdirAll(r.path(dir), 0o700); err != nil {
			return err
		}
	}
	var settings strings.Builder
	fmt.Fprintf(&settings, `listeners.tcp.1 = %s
management.tcp.ip = %s
management.tcp.port = %d
default_vhost = %s
default_user = %s
default_pass = %s
default_user_tags.administrator = true
default_permissions.configure = .*
default_permissions.read = .*
default_permissions.write = .*
disk_free_limit.absolute = 50MB
log.console = true
log.console.level = info
`, r.Addr(), loopback, r.management, rabbitmqVHost, rabbitmqUser, rabbitmqPassword)
	if r.opts.MaxMessageSize > 0 {
		fmt.Fprintf(&settings, "max_message_size = %d\n", r.opts.MaxMessageSize)
	}
	if len(r.opts.Peers) > 0 {
		settings.WriteString("cluster_formation.peer_discovery_backend = classic_config\ncluster_partition_handling = pause_minority\n")
		for i, peer := range r.opts.Peers {
			fmt.Fprintf(&settings, "cluster_formation.classic_config.nodes.%d = %s@localhost\n", i+1, peer)
		}
	}
	for name, content := range map[string]string{
		"rabbitmq.conf":   settings.String(),
		"enabled_plugins": "[rabbitmq_management].\n",
		".erlang.cookie":  r.opts.Cookie,
	} {
		// Erlang refuses a cookie that others may read.
		if err := os.WriteFile(r.path(name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// environment keeps the node away from everything of the system's: its own
// port mapper, cookie, files and ports, all on loopback.
func (r *RabbitMQ) environment() []string {
	// Idle schedulers sleep: several nodes share the machine with their clients.
	erlang := "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none"
	if len(r.opts.Peers) > 0 {
		erlang = "-kernel net_ticktime 6 " + erlang // seconds, give or take a quarter
	}
	return append(foreign(os.Environ()),
		"HOME="+r.dir,
		"ERL_EPMD_ADDRESS="+loopback,
		fmt.Sprintf("ERL_EPMD_PORT=%d", r.opts.EPMD.port),
		"RABBITMQ_NODENAME="+r.name,
		fmt.Sprintf("RABBITMQ_DIST_PORT=%d", r.distribute),
		"RABBITMQ_CONF_ENV_FILE="+r.path("none"),
		"RABBITMQ_CONFIG_FILE="+r.path("rabbitmq.conf"),
		"RABBITMQ_ADVANCED_CONFIG_FILE="+r.path("advanced.config"),
		"RABBITMQ_ENABLED_PLUGINS_FILE="+r.path("enabled_plugins"),
		"RABBITMQ_GENERATED_CONFIG_DIR="+r.path("generated"),
		"RABBITMQ_SCHEMA_DIR="+r.path("schema"),
		"RABBITMQ_PLUGINS_EXPAND_DIR="+r.path("plugins"),
		"RABBITMQ_MNESIA_BASE="+r.path("data"),
		"RABBITMQ_LOG_BASE="+r.dir,
		"RABBITMQ_LOGS=-", // to the standard output
		"RABBITMQ_PID_FILE="+r.path("rabbitmq.pid"),
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="+erlang,
		// The script then becomes the server, instead of starting one: signals
		// meet the right process.
		"RUNNING_UNDER_SYSTEMD=true",
	)
}

// foreign gives the variables that are no business of RabbitMQ's.
func foreign(environ []string) []string {
	return slices.DeleteFunc(environ, func(v string) bool {
		return strings.HasPrefix(v, "RABBITMQ_") || strings.HasPrefix(v, "ERL_") || strings.HasPrefix(v, "NOTIFY_SOCKET=")
	})
}

// serves tells whether AMQP and the management API answer. An early listener
// is no sign of readiness.
func (r *RabbitMQ) serves(ctx context.Context) error {
	if err := r.speaksAMQP(ctx); err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.ManagementURI()+"/api/vhosts/"+rabbitmqVHost, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the management API answers %s", resp.Status)
	}
	return nil
}

// speaksAMQP sends the first bytes of a client, which are answered with a
// method frame, of type 1.
func (r *RabbitMQ) speaksAMQP(ctx context.Context) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", r.Addr())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	if _, err := conn.Write([]byte("AMQP\x00\x00\x09\x01")); err != nil {
		return err
	}
	var frame [1]byte
	if _, err := io.ReadFull(conn, frame[:]); err != nil {
		return err
	}
	if frame[0] != 1 {
		return errors.New("something else than AMQP answers")
	}
	return nil
}
