package e2e

import (
	"path/filepath"
	"strings"
	"testing"
)

// The database goes down while a handler runs, and the manager is killed before
// it is back. The result is stored nevertheless.
func TestResultOutlivesManagerAndOutage(t *testing.T) {
	t.Parallel()
	spool := t.TempDir()
	s := newSystem(t, "TASKER_MANAGER_SPOOL_DIR="+spool)
	s.api()
	p := s.manager("console1")
	s.accept("sleep", `{"identifier":"one","payload":{"seconds":2}}`)
	// RUNNING in the database is not enough: the answer may not have reached the
	// manager yet.
	s.until("the handler to start", func() bool { return strings.Contains(p.output(), `"msg":"handler started"`) })
	s.database.Cut()
	s.until("the result to be in the spool", func() bool {
		kept, err := filepath.Glob(filepath.Join(spool, "console1", "*.json"))
		if err != nil {
			t.Fatal(err)
		}
		return len(kept) == 1
	})
	p.kill()
	s.database.Restore()
	s.manager("console1")
	if r := s.await("/sleep/one", "DONE").TaskResponseList[0]; r.Attempt != 1 || r.Errnr != 0 {
		t.Errorf("%+v", r)
	}
	s.until("the spool to be empty", func() bool {
		left, err := filepath.Glob(filepath.Join(spool, "console1", "*"))
		return err == nil && len(left) == 0
	})
}
