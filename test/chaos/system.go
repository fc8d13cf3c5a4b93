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

	"github.com/taskerhq/tasker/config"
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
	gateways []string  // and of their gateways
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
	for _, name := range []string{"database", "broker", "logs", "journal", "tokens"} {
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
		if err := s.addManager(name, machine, i%2 == 1); err != nil {
			return s, err
		}
	}
	if err := s.initialize(ctx); err != nil {
		return s, err
	}
	if err := s.start(false); err != nil {
		return s, err
	}
	if err := s.issueTokens(ctx); err != nil {
		return s, err
	}
	if err := s.start(true); err != nil {
		return s, err
	}
	return s, s.awaitRegistered(ctx)
}

// start starts the managers, or the APIs.
func (s *system) start(managers bool) error {
	for _, d := range s.daemons {
		if d.manager != managers {
			continue
		}
		if err := d.start(); err != nil {
			return err
		}
	}
	return nil
}

func (s *system) addAPI(name string) error {
	port, err := testnodes.FreePort()
	if err != nil {
		return err
	}
	gateway, err := testnodes.FreePort()
	if err != nil {
		return err
	}
	listen := fmt.Sprintf("127.0.0.1:%d", gateway)
	s.bases, s.gateways = append(s.bases, fmt.Sprintf("http://127.0.0.1:%d", port)), append(s.gateways, listen)
	uri, err := s.linkDatabase(name)
	if err != nil {
		return err
	}
	return s.add(name, name, false, []string{s.programs.tasker, "api"}, "TASKER_MANAGER_DB_URI="+uri,
		fmt.Sprintf("TASKER_API_PORT=%d", port), "TASKER_GATEWAY_LISTEN="+listen)
}

// addManager adds a manager that stores at the gateways, or in the database.
func (s *system) addManager(name, machine string, gateway bool) error {
	env := []string{work.JournalVariable + "=" + filepath.Join(s.dir, "journal")}
	if gateway {
		addresses := make([]string, len(s.gateways))
		for i, address := range s.gateways {
			listen, err := s.links.add(name, database, address)
			if err != nil {
				return err
			}
			addresses[i] = "http://" + listen
		}
		env = append(env, "TASKER_MANAGER_MODE="+config.ModeGateway,
			"TASKER_MANAGER_GATEWAY_ADDRESSES="+strings.Join(addresses, ","),
			"TASKER_MANAGER_GATEWAY_TOKEN_FILE="+s.tokenFile(name))
	} else {
		uri, err := s.linkDatabase(name)
		if err != nil {
			return err
		}
		env = append(env, "TASKER_MANAGER_DB_URI="+uri)
	}
	return s.add(name, machine, true, []string{s.programs.endpoint, "manager", "--endpoint", name}, env...)
}

// linkDatabase adds the link of a process to the database and returns the URI.
func (s *system) linkDatabase(process string) (uri string, err error) {
	address := s.database.Addr()
	listen, err := s.links.add(process, database, address)
	return strings.Replace(s.database.URI()+"tasker", address, listen, 1), err
}

// add adds a daemon with a link to the broker. Its machine is a directory.
func (s *system) add(name, machine string, manager bool, args []string, env ...string) error {
	home, err := s.machine(machine)
	if err != nil {
		return err
	}
	address := s.broker.Addr()
	listen, err := s.links.add(name, broker, address)
	if err != nil {
		return err
	}
	env = append(env, "PATH="+os.Getenv("PATH"), "HOME="+home, "TMPDIR="+home, "TASKER_CONFIG="+home, "TASKER_MODE=chaos",
		"TASKER_MANAGER_MESSAGE_QUEUE_URI="+strings.Replace(s.broker.URI(), address, listen, 1))
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

func (s *system) tokenFile(endpoint string) string { return filepath.Join(s.dir, "tokens", endpoint) }

// issueTokens has the first API issue a token for each endpoint, as soon as it
// answers.
func (s *system) issueTokens(ctx context.Context) error {
	for _, name := range managers() {
		token, err := s.issueToken(ctx, name)
		for err != nil && sleep(ctx, 50*time.Millisecond) {
			token, err = s.issueToken(ctx, name)
		}
		if err != nil {
			return fmt.Errorf("issue a token: %w", err)
		}
		if err := os.WriteFile(s.tokenFile(name), []byte(token), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (s *system) issueToken(ctx context.Context, endpoint string) (string, error) {
	var answer struct{ Token string }
	err := do(ctx, http.MethodPost, s.bases[0]+"/v1/endpoints/"+endpoint+"/token", http.StatusCreated, &answer)
	return answer.Token, err
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
	return do(ctx, http.MethodGet, url, http.StatusOK, into)
}

// do sends a request without a body and decodes the answer, which must have a
// status.
func do(ctx context.Context, method, url string, status int, into any) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != status {
		return fmt.Errorf("%s %s: %s", method, url, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}
