package store

import (
	"log/slog"
	"testing"
	"time"

	"github.com/taskerhq/tasker/internal/testservices"
)

// A machine that dies in the middle of a transaction holds its locks for as
// long as the server waits for its session.
func TestSessionsEnd(t *testing.T) {
	t.Parallel()
	s, err := Open(Config{URI: testservices.MySQL(t)}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	var seconds int
	if err := s.sqlDB.QueryRowContext(t.Context(), "SELECT @@SESSION.wait_timeout").Scan(&seconds); err != nil {
		t.Fatal(err)
	}
	if patience := time.Duration(seconds) * time.Second; patience > time.Minute || patience <= maxIdle {
		t.Errorf("the server waits for %v, and idle connections stay for %v", patience, maxIdle)
	}
}
