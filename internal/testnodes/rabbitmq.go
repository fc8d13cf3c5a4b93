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
	rabbitmqBin      = "/usr/lib/rabbitmq/bin" // where the Debian package installs it
	rabbitmqUser     = "tasker"
	rabbitmqPassword = "pw"
	rabbitmqVHost    = "tasker"
)

// RabbitMQOptions are the settings on which the nodes of a cluster must agree.
// The zero value is a single node.
type RabbitMQOptions struct {
	// Name is the node's name before the "@"; "" means "rabbit".
	Name string
	// Peers are the names of all nodes of the cluster, including this one.
	// Start them at the same time, since they find each other during startup.
	// They notice within 8 s that a node does not answer; a node that sees
	// fewer than half of them pauses.
	Peers []string
	// EPMD is the port mapper that the nodes of a cluster share (see
	// [StartEPMD]). Without it the node has its own.
	EPMD *EPMD
	// MaxMessageSize limits message bodies, in bytes; 0 means the node's
	// default.
	MaxMessageSize int
	// Cookie is the secret that the nodes share; "" means a fixed one.
	Cookie string
	// TLS adds a listener with TLS, for clients with a certificate alone; see
	// [RabbitMQ.SecureAddr]. It also accepts EXTERNAL, with the common name as the user.
	TLS *TLSFiles
}

// TLSFiles are the files of a listener with TLS.
type TLSFiles struct {
	Cert, Key string // the server's, read for each connection
	CA        string // of the authorities of the clients
}

// RabbitMQ is a node with the management plugin.
type RabbitMQ struct {
	node
	dir                          string
	name                         string
	opts                         RabbitMQOptions
	ownEPMD                      bool
	amqp, management, distribute int
	secure                       int // with TLS
}

// StartRabbitMQ starts a node with its files in dir, which must exist, and
// waits until it is ready. It needs the package rabbitmq-server.
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

// NewRabbitMQ prepares a node without starting it, for clusters, whose nodes
// wait for each other. Call Close at the end.
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
	for _, port := range []*int{&r.amqp, &r.management, &r.distribute, &r.secure} {
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

// NodeName returns the Erlang name, such as "rabbit@localhost".
func (r *RabbitMQ) NodeName() string { return r.name }

// Addr returns the host and port of AMQP.
func (r *RabbitMQ) Addr() string { return fmt.Sprintf("%s:%d", loopback, r.amqp) }

// SecureAddr returns the host and port of AMQP over TLS, if the node has that.
func (r *RabbitMQ) SecureAddr() string { return fmt.Sprintf("%s:%d", loopback, r.secure) }

// URI returns the AMQP address, with an administrator and a virtual host, which
// exist from the start.
func (r *RabbitMQ) URI() string {
	return fmt.Sprintf("amqp://%s:%s@%s/%s", rabbitmqUser, rabbitmqPassword, r.Addr(), rabbitmqVHost)
}

// ManagementURI returns the address of the management API, with the same user.
func (r *RabbitMQ) ManagementURI() string {
	return fmt.Sprintf("http://%s:%s@%s:%d", rabbitmqUser, rabbitmqPassword, loopback, r.management)
}

// Close kills the node, and its own port mapper if it has one.
func (r *RabbitMQ) Close() {
	r.Kill()
	if r.ownEPMD {
		r.opts.EPMD.Kill()
	}
}

// Wipe deletes the node's data, as after the loss of its disk. The node must be
// stopped. When it starts again it has its user and virtual host, but no queue.
func (r *RabbitMQ) Wipe() error {
	if r.Alive() {
		return fmt.Errorf("wipe %s: %w", r.node.name, ErrRunning)
	}
	if err := os.RemoveAll(r.path("data")); err != nil {
		return err
	}
	return os.Mkdir(r.path("data"), 0o700)
}

// Alarm sets or clears the node's memory alarm, which blocks publishers. A
// restart clears it too.
func (r *RabbitMQ) Alarm(ctx context.Context, on bool) error {
	mark := []string{"0.4"}
	if on {
		mark = []string{"absolute", "1"}
	}
	return r.Control(ctx, append([]string{"set_vm_memory_high_watermark"}, mark...)...)
}

// Control runs rabbitmqctl on the node, which takes a second since it starts
// its own Erlang.
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

// prepare writes the node's configuration files.
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
	settings.WriteString(r.tlsSettings())
	plugins := "rabbitmq_management"
	if r.opts.TLS != nil {
		plugins += ",rabbitmq_auth_mechanism_ssl"
	}
	if len(r.opts.Peers) > 0 {
		settings.WriteString("cluster_formation.peer_discovery_backend = classic_config\ncluster_partition_handling = pause_minority\n")
		for i, peer := range r.opts.Peers {
			fmt.Fprintf(&settings, "cluster_formation.classic_config.nodes.%d = %s@localhost\n", i+1, peer)
		}
	}
	for name, content := range map[string]string{
		"rabbitmq.conf":   settings.String(),
		"enabled_plugins": "[" + plugins + "].\n",
		".erlang.cookie":  r.opts.Cookie,
	} {
		// Erlang refuses a cookie that other users can read.
		if err := os.WriteFile(r.path(name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// tlsSettings returns the configuration of the listener with TLS.
func (r *RabbitMQ) tlsSettings() string {
	files := r.opts.TLS
	if files == nil {
		return ""
	}
	return fmt.Sprintf(`listeners.ssl.1 = %s
ssl_options.cacertfile = %s
ssl_options.certfile = %s
ssl_options.keyfile = %s
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = true
auth_mechanisms.1 = PLAIN
auth_mechanisms.2 = EXTERNAL
ssl_cert_login_from = common_name
`, r.SecureAddr(), files.CA, files.Cert, files.Key)
}

// environment isolates the node from the system's RabbitMQ: its own port
// mapper, cookie, files and ports, all on loopback.
func (r *RabbitMQ) environment() []string {
	// Idle schedulers must sleep: several nodes share the machine with their
	// clients.
	erlang := "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none"
	if len(r.opts.Peers) > 0 {
		erlang = "-kernel net_ticktime 6 " + erlang // seconds, plus or minus a quarter
	}
	if r.opts.TLS != nil {
		erlang = "-ssl bypass_pem_cache true " + erlang // else replaced files take effect after minutes
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
		"RABBITMQ_LOGS=-", // standard output
		"RABBITMQ_PID_FILE="+r.path("rabbitmq.pid"),
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="+erlang,
		// The script then execs the server instead of starting a child, so
		// signals reach the server.
		"RUNNING_UNDER_SYSTEMD=true",
	)
}

// foreign returns the variables that do not affect RabbitMQ.
func foreign(environ []string) []string {
	return slices.DeleteFunc(environ, func(v string) bool {
		return strings.HasPrefix(v, "RABBITMQ_") || strings.HasPrefix(v, "ERL_") || strings.HasPrefix(v, "NOTIFY_SOCKET=")
	})
}

// serves returns nil if both AMQP and the management API answer. That they
// listen is not enough.
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
		return fmt.Errorf("management API: %s", resp.Status)
	}
	return nil
}

// speaksAMQP sends a client's first bytes, which the server answers with a
// method frame, type 1.
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
		return errors.New("not an AMQP server")
	}
	return nil
}
