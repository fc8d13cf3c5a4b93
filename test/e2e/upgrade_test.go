package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/taskerhq/tasker/internal/testservices"
)

// lastRelease is the commit of the last release. When there is a new release, set
// its commit here.
const lastRelease = "bd5ba69dddb140031b9f168084c803a78a283782"

// buildRelease builds tasker at a commit of this repository, and returns the path
// of the program.
func buildRelease(t *testing.T, commit string) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("git", "-C", root, "cat-file", "-e", commit+"^{commit}").CombinedOutput(); err != nil {
		t.Fatalf("commit %s, the last release, is not in this clone: git fetch --unshallow gets it: %v\n%s", commit, err, out)
	}
	dir := t.TempDir()
	archive := filepath.Join(dir, "source.tar")
	source := filepath.Join(dir, "source")
	if err := os.Mkdir(source, 0o700); err != nil {
		t.Fatal(err)
	}
	old := filepath.Join(dir, "tasker")
	for _, command := range [][]string{
		{"git", "-C", root, "archive", "--output", archive, commit},
		{"tar", "-x", "-f", archive, "-C", source},
		{"go", "-C", source, "build", "-trimpath", "-o", old, "./cmd/tasker"},
	} {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, out)
		}
	}
	return old
}

// fleet is a system whose processes are of two releases.
type fleet struct {
	*system
	old, new  string // programs
	spool     string
	server    *process
	endpoints map[string]*process
	tasks     int
}

// serve replaces the API.
func (f *fleet) serve(program string) {
	f.t.Helper()
	if f.server != nil {
		if code := f.server.stop(); code != 0 {
			f.t.Fatalf("the API exits with %d:\n%s", code, f.server.output())
		}
	}
	f.program = program
	f.server = f.api()
}

// perform replaces the manager of an endpoint.
func (f *fleet) perform(endpoint, program string) {
	f.t.Helper()
	if p := f.endpoints[endpoint]; p != nil {
		if code := p.stop(); code != 0 {
			f.t.Fatalf("the manager of %s exits with %d:\n%s", endpoint, code, p.output())
		}
	}
	f.program = program
	f.endpoints[endpoint] = f.manager(endpoint)
}

// works posts tasks to all endpoints and to one, small and large, and waits until
// each is done everywhere, once.
func (f *fleet) works(step string) {
	f.t.Helper()
	f.t.Log(step)
	large := strings.Repeat("x", 100_000)
	for _, body := range []string{`"payload":{"a":1}`, `"payload":"` + large + `"`, `"payload":"` + large + `","endpoints":["a"]`} {
		f.tasks++
		name := fmt.Sprint("task", f.tasks)
		f.accept("worker", `{"identifier":"`+name+`",`+body+`}`)
		f.finished("/worker/"+name, step)
	}
	f.noDeadLetters(step)
}

// finished waits until a task is done, at each endpoint in one run.
func (f *fleet) finished(path, step string) {
	f.t.Helper()
	a := f.await(path, "DONE")
	if len(a.TaskResponseList) == 0 {
		f.t.Errorf("%s: %s is done without results", step, path)
	}
	for _, r := range a.TaskResponseList {
		if r.State != "DONE" || r.Attempt != 1 {
			f.t.Errorf("%s: %s: %+v", step, path, r)
		}
	}
}

func (f *fleet) deadLetters() int {
	f.t.Helper()
	var page struct {
		DeadLetters []struct{ Reason string } `json:"dead_letters"`
	}
	code, _, err := f.request(http.MethodGet, "/v1/dead-letters", "", &page)
	if err != nil || code != http.StatusOK {
		f.t.Fatalf("list the dead letters: %d, %v", code, err)
	}
	for _, d := range page.DeadLetters {
		f.t.Logf("dead letter: %s", d.Reason)
	}
	return len(page.DeadLetters)
}

func (f *fleet) noDeadLetters(step string) {
	f.t.Helper()
	if n := f.deadLetters(); n > 0 {
		f.t.Errorf("%s: %d dead letters", step, n)
	}
}

// leaveResult has the manager of endpoint a end with a result in its spool, and
// returns the path of its task.
func (f *fleet) leaveResult(name string) (path string) {
	f.t.Helper()
	f.accept("sleep", `{"identifier":"`+name+`","payload":{"seconds":2},"endpoints":["a"]}`)
	p := f.endpoints["a"]
	f.until("the handler to start", func() bool {
		_, after, found := strings.Cut(p.output(), `"msg":"handler started"`)
		for found && !strings.Contains(strings.SplitN(after, "\n", 2)[0], `"identifier":"`+name+`"`) {
			_, after, found = strings.Cut(after, `"msg":"handler started"`)
		}
		return found
	})
	f.database.Cut()
	f.until("the result to be in the spool", func() bool {
		kept, err := filepath.Glob(filepath.Join(f.spool, "a", "*.json"))
		return err == nil && len(kept) == 1
	})
	p.kill()
	f.endpoints["a"] = nil
	f.database.Restore()
	return "/sleep/" + name
}

// TestUpgradeAndBack runs the last release and this one beside each other, through
// an upgrade and back, as docs/operations.md says. No task is lost, none runs twice,
// and no message is refused.
func TestUpgradeAndBack(t *testing.T) {
	t.Parallel()
	spool := t.TempDir()
	s := newServices(t, testservices.RabbitMQ(t), "TASKER_MANAGER_SPOOL_DIR="+spool, "TASKER_MANAGER_CATCH_UP=2s")
	f := &fleet{system: s, new: program, old: buildRelease(t, lastRelease), spool: spool, endpoints: map[string]*process{}}
	f.program = f.old
	f.initialize()
	f.serve(f.old)
	f.perform("a", f.old)
	f.perform("b", f.old)
	f.works("the last release")

	f.program = f.new
	f.initialize()
	f.works("the new schema under the last release")
	f.perform("b", f.old)
	f.works("a manager of the last release starts on the new schema")
	left := f.leaveResult("old")
	f.serve(f.new)
	f.perform("a", f.new)
	f.finished(left, "a result in the spool of the last release")
	f.works("a new API, one manager of each release")
	f.perform("a", f.old)
	f.works("a new API, managers of the last release")
	f.perform("a", f.new)
	f.perform("b", f.new)
	f.works("all new")

	left = f.leaveResult("new")
	f.serve(f.old)
	f.perform("a", f.old)
	f.finished(left, "a result in the spool of the new release")
	f.works("the API of the last release, one manager of each")
	f.perform("a", f.new)
	f.works("the API of the last release, new managers")
	f.serve(f.new)
	f.works("all new again")

	// Messages of the new version wait for an endpoint that goes back. They are
	// dead letters there; it finds the tasks in the database.
	if code := f.endpoints["b"].stop(); code != 0 {
		t.Fatalf("the manager exits with %d", code)
	}
	f.endpoints["b"] = nil
	f.accept("worker", `{"identifier":"waits"}`)
	f.awaitFor("/worker/waits", "be done at a", func(a answer) bool { return a.state("a") == "DONE" })
	f.perform("b", f.old)
	f.finished("/worker/waits", "back")
	f.serve(f.old)
	f.perform("a", f.old)
	before := f.deadLetters()
	f.accept("worker", `{"identifier":"end"}`)
	f.finished("/worker/end", "back to the last release")
	if n := f.deadLetters(); n != before || n > 1 {
		t.Errorf("%d dead letters, before %d: want at most the one that waited", n, before)
	}
}
