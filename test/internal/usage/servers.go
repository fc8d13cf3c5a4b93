package usage

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"strconv"

	"github.com/taskerhq/tasker/internal/testservices"
)

// Servers are the processes of the servers of package testservices. A process ID
// of 0 means that it is unknown: on another machine, in a container, or another
// user's.
type Servers struct {
	MariaDB, RabbitMQ int
}

// FindServers looks for the servers in the environment.
func FindServers() Servers {
	return Servers{
		MariaDB:  server(testservices.EnvMySQL, "mariadbd", "mysqld"),
		RabbitMQ: server(testservices.EnvRabbitMQ, "beam.smp"),
	}
}

func server(env string, programs ...string) int {
	u, err := url.Parse(os.Getenv(env))
	if err != nil {
		return 0
	}
	if host := u.Hostname(); host != "127.0.0.1" && host != "::1" && host != "localhost" {
		return 0
	}
	pid, ok := Server(u.Port(), programs...)
	if !ok {
		return 0
	}
	return pid
}

// Statements are counters of a database server.
type Statements struct {
	// Questions counts the statements of clients; executing a prepared one is one.
	Questions int64
	// Commits counts the COMMIT statements. A statement outside a transaction
	// commits without one.
	Commits int64
}

// Minus returns the difference of two readings.
func (s Statements) Minus(before Statements) Statements {
	return Statements{s.Questions - before.Questions, s.Commits - before.Commits}
}

// ReadStatements reads the counters of a MariaDB or MySQL server.
func ReadStatements(ctx context.Context, db *sql.DB) (s Statements, err error) {
	rows, err := db.QueryContext(ctx, "SHOW GLOBAL STATUS WHERE Variable_name IN ('Questions', 'Com_commit')")
	if err != nil {
		return s, fmt.Errorf("read the server's status: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			return s, fmt.Errorf("read the server's status: %w", err)
		}
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return s, fmt.Errorf("read the server's status: %s: %w", name, err)
		}
		switch name {
		case "Questions":
			s.Questions = n
		case "Com_commit":
			s.Commits = n
		}
	}
	return s, rows.Err()
}
