// Package spool stores the ends of attempts on the endpoint's disk while the
// database is unavailable, so that a handler's result survives a restart of the
// manager. Each end is one file, synced together with its directory before it
// counts as kept. The files of an endpoint sort in the order they were kept.
package spool

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/x/durable"
)

// version is the version of the file format. Fields may be added within a
// version: a tasker that does not know them ignores them.
const version = 1

// errLater means that a later version of tasker wrote the file. It stays in
// place for the next upgrade to read.
var errLater = errors.New("written by a later version of tasker: left for that version to read")

const (
	suffixKept       = ".json"
	suffixUnreadable = ".unreadable"
	suffixPartial    = ".partial" // being written, or left by a crash
)

// Spool is a directory of kept ends. All methods are safe for concurrent use. Two
// processes may share it if they serve different endpoints.
type Spool struct {
	dir  string
	made sync.Map // endpoints whose directory exists and is synced
}

// Entry is a kept end, without its payload: a spool may hold more than fits in
// memory. [Spool.Load] reads the payload.
type Entry struct {
	ledger.End
	path string
}

// file is an entry on disk.
type file struct {
	Version    int                `json:"v"`
	TaskID     int64              `json:"task_id"`
	Endpoint   string             `json:"endpoint"`
	Attempt    int                `json:"attempt"`
	State      tasker.ResultState `json:"state"`
	Errnr      int                `json:"errnr"`
	Errmsg     string             `json:"errmsg"`
	Payload    *string            `json:"payload"` // byte for byte
	RetryDelay time.Duration      `json:"retry_delay"`
}

// Open creates the directory if it does not exist, readable by its owner only,
// and checks that it is writable.
func Open(dir string) (*Spool, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create spool directory (manager.spool_dir): %w", err)
	}
	probe, err := os.CreateTemp(dir, "probe-*"+suffixPartial)
	if err != nil {
		return nil, fmt.Errorf("spool directory (manager.spool_dir) not writable: %w", err)
	}
	if err := errors.Join(probe.Close(), os.Remove(probe.Name()), durable.SyncDir(dir), durable.SyncDir(filepath.Dir(dir))); err != nil {
		return nil, fmt.Errorf("spool directory (manager.spool_dir) not writable: %w", err)
	}
	return &Spool{dir: dir}, nil
}

// Keep stores the end of an attempt. Once it has returned nil, the end survives
// a crash of the process and of the machine.
func (s *Spool) Keep(f ledger.End) (Entry, error) {
	content := file{
		Version: version, TaskID: f.TaskID, Endpoint: f.Endpoint, Attempt: f.Attempt,
		State: f.State, Errnr: f.Errnr, Errmsg: f.Errmsg, RetryDelay: f.RetryDelay,
	}
	if f.Payload != nil {
		payload := string(f.Payload)
		content.Payload = &payload
	}
	encoded, err := json.Marshal(content)
	if err != nil {
		return Entry{}, fmt.Errorf("encode spool entry: %w", err)
	}
	dir, err := s.endpointDir(f.Endpoint)
	if err != nil {
		return Entry{}, err
	}
	name := filepath.Join(dir, ulid.Make().String())
	if err = durable.Create(name+suffixPartial, encoded); err == nil {
		err = os.Rename(name+suffixPartial, name+suffixKept)
	}
	if err == nil {
		err = durable.SyncDir(dir)
	}
	if err != nil {
		_ = os.Remove(name + suffixPartial)
		return Entry{}, fmt.Errorf("write spool entry: %w", err)
	}
	return entry(f, name+suffixKept), nil
}

func entry(f ledger.End, path string) Entry {
	f.Payload = nil
	return Entry{f, path}
}

// endpointDir returns the directory of an endpoint, created if necessary.
func (s *Spool) endpointDir(endpoint string) (string, error) {
	dir := filepath.Join(s.dir, endpoint)
	if _, ok := s.made.Load(endpoint); ok {
		return dir, nil
	}
	err := os.Mkdir(dir, 0o700)
	if err == nil || errors.Is(err, fs.ErrExist) { // whoever created it may not have synced it
		err = durable.SyncDir(s.dir)
	}
	if err != nil {
		return "", fmt.Errorf("create spool directory of endpoint %s: %w", endpoint, err)
	}
	s.made.Store(endpoint, true)
	return dir, nil
}

// Entries returns what is kept for an endpoint, oldest first. A file that cannot
// be read is renamed out of the way and reported in the error; the entries
// returned beside the error are valid.
func (s *Spool) Entries(endpoint string) ([]Entry, error) {
	dir := filepath.Join(s.dir, endpoint)
	found, err := os.ReadDir(dir) // sorted by name
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read spool of endpoint %s: %w", endpoint, err)
	}
	var entries []Entry
	var unreadable []error
	for _, f := range found {
		if !strings.HasSuffix(f.Name(), suffixKept) {
			continue
		}
		path := filepath.Join(dir, f.Name())
		finish, err := read(path, endpoint)
		if errors.Is(err, errLater) {
			unreadable = append(unreadable, fmt.Errorf("skipped %s: %w", path, err))
			continue
		}
		if err != nil {
			aside := strings.TrimSuffix(path, suffixKept) + suffixUnreadable
			unreadable = append(unreadable, fmt.Errorf("unreadable %s renamed to %s: %w", path, filepath.Base(aside), err),
				os.Rename(path, aside))
			continue
		}
		entries = append(entries, entry(finish, path))
	}
	return entries, errors.Join(unreadable...)
}

// Pending returns how many ends are kept for an endpoint, and when the oldest of
// them was kept; it reads their names only.
func (s *Spool) Pending(endpoint string) (kept int, oldest time.Time) {
	found, _ := os.ReadDir(filepath.Join(s.dir, endpoint)) // sorted by name; none if there is no directory
	for _, f := range found {
		name, ok := strings.CutSuffix(f.Name(), suffixKept)
		if !ok {
			continue
		}
		if id, err := ulid.ParseStrict(name); err == nil && kept == 0 {
			oldest = id.Timestamp()
		}
		kept++
	}
	return kept, oldest
}

// Load returns an entry together with its payload.
func (s *Spool) Load(e Entry) (ledger.End, error) {
	finish, err := read(e.path, e.Endpoint)
	if err != nil {
		return ledger.End{}, fmt.Errorf("read spool entry %s: %w", filepath.Base(e.path), err)
	}
	return finish, nil
}

func read(path, endpoint string) (ledger.End, error) {
	encoded, err := os.ReadFile(path)
	if err != nil {
		return ledger.End{}, err
	}
	// Decode the version first: a later one may use other types.
	var head struct {
		Version int `json:"v"`
	}
	if err := json.Unmarshal(encoded, &head); err == nil && head.Version > version {
		return ledger.End{}, fmt.Errorf("version %d, this tasker reads version %d: %w", head.Version, version, errLater)
	}
	var content file
	if err := json.Unmarshal(encoded, &content); err != nil {
		return ledger.End{}, err
	}
	if content.Version != version {
		return ledger.End{}, fmt.Errorf("invalid version %d: this tasker reads version %d", content.Version, version)
	}
	if content.Endpoint != endpoint || content.TaskID < 1 || content.Attempt < 1 || !content.State.Valid() {
		return ledger.End{}, fmt.Errorf("invalid entry: not the end of an attempt at endpoint %s", endpoint)
	}
	finish := ledger.End{
		ResultKey: tasker.ResultKey{TaskID: content.TaskID, Endpoint: content.Endpoint}, Attempt: content.Attempt,
		State: content.State, Errnr: content.Errnr, Errmsg: content.Errmsg, RetryDelay: content.RetryDelay,
	}
	if content.Payload != nil {
		finish.Payload = json.RawMessage(*content.Payload)
	}
	return finish, nil
}

// Remove deletes an entry that has been stored elsewhere. A crash right
// afterwards may bring the entry back.
func (s *Spool) Remove(e Entry) error {
	if err := os.Remove(e.path); err != nil {
		return fmt.Errorf("remove spool entry: %w", err)
	}
	return nil
}
