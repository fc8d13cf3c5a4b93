package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/taskerhq/tasker/internal/testnodes"
	"github.com/taskerhq/tasker/test/chaos/work"
)

// The system's timeouts, short so that they occur often in a run.
const (
	heartbeat = 300 * time.Millisecond
	lease     = 1500 * time.Millisecond
	lostAfter = 3 * time.Second
)

const (
	apiCount     = 2
	managerCount = 10
)

// programs are the paths of the programs that the system runs.
type programs struct{ tasker, endpoint string }

// build builds the programs in a directory, optionally with the race detector.
func build(ctx context.Context, dir string, race bool) (programs, error) {
	p := programs{filepath.Join(dir, "tasker"), filepath.Join(dir, "endpoint")}
	for path, pkg := range map[string]string{
		p.tasker:   "github.com/taskerhq/tasker/cmd/tasker",
		p.endpoint: "github.com/taskerhq/tasker/test/chaos/endpoint",
	} {
		out, err := exec.CommandContext(ctx, "go", "build", fmt.Sprintf("-race=%t", race), "-o", path, pkg).CombinedOutput()
		if err != nil {
			return p, fmt.Errorf("build %s: %w\n%s", pkg, err, out)
		}
	}
	return p, nil
}

// system is the system under test.
type system struct {
	dir      string
	programs programs
	database *testnodes.MariaDB
	broker   *testnodes.RabbitMQ
	links    *links
	daemons  []*daemon // APIs first
	bases    []string  // the addresses of the APIs
}

func names(prefix string, first, count int) []string {
	list := make([]string, count)
	for i := range list {
		list[i] = fmt.Sprint(prefix, first+i)
	}
	return list
}

func apis() []string     { return names("api", 1, apiCount) }
func managers() []string { return names("console", 0, managerCount) }

// newSystem starts servers and processes with their files in dir, and waits
// until all endpoints are registered. Call close even after an error.
func newSystem(ctx context.Context, dir string, p programs) (*system, error) {
	s := &system{dir: dir, programs: p, links: newLinks()}
	for _, name := range []string{"database", "broker", "logs", "journal"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			return s, err
		}
	}
	var err error
	if s.database, err = testnodes.StartMariaDB(ctx, filepath.Join(dir, "database")); err != nil {
		return s, err
	}
	if s.broker, err = testnodes.StartRabbitMQ(ctx, filepath.Join(dir, "broker"), testnodes.RabbitMQOptions{}); err != nil {
		return s, err
	}
	for _, name := range apis() {
		if err := s.addAPI(name); err != nil {
			return s, err
		}
	}
	for i, name := range managers() {
		machine := name
		if i < 2 { // these share a machine
			machine = "shared"
		}
		if err := s.addManager(name, machine); err != nil {
			return s, err
		}
	}
	if err := s.initialize(ctx); err != nil {
		return s, err
	}
	for _, d := range s.daemons {
		if err := d.start(); err != nil {
			return s, err
		}
	}
	return s, s.awaitRegistered(ctx)
}

func (s *system) addAPI(name string) error {
	port, err := testnodes.FreePort()
	if err != nil {
		return err
	}
	s.bases = append(s.bases, fmt.Sprintf("http://127.0.0.1:%d", port))
	return s.add(name, name, false, []string{s.programs.tasker, "api"}, fmt.Sprintf("TASKER_API_PORT=%d", port))
}

func (s *system) addManager(name, machine string) error {
	return s.add(name, machine, true, []string{s.programs.endpoint, "manager", "--endpoint", name},
		work.JournalVariable+"="+filepath.Join(s.dir, "journal"))
}

// add adds a daemon with its own links. Its machine is a directory.
func (s *system) add(name, machine string, manager bool, args []string, env ...string) error {
	home, err := s.machine(machine)
	if err != nil {
		return err
	}
	mysql, amqp := s.database.URI()+"tasker", s.broker.URI()
	for server, uri := range map[string]*string{database: &mysql, broker: &amqp} {
		address := s.broker.Addr()
		if server == database {
			address = s.database.Addr()
		}
		listen, err := s.links.add(name, server, address)
		if err != nil {
			return err
		}
		*uri = strings.Replace(*uri, address, listen, 1)
	}
	env = append(env, "PATH="+os.Getenv("PATH"), "HOME="+home, "TMPDIR="+home, "TASKER_CONFIG="+home, "TASKER_MODE=chaos",
		"TASKER_MANAGER_DB_URI="+mysql, "TASKER_MANAGER_MESSAGE_QUEUE_URI="+amqp)
	s.daemons = append(s.daemons, &daemon{
		name: name, manager: manager, log: filepath.Join(s.dir, "logs", name+".log"),
		command: func() *exec.Cmd {
			cmd := exec.Command(args[0], args[1:]...)
			cmd.Dir, cmd.Env = home, env
			return cmd
		},
	})
	return nil
}

// machine creates the directory of a machine with its configuration file.
func (s *system) machine(name string) (string, error) {
	home := filepath.Join(s.dir, "machines", name)
	if err := os.MkdirAll(filepath.Join(home, "spool"), 0o700); err != nil {
		return "", err
	}
	content, err := yaml.Marshal(map[string]any{
		"task_types": work.Types(),
		"api": map[string]any{
			"wait_for_endpoints_timeout": "5s", "publish_timeout": "1s", "shutdown_timeout": "10s",
		},
		"manager": map[string]any{
			"heartbeat": heartbeat.String(), "lease": lease.String(), "shutdown_timeout": "10s",
			"spool_dir": filepath.Join(home, "spool"), "catch_up": "2s",
			"message_queue": map[string]any{"heartbeat": "2s"},
		},
		"reconcile": map[string]any{"lost_after": lostAfter.String()},
		"log":       map[string]any{"format": "json"},
	})
	if err != nil {
		return "", err
	}
	return home, os.WriteFile(filepath.Join(home, "chaos.config.yaml"), content, 0o600)
}

// initialize creates the database, bypassing the links.
func (s *system) initialize(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, s.programs.tasker, "initialize", "--database")
	cmd.Dir = filepath.Join(s.dir, "machines", "shared")
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "TASKER_CONFIG=" + cmd.Dir, "TASKER_MODE=chaos",
		"TASKER_MANAGER_DB_URI=" + s.database.URI() + "tasker", "TASKER_MANAGER_MESSAGE_QUEUE_URI=" + s.broker.URI(),
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("tasker initialize: %w\n%s", err, out)
	}
	return nil
}

// awaitRegistered waits until every endpoint is registered, so that tasks for
// all expect them all.
func (s *system) awaitRegistered(ctx context.Context) error {
	for {
		var list struct {
			Endpoints []struct {
				Name  string
				Alive bool
			}
		}
		err := get(ctx, s.bases[0]+"/v1/endpoints", &list)
		alive := 0
		for _, e := range list.Endpoints {
			if e.Alive {
				alive++
			}
		}
		if err == nil && alive == managerCount {
			return nil
		}
		for _, d := range s.daemons {
			if !d.current().Alive() {
				return fmt.Errorf("%s ended during startup: see its log %s", d.name, d.log)
			}
		}
		if !sleep(ctx, 50*time.Millisecond) {
			return fmt.Errorf("%d of %d endpoints registered: %w", alive, managerCount, errors.Join(err, ctx.Err()))
		}
	}
}

// daemon finds a daemon by its name.
func (s *system) daemon(name string) *daemon {
	return s.daemons[slices.IndexFunc(s.daemons, func(d *daemon) bool { return d.name == name })]
}

// close kills all processes and servers.
func (s *system) close() {
	for _, d := range s.daemons {
		if p := d.current(); p != nil {
			p.Kill()
		}
	}
	s.links.close()
	if s.broker != nil {
		s.broker.Close()
	}
	if s.database != nil {
		s.database.Kill()
	}
}

// requestTimeout is how long a client waits for an answer.
const requestTimeout = 5 * time.Second

// get decodes the answer of a GET, which must be 200.
func get(ctx context.Context, url string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", url, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}
