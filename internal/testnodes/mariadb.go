package testnodes

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"

	"github.com/go-sql-driver/mysql"
)

const mariadbPassword = "pw"

// MariaDB is a server that syncs every commit before answering it, so its data
// survives Kill.
type MariaDB struct {
	node
	dir  string
	port int
}

// StartMariaDB creates a data directory in dir, which must exist, starts a
// server on it and waits until it is ready. options are lines of its
// configuration. It needs the package mariadb-server-core.
func StartMariaDB(ctx context.Context, dir string, options ...string) (*MariaDB, error) {
	server, err := find("mariadbd")
	if err != nil {
		return nil, err
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	m := &MariaDB{dir: dir}
	if m.port, err = FreePort(); err != nil {
		return nil, err
	}
	m.node = node{
		name: "MariaDB", log: filepath.Join(dir, "mariadb.log"), ready: m.ping,
		command: func() *exec.Cmd { return exec.Command(server, "--defaults-file="+m.path("my.cnf")) },
	}
	if err := m.prepare(ctx, options); err != nil {
		return nil, err
	}
	return m, m.Start(ctx)
}

func (m *MariaDB) path(name string) string { return filepath.Join(m.dir, name) }

// Addr returns the server's host and port.
func (m *MariaDB) Addr() string { return fmt.Sprintf("%s:%d", loopback, m.port) }

// URI returns the server's address, as its administrator and without a
// database.
func (m *MariaDB) URI() string {
	return fmt.Sprintf("mysql://root:%s@%s/", mariadbPassword, m.Addr())
}

// prepare creates the system tables and the configuration files.
func (m *MariaDB) prepare(ctx context.Context, options []string) error {
	install, err := find("mariadb-install-db")
	if err != nil {
		return err
	}
	me, err := user.Current()
	if err != nil {
		return err
	}
	making := exec.CommandContext(ctx, install, "--no-defaults", "--datadir="+m.path("data"), "--user="+me.Username,
		"--skip-test-db", "--skip-name-resolve", "--auth-root-authentication-method=normal")
	making.Env = append(os.Environ(), "TMPDIR="+m.dir) // concurrent runs would overwrite each other's temporary tables
	out, err := making.CombinedOutput()
	if err != nil {
		return fmt.Errorf("mariadb-install-db: %w\n%s", err, out)
	}
	// Relative to the data directory, since the length of a socket's path is
	// limited.
	settings := fmt.Sprintf(`[mariadbd]
user = %s
datadir = %s
tmpdir = %s
socket = mysql.sock
pid_file = %s
init_file = %s
bind_address = %s
port = %d
skip_name_resolve = ON
performance_schema = OFF
max_connections = 500
max_connect_errors = 4294967295
innodb_buffer_pool_size = 64M
innodb_flush_log_at_trx_commit = 1
%s
`, me.Username, m.path("data"), m.dir, m.path("mariadb.pid"), m.path("init.sql"), loopback, m.port, strings.Join(options, "\n"))
	users := fmt.Sprintf(`CREATE OR REPLACE USER 'root'@'%s' IDENTIFIED BY '%s';
GRANT ALL PRIVILEGES ON *.* TO 'root'@'%[1]s' WITH GRANT OPTION;
ALTER USER 'root'@'localhost' IDENTIFIED BY '%[2]s';
`, loopback, mariadbPassword)
	if err := os.WriteFile(m.path("my.cnf"), []byte(settings), 0o600); err != nil {
		return err
	}
	return os.WriteFile(m.path("init.sql"), []byte(users), 0o600)
}

func (m *MariaDB) ping(ctx context.Context) error {
	db, err := m.open()
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	return db.PingContext(ctx)
}

// Exec runs statements as the administrator.
func (m *MariaDB) Exec(ctx context.Context, statements ...string) error {
	db, err := m.open()
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	for _, statement := range statements {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// open returns the server for its administrator.
func (m *MariaDB) open() (*sql.DB, error) {
	conf := mysql.NewConfig()
	conf.User, conf.Passwd, conf.Net, conf.Addr = "root", mariadbPassword, "tcp", m.Addr()
	conf.Logger = log.New(io.Discard, "", 0)
	connector, err := mysql.NewConnector(conf)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}
