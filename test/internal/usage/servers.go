package usage

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"maps"
	"math"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

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

// Statements are counters of a database server, since it was started.
type Statements struct {
	// Questions counts the statements of clients; executing a prepared one is one.
	Questions int64
	// Kinds counts them by kind, such as "select" and "insert_select". A statement
	// outside a transaction commits without a "commit".
	Kinds map[string]int64
}

// Minus returns the difference of two readings.
func (s Statements) Minus(before Statements) Statements {
	difference := Statements{s.Questions - before.Questions, map[string]int64{}}
	for kind, n := range s.Kinds {
		if n -= before.Kinds[kind]; n != 0 {
			difference.Kinds[kind] = n
		}
	}
	return difference
}

// notStatements are counters of steps of prepared statements, which are counted by
// what they are, too.
var notStatements = []string{"stmt_prepare", "stmt_close", "stmt_execute", "stmt_reset", "stmt_send_long_data", "stmt_fetch", "show_status"}

// PerResult returns the number of statements of each kind divided by that of results,
// without the rare ones.
func (s Statements) PerResult(results float64) map[string]float64 {
	all := map[string]float64{}
	for kind, n := range s.Kinds {
		if share := float64(n) / results; share >= 0.0005 && !slices.Contains(notStatements, kind) {
			all[kind] = math.Round(share*1000) / 1000
		}
	}
	return all
}

// ReadStatements reads the counters of a MariaDB or MySQL server.
func ReadStatements(ctx context.Context, db *sql.DB) (s Statements, err error) {
	rows, err := db.QueryContext(ctx, "SHOW GLOBAL STATUS WHERE Variable_name = 'Questions' OR Variable_name LIKE 'Com\\_%'")
	if err != nil {
		return s, fmt.Errorf("read the server's status: %w", err)
	}
	defer func() { _ = rows.Close() }()
	s.Kinds = map[string]int64{}
	for rows.Next() {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			return s, fmt.Errorf("read the server's status: %w", err)
		}
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			continue // a word, in some versions
		}
		if name == "Questions" {
			s.Questions = n
		} else {
			s.Kinds[strings.TrimPrefix(name, "Com_")] = n
		}
	}
	return s, rows.Err()
}

// KindsText returns "select 1.20, insert 0.50", the most frequent kinds first.
func KindsText(kinds map[string]float64) string {
	names := slices.SortedFunc(maps.Keys(kinds), func(a, b string) int { return cmp.Compare(kinds[b], kinds[a]) })
	for i, name := range names {
		names[i] = fmt.Sprintf("%s %.3f", name, kinds[name])
	}
	return strings.Join(names[:min(len(names), 8)], ", ")
}
