package manager

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

const seenUID = "01KBTJ5A3V0Q4S9T8C7M6N5P4R"

func openSeenAt(t *testing.T, dir string) *seen {
	t.Helper()
	s, err := openSeen(dir, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func signedWork(task int64, attempt, step int, expires time.Time) *ledger.Work {
	return &ledger.Work{
		Task:     tasker.Task{ID: task, Signature: &tasker.Signature{UID: seenUID, Expires: expires.Unix()}},
		Endpoint: "a", Attempt: attempt, Step: step,
	}
}

// Uses of a signature follow one another, also after a restart.
func TestSeen(t *testing.T) {
	t.Parallel()
	dir, now := t.TempDir(), time.Now()
	for i, test := range []struct {
		task          int64
		attempt, step int
		refused       bool
	}{
		{7, 2, 0, false},
		{7, 2, 0, true},
		{7, 2, 1, true},
		{7, 2, 2, false},
		{7, 2, 2, true},
		{7, 2, 3, false},
		{7, 1, 9, true},
		{8, 3, 0, true},
		{7, 3, 0, false},
		{7, 2, 4, true},
	} {
		err := openSeenAt(t, dir).use(signedWork(test.task, test.attempt, test.step, now.Add(time.Hour)), now)
		if (err != nil) != test.refused || err != nil && !strings.HasPrefix(err.Error(), "replayed: "+seenUID+" ran here as task 7") {
			t.Errorf("%d: got %v", i, err)
		}
	}
	other := signedWork(8, 1, 0, now)
	other.Endpoint = "b"
	if err := openSeenAt(t, dir).use(other, now); err != nil {
		t.Errorf("at another endpoint of the machine: %v", err)
	}
}

// Of several that use a signature at once, one does.
func TestSeenAtOnce(t *testing.T) {
	t.Parallel()
	s, now := openSeenAt(t, t.TempDir()), time.Now()
	var group sync.WaitGroup
	refused := make([]error, 8)
	for i := range refused {
		group.Go(func() { refused[i] = s.use(signedWork(int64(i), 1, 0, now), now) })
	}
	group.Wait()
	used := 0
	for _, err := range refused {
		if err == nil {
			used++
		}
	}
	if used != 1 {
		t.Errorf("%d used it: %v", used, refused)
	}
}

// What cannot be read is not taken for a signature that was not used.
func TestSeenUnreadable(t *testing.T) {
	t.Parallel()
	dir, now := t.TempDir(), time.Now()
	s := openSeenAt(t, dir)
	if err := os.WriteFile(filepath.Join(dir, "seen", seenUID+".a"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.use(signedWork(7, 1, 0, now), now); !errors.Is(err, errNotKept) {
		t.Errorf("got %v", err)
	}
}

// A use is kept until a day after its signature has expired, and what a crash left goes.
func TestSeenSweep(t *testing.T) {
	t.Parallel()
	dir, now := t.TempDir(), time.Now()
	s := openSeenAt(t, dir)
	if err := s.use(signedWork(7, 1, 0, now.Add(time.Hour)), now); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "seen", seenUID+".b.x"+partial), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	left := func(after time.Duration) int {
		s.sweep(now.Add(after))
		found, err := os.ReadDir(filepath.Join(dir, "seen"))
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	if n := left(24*time.Hour - time.Minute); n != 2 {
		t.Errorf("%d files, want both", n)
	}
	if n := left(25*time.Hour - time.Minute); n != 1 {
		t.Errorf("%d files, want that of the signature", n)
	}
	if err := s.use(signedWork(7, 1, 0, now.Add(time.Hour)), now); err == nil {
		t.Error("it was used again")
	}
	if n := left(25*time.Hour + time.Minute); n != 0 {
		t.Errorf("%d files, want none", n)
	}
}
