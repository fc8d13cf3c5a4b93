package spool_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/spool"
)

func open(t *testing.T, dir string) *spool.Spool {
	t.Helper()
	s, err := spool.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func entries(t *testing.T, s *spool.Spool, endpoint string) []spool.Entry {
	t.Helper()
	list, err := s.Entries(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func finish(task int64, attempt int) ledger.End {
	return ledger.End{ResultKey: tasker.ResultKey{TaskID: task, Endpoint: "a.b"}, Attempt: attempt, State: tasker.ResultDone}
}

func TestKeptEndsOutliveTheProcess(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "spool")
	first := open(t, dir)
	kept := []ledger.End{finish(7, 1), finish(3, 2), finish(9, 1)}
	kept[0].Payload = json.RawMessage(`{"a": "<ü>"}`)
	kept[1].State, kept[1].Errnr, kept[1].Errmsg, kept[1].RetryDelay = tasker.Retrying, 32, "no\nspace", time.Minute
	for _, f := range kept {
		if _, err := first.Keep(f); err != nil {
			t.Fatal(err)
		}
	}
	second := open(t, dir)
	list := entries(t, second, "a.b")
	var got []ledger.End
	for _, e := range list {
		if e.Payload != nil {
			t.Errorf("task %d: payload in memory before Load", e.TaskID)
		}
		f, err := second.Load(e)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, f)
	}
	if diff := cmp.Diff(kept, got); diff != "" {
		t.Errorf("kept and read (-kept +read):\n%s", diff)
	}
	for _, e := range list[:2] {
		if err := second.Remove(e); err != nil {
			t.Fatal(err)
		}
	}
	if left := entries(t, second, "a.b"); len(left) != 1 || left[0].TaskID != 9 {
		t.Errorf("after removing two: %+v", left)
	}
	if other := entries(t, second, "a"); len(other) != 0 {
		t.Errorf("another endpoint: got %+v", other)
	}
}

func TestUnreadableFilesAreKeptAside(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if _, err := s.Keep(finish(1, 1)); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"0.json": "", "1.json": "{", "2.json": `{"v":0}`, "3.json": `{"v":1,"task_id":1,"endpoint":"other","attempt":1,"state":"DONE"}`,
		"4.json": `{"v":1,"task_id":1,"endpoint":"a.b","attempt":1,"state":"DUNNO"}`, "5.partial": "{",
	} {
		if err := os.WriteFile(filepath.Join(dir, "a.b", name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	list, err := s.Entries("a.b")
	if err == nil || len(list) != 1 || list[0].TaskID != 1 {
		t.Fatalf("got %+v, %v", list, err)
	}
	for _, name := range []string{"0", "1", "2", "3", "4"} {
		if !strings.Contains(err.Error(), name+".json") {
			t.Errorf("the error does not name %s.json: %v", name, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "a.b", name+".unreadable")); err != nil {
			t.Error(err)
		}
	}
	if list, err = s.Entries("a.b"); err != nil || len(list) != 1 {
		t.Errorf("again: %+v, %v", list, err)
	}
}

// Files written by a later version stay in place; fields added within a version
// are ignored.
func TestFilesOfALaterTasker(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if _, err := s.Keep(finish(1, 1)); err != nil {
		t.Fatal(err)
	}
	later := filepath.Join(dir, "a.b", "later.json")
	for name, content := range map[string]string{
		later:                               `{"v":2,"task_id":"01J","endpoint":["a.b"]}`,
		filepath.Join(dir, "a.b", "m.json"): `{"v":1,"task_id":2,"endpoint":"a.b","attempt":1,"state":"DONE","wave":{"n":1}}`,
	} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		list, err := s.Entries("a.b")
		if err == nil || !strings.Contains(err.Error(), "later.json") || len(list) != 2 || list[1].TaskID != 2 {
			t.Errorf("got %+v, %v", list, err)
		}
		if _, err := os.Stat(later); err != nil {
			t.Errorf("not left in place: %v", err)
		}
	}
}

func TestUnusableDirectories(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := spool.Open(filepath.Join(name, "spool")); err == nil || !strings.Contains(err.Error(), "manager.spool_dir") {
		t.Errorf("a directory below a file: %v", err)
	}
	dir := t.TempDir()
	s := open(t, dir)
	if err := os.WriteFile(filepath.Join(dir, "a.b"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Keep(finish(1, 1)); err == nil {
		t.Error("Keep succeeded without a directory")
	}
}

func TestPending(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if n, oldest := s.Pending("a.b"); n != 0 || !oldest.IsZero() {
		t.Errorf("of nothing: %d, %v", n, oldest)
	}
	begin := time.Now().Truncate(time.Millisecond)
	first, err := s.Keep(finish(7, 1))
	if err != nil {
		t.Fatal(err)
	}
	end := time.Now()
	if _, err := s.Keep(finish(8, 1)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"0.partial", "0.unreadable"} {
		if err := os.WriteFile(filepath.Join(dir, "a.b", name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if n, oldest := s.Pending("a.b"); n != 2 || oldest.Before(begin) || oldest.After(end) {
		t.Errorf("%d, the oldest of %v, kept between %v and %v", n, oldest, begin, end)
	}
	if err := s.Remove(first); err != nil {
		t.Fatal(err)
	}
	if n, _ := s.Pending("a.b"); n != 1 {
		t.Errorf("%d after the first was removed", n)
	}
}
