// Package spool keeps on an endpoint's disk what its database cannot take for
// now: the ends of attempts, so that what a handler returned outlives the
// manager that waits for the database. Each end is a file of its own, synced
// with its directory before it counts as kept; the files of an endpoint sort
// in the order in which they were kept.
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
)

// version is that of the files' form. Fields may be added within it: a tasker
// that does not know them ignores them.
const version = 1

// errLater is why a file is left where it is: a later tasker wrote it, which
// will read it, or a later one still, when this one was upgraded again.
var errLater = errors.New("a later tasker wrote it: it is kept for one that can read it")

const (
	suffixKept       = ".json"
	suffixUnreadable = ".unreadable"
	suffixPartial    = ".partial" // being written when the process or the machine ended
)

// Spool is a directory. All methods are safe for concurrent use; of two
// processes each must use endpoints of its own.
type Spool struct {
	dir  string
	made sync.Map // the endpoints whose directory is on disk
}

// Entry is the end of an attempt that is kept. Its payload is on disk only,
// and read by [Spool.Load]: a spool may hold more than a process should.
type Entry struct {
	ledger.End
	path string
}

// file is the form of an entry on disk.
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

// Open makes the directory, readable by its owner only, where it does not
// exist, and sees that it can be written to.
func Open(dir string) (*Spool, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the spool's directory, manager.spool_dir: %w", err)
	}
	probe, err := os.CreateTemp(dir, "probe-*"+suffixPartial)
	if err != nil {
		return nil, fmt.Errorf("the spool's directory, manager.spool_dir, cannot be written to: %w", err)
	}
	if err := errors.Join(probe.Close(), os.Remove(probe.Name()), syncDir(dir), syncDir(filepath.Dir(dir))); err != nil {
		return nil, fmt.Errorf("the spool's directory, manager.spool_dir, cannot be written to: %w", err)
	}
	return &Spool{dir: dir}, nil
}

// Keep stores the end of an attempt. When it returns without an error, the
// end survives a crash of the process and of the machine.
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
		return Entry{}, fmt.Errorf("encode the end of an attempt: %w", err)
	}
	dir, err := s.endpointDir(f.Endpoint)
	if err != nil {
		return Entry{}, err
	}
	name := filepath.Join(dir, ulid.Make().String())
	if err = write(name+suffixPartial, encoded); err == nil {
		err = os.Rename(name+suffixPartial, name+suffixKept)
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		_ = os.Remove(name + suffixPartial)
		return Entry{}, fmt.Errorf("keep the end of an attempt: %w", err)
	}
	return entry(f, name+suffixKept), nil
}

func entry(f ledger.End, path string) Entry {
	f.Payload = nil
	return Entry{f, path}
}

// endpointDir makes the directory of an endpoint.
func (s *Spool) endpointDir(endpoint string) (string, error) {
	dir := filepath.Join(s.dir, endpoint)
	if _, ok := s.made.Load(endpoint); ok {
		return dir, nil
	}
	err := os.Mkdir(dir, 0o700)
	if err == nil || errors.Is(err, fs.ErrExist) { // whoever made it may not have synced it
		err = syncDir(s.dir)
	}
	if err != nil {
		return "", fmt.Errorf("make the spool's directory of endpoint %s: %w", endpoint, err)
	}
	s.made.Store(endpoint, true)
	return dir, nil
}

func write(name string, content []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Entries gives what is kept for an endpoint, in the order in which it was
// kept. A file that cannot be read is put aside, under another name, and is
// part of the error, which does not concern the entries that are given.
func (s *Spool) Entries(endpoint string) ([]Entry, error) {
	dir := filepath.Join(s.dir, endpoint)
	found, err := os.ReadDir(dir) // sorted by name
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the spool of endpoint %s: %w", endpoint, err)
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
			unreadable = append(unreadable, fmt.Errorf("%s cannot be read: %w", path, err))
			continue
		}
		if err != nil {
			aside := strings.TrimSuffix(path, suffixKept) + suffixUnreadable
			unreadable = append(unreadable, fmt.Errorf("%s cannot be read and becomes %s: %w", path, filepath.Base(aside), err), os.Rename(path, aside))
			continue
		}
		entries = append(entries, entry(finish, path))
	}
	return entries, errors.Join(unreadable...)
}

// Load returns the whole end of an attempt that is kept.
func (s *Spool) Load(e Entry) (ledger.End, error) {
	finish, err := read(e.path, e.Endpoint)
	if err != nil {
		return ledger.End{}, fmt.Errorf("read %s of the spool: %w", filepath.Base(e.path), err)
	}
	return finish, nil
}

func read(path, endpoint string) (ledger.End, error) {
	encoded, err := os.ReadFile(path)
	if err != nil {
		return ledger.End{}, err
	}
	// The version comes first: a later form may have other types.
	var head struct {
		Version int `json:"v"`
	}
	if err := json.Unmarshal(encoded, &head); err == nil && head.Version > version {
		return ledger.End{}, fmt.Errorf("it has version %d, and this tasker reads version %d: %w", head.Version, version, errLater)
	}
	var content file
	if err := json.Unmarshal(encoded, &content); err != nil {
		return ledger.End{}, err
	}
	if content.Version != version {
		return ledger.End{}, fmt.Errorf("it has version %d, and this tasker reads version %d", content.Version, version)
	}
	if content.Endpoint != endpoint || content.TaskID < 1 || content.Attempt < 1 || !content.State.Valid() {
		return ledger.End{}, fmt.Errorf("it is not the end of an attempt of endpoint %s", endpoint)
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

// Remove forgets an entry that is stored elsewhere by now. A crash right
// after it may bring the entry back.
func (s *Spool) Remove(e Entry) error {
	if err := os.Remove(e.path); err != nil {
		return fmt.Errorf("remove from the spool: %w", err)
	}
	return nil
}
