package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/internal/testservices"
	"github.com/taskerhq/tasker/test/internal/daemons"
	"github.com/taskerhq/tasker/test/internal/noop"
	"github.com/taskerhq/tasker/test/internal/usage"
)

// fleet is everything that runs.
type fleet struct {
	ctx      context.Context //nolint:containedctx // canceled, with the cause, when a process ends
	opts     options
	progress func(string, ...any)
	site     *daemons.Site
	db       *sql.DB
	group    *daemons.Group
	parts    map[part][]int // process IDs
	names    []string       // of the endpoints with a process of their own
	servers  usage.Servers
	inMemory string // a directory in memory for the spools of simulators; "" if there is none

	mu        sync.Mutex
	consuming map[string]int // for each simulator
	changed   chan struct{}  // closed at the next change
}

// part names the processes that are measured together.
type part string

const (
	partAPI       part = "api"
	partReal      part = "managers"
	partSimulated part = "simulators"
	partMariaDB   part = "mariadb"
	partRabbitMQ  part = "rabbitmq"
)

var parts = []part{partAPI, partReal, partSimulated, partMariaDB, partRabbitMQ}

// withFleet creates a database and a virtual host, calls do, and removes everything.
func withFleet(ctx context.Context, opts options, progress func(string, ...any), do func(*fleet) error) (err error) {
	mysql, drop, err := testservices.CreateDatabase(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, drop()) }()
	rabbit, drop2, err := testservices.CreateVirtualHost(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, drop2()) }()
	if err := daemons.Migrate(ctx, mysql); err != nil {
		return err
	}
	db, err := daemons.OpenDB(mysql, 2)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	group, err := daemons.NewGroup(opts.dir, fail)
	if err != nil {
		return err
	}
	f := &fleet{
		ctx: ctx, opts: opts, progress: progress, db: db, group: group,
		site:  &daemons.Site{MySQL: mysql, RabbitMQ: rabbit, Mode: opts.mode, Slots: opts.slots},
		parts: map[part][]int{}, consuming: map[string]int{}, changed: make(chan struct{}), servers: usage.FindServers(),
	}
	// Real endpoints have a disk each; simulated ones would share one.
	if f.inMemory, err = os.MkdirTemp("/dev/shm", "tasker-fleet-"); err == nil {
		defer func() { err = errors.Join(err, os.RemoveAll(f.inMemory)) }()
	}
	f.parts[partMariaDB], f.parts[partRabbitMQ] = []int{f.servers.MariaDB}, []int{f.servers.RabbitMQ}
	defer func() {
		fail(context.Canceled)
		progress("stopping")
		// A process that does not stop in time is killed, which is no failure of the run.
		if stopped := group.Stop(20 * time.Second); stopped != nil {
			progress("%v", stopped)
		}
	}()
	return do(f)
}

// checkFiles returns an error if a process may not open enough files. Go raises the soft
// limit by itself.
func checkFiles(opts options) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("limit of open files: %w", err)
	}
	need := 1000
	if opts.mode == config.ModeGateway {
		// The managers keep a connection or two.
		need += max(opts.endpoints*3/2, 4*min(opts.perSimulator, opts.endpoints))
	}
	if limit.Max < uint64(need) {
		return fmt.Errorf("the limit of open files is %d, but %d are needed: raise it with ulimit -Hn, or as root", limit.Max, need)
	}
	return nil
}

// issueTokens prepares the endpoints for the gateway.
func (f *fleet) issueTokens() error {
	names := make([]string, f.opts.endpoints)
	for i := range names {
		names[i] = endpointName(i)
	}
	return f.site.IssueTokens(f.ctx, f.group, names)
}

// start starts all processes at once, as after a power cut.
func (f *fleet) start() error {
	for i := range f.opts.apis {
		environ, err := f.site.AddAPI()
		if err != nil {
			return err
		}
		err = f.add(partAPI, daemons.Command{
			Name: fmt.Sprintf("api%d", i+1), Args: []string{noop.Command, "api"}, Environ: environ,
		})
		if err != nil {
			return err
		}
	}
	for i := range f.opts.real {
		name := endpointName(i)
		f.names = append(f.names, name)
		err := f.add(partReal, daemons.Command{
			Name: name, Args: []string{noop.Command, "manager", "--endpoint", name}, Environ: f.site.Manager(i),
		})
		if err != nil {
			return err
		}
	}
	for first := f.opts.real; first < f.opts.endpoints; first += f.opts.perSimulator {
		last := min(first+f.opts.perSimulator, f.opts.endpoints)
		name := fmt.Sprintf("simulator%05d", first)
		environ := f.site.Manager(first / f.opts.perSimulator)
		if f.inMemory != "" {
			environ = append(environ, "TASKER_MANAGER_SPOOL_DIR="+filepath.Join(f.inMemory, name))
		}
		err := f.add(partSimulated, daemons.Command{
			Name: name, Environ: environ, Stdout: &reports{fleet: f, name: name},
			Args: []string{simulateCommand, strconv.Itoa(first), strconv.Itoa(last), strconv.Itoa(f.opts.perManager)},
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *fleet) add(p part, c daemons.Command) error {
	if f.opts.profile {
		c.Environ = append(c.Environ, noop.EnvProfile+"="+filepath.Join(f.opts.dir, c.Name+".pprof"))
	}
	pid, err := f.group.Start(c)
	if err == nil {
		f.parts[p] = append(f.parts[p], pid)
	}
	return err
}

// reports reads what a simulator says.
type reports struct {
	fleet *fleet
	name  string
	rest  []byte
}

func (r *reports) Write(p []byte) (int, error) {
	r.rest = append(r.rest, p...)
	for {
		line, rest, ok := bytes.Cut(r.rest, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		r.rest = rest
		var s status
		if err := json.Unmarshal(line, &s); err != nil {
			return 0, fmt.Errorf("%s said %q: %w", r.name, line, err)
		}
		r.fleet.mu.Lock()
		r.fleet.consuming[r.name] = s.Consuming
		close(r.fleet.changed)
		r.fleet.changed = make(chan struct{})
		r.fleet.mu.Unlock()
	}
}

// simulated returns the number of simulated endpoints that consume, and a channel that
// is closed when it changes.
func (f *fleet) simulated() (n int, changed <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.consuming {
		n += c
	}
	return n, f.changed
}

// awaitConsuming waits until all endpoints consume, and says how many do each few
// seconds.
func (f *fleet) awaitConsuming(ctx context.Context) error {
	want := f.opts.endpoints - f.opts.real
	ticker := time.NewTicker(5 * time.Second)
	defer ticker.Stop()
	for {
		n, changed := f.simulated()
		if n >= want {
			return daemons.AwaitConsumers(ctx, f.site.RabbitMQ, noop.Type, f.names)
		}
		select {
		case <-changed:
		case <-ticker.C:
			f.progress("%d of %d simulated endpoints consume", n, want)
		case <-ctx.Done():
			return fmt.Errorf("%d of %d simulated endpoints consume: %w", n, want, context.Cause(ctx))
		}
	}
}

// used returns what each part has used.
func (f *fleet) used() (map[part]usage.Process, error) {
	all := map[part]usage.Process{}
	for p, pids := range f.parts {
		used, err := usage.Of(pids...)
		if err != nil {
			return nil, err
		}
		all[p] = used
	}
	return all, nil
}
