package store_test

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/testnodes"
)

// ownServer starts a MariaDB for the test, with a migrated database. do runs
// statements as its administrator.
func ownServer(t *testing.T, options ...string) (f fixture, do func(statements ...string)) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a server")
	}
	if _, err := exec.LookPath("mariadbd"); err != nil {
		t.Skip("mariadbd is not installed")
	}
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	server, err := testnodes.StartMariaDB(ctx, t.TempDir(), options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Kill)
	admin := plain(t, server.URI())
	do = func(statements ...string) {
		t.Helper()
		for _, statement := range statements {
			if _, err := admin.ExecContext(ctx, statement); err != nil {
				t.Fatalf("%s: %v", statement, err)
			}
		}
	}
	do("CREATE DATABASE tasker CHARACTER SET latin1")
	f = open(t, server.URI()+"tasker")
	if _, _, err := f.Schema.Migrate(ctx); err != nil {
		t.Fatal(err)
	}
	return f, do
}

// TestServerBeginsSessionsOtherwise: an administrator's defaults for new
// sessions must not lose accepted tasks or truncate results.
func TestServerBeginsSessionsOtherwise(t *testing.T) {
	f, do := ownServer(t, "skip_character_set_client_handshake", "character_set_server = latin1")
	for _, value := range []string{
		"autocommit = 0", "completion_type = 1", "sql_select_limit = 3", "sql_mode = ''", "tx_isolation = 'SERIALIZABLE'", "tx_read_only = 1",
		"group_concat_max_len = 16", "max_sort_length = 64", "sql_safe_updates = 1", "sql_auto_is_null = 1", "foreign_key_checks = 0",
		"unique_checks = 0", "max_join_size = 1", "time_zone = '+05:00'", "max_statement_time = 30",
	} {
		do("SET GLOBAL " + value)
	}
	f = open(t, f.uri) // new sessions
	endpoints := []string{"e1", "e2", "e3", "e4", "e5"}
	f.acquire(t, managerA, endpoints...)
	listed, all := f.send(t, "listed", endpoints...), f.send(t, "all")
	for _, task := range []tasker.Task{listed, all} {
		for _, e := range endpoints {
			f.receive(t, managerA, incoming(task, e, tasker.Running))
		}
		done := finish(task, "e1", 1, tasker.ResultDone)
		done.Payload = []byte(`"grün €"`)
		f.finish(t, done)
	}
	// Another session sees all of it.
	g := open(t, f.uri)
	for _, task := range []tasker.Task{listed, all} {
		found, err := g.Tasks.FindTask(t.Context(), "worker", task.Identifier)
		if err != nil || !slices.Equal(found.Expected, endpoints) {
			t.Errorf("task %s expects %v, %v", task.Identifier, found.Expected, err)
		}
		results, err := g.Results.TaskResults(t.Context(), task.ID)
		if err != nil || len(results) != len(endpoints) || string(results[0].Payload) != `"grün €"` {
			t.Errorf("task %s has the results %+v, %v", task.Identifier, results, err)
		}
	}
	if list, err := g.Endpoints.ListEndpoints(t.Context(), tasker.EndpointQuery{Limit: 10}); err != nil || len(list) != len(endpoints) {
		t.Errorf("%d endpoints, %v", len(list), err)
	}
	server, err := g.Inspection.DescribeServer(t.Context())
	if err != nil || !slices.Contains(server.Otherwise, `autocommit is "OFF" instead of "ON"`) {
		t.Errorf("the server is described as %+v, %v", server, err)
	}
}

// TestPackets: values too large for the server are always reported as such, and
// all others can be read again.
func TestPackets(t *testing.T) {
	const mib = 1 << 20
	f, do := ownServer(t)
	do(fmt.Sprintf("SET GLOBAL max_allowed_packet = %d", 2*mib))
	f = open(t, f.uri)
	f.acquire(t, managerA, "a")
	stored, refused := 0, 0
	for _, kib := range []int{1024, 1280, 1536, 1792, 1920, 2047, 2048, 2560, 4096, 20 * 1024} {
		for try := range 2 {
			identifier := fmt.Sprintf("t%d-%d", kib, try)
			payload := slices.Concat([]byte(`"`), slices.Repeat([]byte(`\"`), kib*512-1), []byte(`"`))
			_, _, err := f.Tasks.CreateTask(t.Context(), tasker.Task{
				Type: "worker", Identifier: identifier, Payload: payload,
				Endpoints: []string{"a"},
			})
			switch {
			case err == nil:
				stored++
				if found, err := f.Tasks.FindTask(t.Context(), "worker", identifier); err != nil || len(found.Payload) != len(payload) {
					t.Errorf("%d KiB are stored and cannot be read: %d bytes, %v", kib, len(found.Payload), err)
				}
			case tasker.CodeOf(err) == tasker.TooLarge:
				refused++
			default:
				t.Errorf("%d KiB: %v (%s)", kib, err, tasker.CodeOf(err))
			}
		}
	}
	if stored == 0 || refused == 0 {
		t.Errorf("%d were stored and %d refused", stored, refused)
	}
	// A batch is stored even if only its parts fit into one packet.
	var tasks []tasker.Task
	var ends []ledger.End
	for i := range 5 {
		task := f.send(t, fmt.Sprint("batch", i), "a")
		f.receive(t, managerA, incoming(task, "a", tasker.Running))
		done := finish(task, "a", 1, tasker.ResultDone)
		done.Payload = slices.Concat([]byte(`"`), slices.Repeat([]byte("x"), mib), []byte(`"`))
		tasks, ends = append(tasks, task), append(ends, done)
	}
	f.finish(t, ends...)
	for _, task := range tasks {
		if got := f.states(t, task)["a"]; got != tasker.ResultDone {
			t.Errorf("task %s is %s", task.Identifier, got)
		}
	}
	ends[0].Payload = slices.Concat([]byte(`"`), slices.Repeat([]byte("x"), 3*mib), []byte(`"`))
	if _, err := f.Attempts.FinishAttempts(t.Context(), ends); tasker.CodeOf(err) != tasker.TooLarge ||
		!strings.Contains(err.Error(), "larger") {
		t.Errorf("a result of 3 MiB: %v", err)
	}
}
