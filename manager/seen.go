package manager

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/x/durable"
)

const (
	// keepSeen is how long the use of a signature is kept once that has expired: clocks
	// may be set back.
	keepSeen = 24 * time.Hour
	// sweepPeriod is the least time between two searches for what need not be kept.
	sweepPeriod = 6 * time.Hour
	// partial ends the name of a file that is being written, or was left by a crash.
	partial = ".partial"
)

// seen keeps which signatures were used at endpoints of this machine, one file each, so
// that none is used once more for a row that somebody has put back. What a file says is
// on disk before the handler is called, and outlives the manager.
type seen struct {
	dir string
	log *slog.Logger

	mu    sync.Mutex
	swept time.Time
}

// openSeen creates the directory, if it does not exist, and removes what need not be kept.
func openSeen(stateDir string, log *slog.Logger) (*seen, error) {
	s := &seen{dir: filepath.Join(stateDir, "seen"), log: log}
	err := os.MkdirAll(s.dir, 0o700)
	if err == nil {
		probe := filepath.Join(s.dir, "probe-"+ulid.Make().String()+partial)
		err = errors.Join(durable.Create(probe, nil), os.Remove(probe), durable.SyncDir(s.dir), durable.SyncDir(stateDir))
	}
	if err != nil {
		return nil, fmt.Errorf("create directory of used signatures (manager.state_dir): %w", err)
	}
	s.sweepNow(time.Now())
	return s, nil
}

// use keeps that an attempt, whose signature permits it, uses the signature. The error says
// why it must not, or is [errNotKept].
func (s *seen) use(work *ledger.Work, now time.Time) error {
	s.sweepNow(now)
	uid, next := work.Task.Signature.UID, useOf(work)
	path := filepath.Join(s.dir, next.key(uid))
	temporary := path + "." + ulid.Make().String() + partial
	content, err := json.Marshal(next)
	if err == nil {
		err = durable.Create(temporary, content)
	}
	defer func() { _ = os.Remove(temporary) }()
	if err == nil {
		err = os.Link(temporary, path) // the one that is first
	}
	if errors.Is(err, fs.ErrExist) {
		return s.useAgain(path, temporary, uid, next)
	}
	return s.kept(err)
}

// useAgain is use for a signature that was used before.
func (s *seen) useAgain(path, temporary, uid string, next seenUse) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	content, err := os.ReadFile(path) //nolint:gosec // its name is of the alphabet of ULIDs and endpoints
	if err != nil {
		return s.kept(err)
	}
	var before seenUse
	if err := json.Unmarshal(content, &before); err != nil {
		return s.kept(fmt.Errorf("%s: %w", path, err))
	}
	if err := before.follows(uid, next); err != nil {
		return err
	}
	return s.kept(os.Rename(temporary, path))
}

// kept syncs the directory after a change, unless err says that there was none.
func (s *seen) kept(err error) error {
	if err == nil {
		err = durable.SyncDir(s.dir)
	}
	if err != nil {
		return fmt.Errorf("%w (manager.state_dir): %w", errNotKept, err)
	}
	return nil
}

// sweepNow sweeps if that was long ago.
func (s *seen) sweepNow(now time.Time) {
	s.mu.Lock()
	due := now.Sub(s.swept) >= sweepPeriod
	if due {
		s.swept = now
	}
	s.mu.Unlock()
	if due {
		s.sweep(now)
	}
}

// sweep removes what need not be kept. A file that was written within the last day is not
// read: it need not be looked at yet.
func (s *seen) sweep(now time.Time) {
	found, err := os.ReadDir(s.dir)
	if err != nil {
		s.log.Warn("could not look for used signatures that have expired", "err", err)
		return
	}
	removed := 0
	for _, entry := range found {
		info, err := entry.Info()
		if err != nil || now.Sub(info.ModTime()) < keepSeen {
			continue
		}
		path := filepath.Join(s.dir, entry.Name())
		if !strings.HasSuffix(path, partial) && !s.outlived(path, now) {
			continue
		}
		if err := os.Remove(path); err != nil {
			s.log.Warn("could not remove a used signature that has expired", "file", path, "err", err)
			return
		}
		removed++
	}
	if removed > 0 {
		s.log.Info("removed used signatures that have expired", "signatures", removed)
	}
}

// outlived reports whether the use in a file need not be kept any more.
func (s *seen) outlived(path string, now time.Time) bool {
	content, err := os.ReadFile(path) //nolint:gosec // in a directory of our own
	var use seenUse
	return err == nil && json.Unmarshal(content, &use) == nil && now.Sub(time.Unix(use.Expires, 0)) > keepSeen
}
