package store

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	mysqldriver "github.com/go-sql-driver/mysql"

	"github.com/taskerhq/tasker"
)

// Errors about the server's state are worth waiting for: results wait, and
// messages are not dropped. Errors about a statement are not.
func TestErrorsOfTheServersState(t *testing.T) {
	for number, want := range map[uint16]tasker.Code{
		1030: tasker.Unavailable, // the disk below it fails
		1040: tasker.Unavailable, // too many connections
		1047: tasker.Unavailable, // Galera without a quorum
		1129: tasker.Unavailable, // the host is blocked
		1142: tasker.Unavailable, // a privilege was revoked
		1180: tasker.Unavailable, // a commit failed
		1213: tasker.Unavailable, // a deadlock
		1290: tasker.Unavailable, // read-only
		1048: tasker.Internal,    // NULL in a NOT NULL column
		1064: tasker.Internal,    // an invalid statement
		1153: tasker.TooLarge,    // a payload that is too large
		1406: tasker.TooLarge,    // a text that is too long
		1366: tasker.Invalid,     // invalid text
	} {
		err := (&Store{}).fail("store the result", &mysqldriver.MySQLError{Number: number, Message: "it says why"})
		if got := tasker.CodeOf(err); got != want {
			t.Errorf("error %d is %s, want %s", number, got, want)
		}
		if e, ok := errors.AsType[*mysqldriver.MySQLError](err); !ok || e.Number != number {
			t.Errorf("error %d became %v", number, err)
		}
	}
}

// A statement of SQLite can be interrupted instead of the one before it on the
// same connection, whose context ended: it is retried.
func TestInterrupted(t *testing.T) {
	s, err := Open(Config{URI: "sqlite://" + t.TempDir() + "/tasker.db"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, interrupted := s.sql.ExecContext(ctx, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n")
	if interrupted == nil || errors.Is(interrupted, context.DeadlineExceeded) {
		t.Fatalf("SQLite says %v", interrupted)
	}
	if code := tasker.CodeOf(s.fail("try", interrupted)); code != tasker.Unavailable {
		t.Errorf("%v is %s", interrupted, code)
	}
	tries := 0
	err = s.withRetry(t.Context(), func() error {
		if tries++; tries == 1 {
			return interrupted
		}
		return nil
	})
	if err != nil || tries != 2 {
		t.Errorf("%d tries, %v", tries, err)
	}
	tries = 0
	err = s.withRetry(ctx, func() error { tries++; return interrupted })
	if err == nil || tries != 1 {
		t.Errorf("after the end of the context %d tries, %v", tries, err)
	}
}
