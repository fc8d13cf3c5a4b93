package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	mysqldriver "github.com/go-sql-driver/mysql"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/testservices"
)

// A machine that dies in a transaction holds its locks for as long as the
// server keeps its session.
func TestSessionsEnd(t *testing.T) {
	t.Parallel()
	s, err := Open(Config{URI: testservices.MySQL(t)}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	var seconds int
	if err := s.sql.QueryRowContext(t.Context(), "SELECT @@SESSION.wait_timeout").Scan(&seconds); err != nil {
		t.Fatal(err)
	}
	if patience := time.Duration(seconds) * time.Second; patience > time.Minute || patience <= maxIdle {
		t.Errorf("the server waits for %v, and idle connections stay for %v", patience, maxIdle)
	}
}

// proxied returns a server behind a proxy that drops statements.
type proxied struct {
	driver.Connector
	drop string
}

type proxiedConn struct {
	mysqlConn
	drop string
}

func (p proxied) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := p.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return proxiedConn{conn.(mysqlConn), p.drop}, nil
}

func (c proxiedConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if strings.Contains(query, c.drop) {
		return driver.RowsAffected(0), nil
	}
	return c.mysqlConn.ExecContext(ctx, query, args)
}

// A session with wrong settings is not used, and not retried.
func TestSessionsAreVerified(t *testing.T) {
	t.Parallel()
	u, err := url.Parse(testservices.MySQL(t))
	if err != nil {
		t.Fatal(err)
	}
	c, err := mysqlConfig(u, Config{})
	if err != nil {
		t.Fatal(err)
	}
	connector, err := mysqldriver.NewConnector(c)
	if err != nil {
		t.Fatal(err)
	}
	for drop, want := range map[string]string{
		"ISOLATION LEVEL":      `isolation is "REPEATABLE-READ" instead of "READ-COMMITTED"`,
		"group_concat_max_len": `time_zone is "SYSTEM" instead of "+00:00"`,
	} {
		_, err := sessionConnector{proxied{connector, drop}}.Connect(t.Context())
		if e, ok := errors.AsType[*SessionError](err); !ok || !strings.Contains(e.Error(), want) {
			t.Errorf("without %s: %v", drop, err)
		}
		if err := (&Store{}).fail("answer", err); tasker.CodeOf(err) != tasker.Unavailable {
			t.Errorf("it is %s", tasker.CodeOf(err))
		}
	}
	conn, err := sessionConnector{proxied{connector, "nothing of it"}}.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
}

// refusing is a server that refuses every connection.
type refusing struct {
	driver.Connector
	err error
}

func (r refusing) Connect(context.Context) (driver.Conn, error) { return nil, r.err }

// A server of MySQL that requires TLS says so. MariaDB says that access is denied.
func TestServerRequiresTLS(t *testing.T) {
	t.Parallel()
	refusal := &mysqldriver.MySQLError{Number: 3159, Message: "Connections using insecure transport are prohibited"}
	_, err := mysqlConnector{Connector: refusing{err: refusal}}.Connect(t.Context())
	if !errors.Is(err, refusal) || !strings.Contains(err.Error(), "the server requires TLS: add ?tls=true to manager.db.uri: ") {
		t.Error(err)
	}
	if err := (&Store{}).fail("answer", err); tasker.CodeOf(err) != tasker.Unavailable {
		t.Errorf("it is %s", tasker.CodeOf(err))
	}
	other := &mysqldriver.MySQLError{Number: erAccessDenied}
	if _, err := (mysqlConnector{Connector: refusing{err: other}}).Connect(t.Context()); err != error(other) { //nolint:errorlint // unchanged
		t.Error(err)
	}
}
