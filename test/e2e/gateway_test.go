package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker/internal/testcerts"
)

// guests is a system whose managers work over two gateways: that of the API, in clear
// text on the loopback address, and one of its own, with TLS.
type guests struct {
	*system
	dir      string // of the tokens
	managers []string
	alone    []string
	command  []string // the environment of commands that use the API
}

func newGuests(t *testing.T, env ...string) *guests {
	t.Helper()
	f := &guests{system: newSystem(t, env...), dir: t.TempDir()}
	ofAPI, ofAlone := "127.0.0.1:"+freePort(t), "127.0.0.1:"+freePort(t)
	ca := testcerts.New(t)
	certFile, keyFile := ca.Issue(t, "gateway", time.Now().Add(1000*time.Hour))
	f.command = append([]string{"TASKER_API_URL=" + f.base}, f.env...)
	f.alone = append([]string{
		"TASKER_GATEWAY_LISTEN=" + ofAlone, "TASKER_GATEWAY_TLS_CERT_FILE=" + certFile, "TASKER_GATEWAY_TLS_KEY_FILE=" + keyFile,
	}, f.env...)
	f.env = append([]string{"TASKER_GATEWAY_LISTEN=" + ofAPI}, f.env...)
	// There is nothing of the database in what managers have.
	file := "task_types: [worker]\nmanager:\n  mode: gateway\n  gateway:\n    addresses: ['http://" + ofAPI + "', 'https://" + ofAlone +
		"']\n    token_file: '{endpoint}.token'\n    ca_file: " + ca.File + "\n"
	if err := os.WriteFile(filepath.Join(f.dir, "fleet.config.yaml"), []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	f.managers = []string{"TASKER_MODE=fleet", "TASKER_CONFIG=" + f.dir}
	for _, v := range f.env {
		if strings.HasPrefix(v, "TASKER_TASK_TYPES=") || strings.HasPrefix(v, "TASKER_MANAGER_MESSAGE_QUEUE_") {
			f.managers = append(f.managers, v)
		}
	}
	return f
}

// issue has a token of an endpoint issued, and puts it where its manager reads it.
func (f *guests) issue(endpoint string, args ...string) {
	f.t.Helper()
	code, output := run(f.t, f.command, append([]string{"endpoints"}, append(args, endpoint, "--output", "json")...)...)
	var issued struct{ Token string }
	if err := json.Unmarshal([]byte(output), &issued); code != 0 || err != nil {
		f.t.Fatalf("endpoints %v: exit %d, %v: %s", args, code, err, output)
	}
	f.put(endpoint, issued.Token)
}

func (f *guests) put(endpoint, token string) {
	f.t.Helper()
	path := filepath.Join(f.dir, endpoint+".token")
	if err := os.WriteFile(path+".new", []byte(token+"\n"), 0o600); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		f.t.Fatal(err)
	}
}

// over starts a manager over the gateways, and waits until it is registered.
func (f *guests) over(endpoint string) *process {
	f.t.Helper()
	s := *f.system
	s.env = f.managers
	return s.manager(endpoint)
}

// Two managers without a key of the database perform tasks while gateways and
// managers are killed. A token of another endpoint, and of a removed one, lets
// nobody in.
func TestGateway(t *testing.T) {
	t.Parallel()
	f := newGuests(t)
	api := f.api()
	alone := start(t, f.alone, "gateway")
	f.issue("console1", "add")
	f.issue("console2", "add")
	console1, console2 := f.over("console1"), f.over("console2")
	f.accept("worker", `{"identifier":"one"}`)
	if a := f.await("/worker/one", "DONE"); a.state("console1") != "DONE" || a.state("console2") != "DONE" {
		t.Errorf("%+v", a)
	}
	if strings.Contains(console1.output(), "manager.db") {
		t.Errorf("the manager speaks of the database:\n%s", console1.output())
	}
	if strings.Contains(api.output()+alone.output()+console1.output(), "tasker_ep_") {
		t.Error("a log has a token")
	}

	// A gateway is killed while handlers run: their ends go to the other one. A row is
	// RUNNING before its manager knows: with the gateways gone by then, it would not
	// call the handler before one is back.
	logged := func(p *process, event, identifier string) bool {
		for line := range strings.Lines(p.output()) {
			if strings.Contains(line, `"msg":"`+event+`"`) && strings.Contains(line, `"`+identifier+`"`) {
				return true
			}
		}
		return false
	}
	running := func(identifier string, seconds int) {
		t.Helper()
		f.accept("sleep", fmt.Sprintf(`{"identifier":"%s","payload":{"seconds":%d}}`, identifier, seconds))
		f.until("both handlers to start", func() bool {
			return logged(console1, "handler started", identifier) && logged(console2, "handler started", identifier)
		})
	}
	once := func(a answer) {
		t.Helper()
		for _, r := range a.TaskResponseList {
			if r.Attempt != 1 || r.State != "DONE" {
				t.Errorf("%+v", r)
			}
		}
	}
	running("api-killed", 3)
	api.kill()
	api = f.api()
	once(f.await("/sleep/api-killed", "DONE"))
	running("gateway-killed", 3)
	alone.kill()
	once(f.await("/sleep/gateway-killed", "DONE"))
	// Both: the ends wait in the spools.
	running("both-killed", 2)
	api.kill()
	f.until("both handlers to end", func() bool {
		return logged(console1, "handler ended", "both-killed") && logged(console2, "handler ended", "both-killed")
	})
	api = f.api()
	once(f.await("/sleep/both-killed", "DONE"))
	alone = start(t, f.alone, "gateway")

	// A manager is killed: its attempt was interrupted, and the other's was not.
	running("manager-killed", 5)
	console1.kill()
	console1 = f.over("console1")
	a := f.await("/sleep/manager-killed", "FAILED")
	if a.state("console1") != "FAILED" || a.state("console2") != "DONE" {
		t.Errorf("%+v", a)
	}

	// A manager whose token was replaced, without an overlap, takes the other one.
	f.issue("console1", "rotate", "--overlap", "0")
	f.accept("worker", `{"identifier":"rotated"}`)
	f.await("/worker/rotated", "DONE")

	if code := console2.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	token, err := os.ReadFile(filepath.Join(f.dir, "console2.token"))
	if err != nil {
		t.Fatal(err)
	}
	f.put("console3", strings.TrimSpace(string(token)))
	if code, output := run(t, f.managers, "manager", "--endpoint", "console3"); code != 1 || !strings.Contains(output, "console3") ||
		strings.Contains(output, "tasker_ep_") {
		t.Errorf("another's token: exit %d:\n%s", code, output)
	}
	if code, output := run(t, f.command, "endpoints", "remove", "console2"); code != 0 {
		t.Fatalf("exit %d: %s", code, output)
	}
	f.until("the removed endpoint to be refused", func() bool {
		p := start(t, f.managers, "manager", "--endpoint", "console2")
		defer p.kill()
		// If it is refused only after its first request it waits for another token.
		f.until("the manager to be refused, or let in", func() bool {
			return strings.Contains(p.output(), "unknown token") || strings.Contains(p.output(), `"msg":"serving"`)
		})
		return strings.Contains(p.output(), "unknown token")
	})
	f.accept("worker", `{"identifier":"last","endpoints":["console1"]}`)
	f.await("/worker/last", "DONE")
	for _, p := range []*process{console1, console2} {
		if strings.Contains(p.output(), "waiting for the database") {
			t.Errorf("%s waited for something else than the gateway", p.name)
		}
	}
	for _, p := range []*process{console1, alone, api} {
		if code := p.stop(); code != 0 {
			t.Errorf("%s: exit code %d", p.name, code)
		}
	}
}

// A manager starts without its gateway, and works when that comes. tasker gateway
// answers probes.
func TestGatewayComesLater(t *testing.T) {
	t.Parallel()
	f := newGuests(t)
	api := f.api()
	f.issue("console1", "add")
	api.kill()
	p := start(t, f.managers, "manager", "--endpoint", "console1")
	until(t, "the manager to wait", func() bool { return strings.Contains(p.output(), "waiting for the gateway") })
	f.api()
	f.accept("worker", `{"identifier":"one","endpoints":["console1"]}`)
	f.await("/worker/one", "DONE")

	listen := "127.0.0.1:" + freePort(t)
	start(t, append([]string{"TASKER_GATEWAY_LISTEN=" + listen}, f.command...), "gateway")
	until(t, "the gateway to be ready", func() bool {
		code, _, err := request(t, "http://"+listen, http.MethodGet, "/readyz", "", nil)
		return err == nil && code == http.StatusOK
	})
}
