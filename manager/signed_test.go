package manager_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/signature"
	"github.com/taskerhq/tasker/internal/wire"
	"github.com/taskerhq/tasker/manager"
)

// person is somebody with a key.
type person struct {
	name string
	key  ssh.Signer
}

func newPerson(t testing.TB, name string) person {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewSignerFromSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	return person{name, key}
}

// line is the person's line in a file of allowed signers, with options or without.
func (p person) line(options string) string {
	return strings.TrimSpace(p.name+" "+options) + " " + string(ssh.MarshalAuthorizedKey(p.key.PublicKey()))
}

// sign signs a task of endpoints for an hour from a time on, and returns it as the API
// stores it.
func (p person) sign(t testing.TB, task tasker.Task, issued time.Time) tasker.Task {
	t.Helper()
	s := tasker.Signature{
		UID: signature.NewUID(), Issued: issued.Unix(), Expires: issued.Add(time.Hour).Unix(), Targets: tasker.SignedTargets(task.Endpoints),
		Key: ssh.FingerprintSHA256(p.key.PublicKey()),
	}
	task.Signature = &s
	var err error
	if s.SSHSig, err = signature.Sign(p.key, signature.Of(&task, wire.PayloadSHA256(task.Payload))); err != nil {
		t.Fatal(err)
	}
	return task
}

// job returns a task of endpoints that nobody has signed.
func job(identifier string, endpoints ...string) tasker.Task {
	return tasker.Task{Type: "job", Identifier: identifier, Payload: json.RawMessage(`{"a": 1}`), Endpoints: endpoints}
}

// verifying has a manager verify signatures.
func verifying(t testing.TB, mode, stateDir string, lines ...string) option {
	t.Helper()
	allowed, err := signature.ParseAllowed([]byte(strings.Join(lines, "")))
	if err != nil {
		t.Fatal(err)
	}
	return func(c *manager.Config) { c.Verify, c.Allowed, c.StateDir = mode, allowed, stateDir }
}

// put stores a task as whoever can write to the database could, and sends it.
func (w *world) put(task tasker.Task) tasker.Task {
	w.t.Helper()
	stored, _, err := w.store.CreateTask(w.t.Context(), task)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.send(stored)
}

// steal changes the database behind everybody's back.
func (w *world) steal(statements ...string) {
	w.t.Helper()
	db, err := sql.Open("sqlite", "file:"+w.file+"?_pragma=busy_timeout(60000)")
	if err != nil {
		w.t.Fatal(err)
	}
	for _, statement := range statements {
		_, e := db.ExecContext(w.t.Context(), statement)
		err = errors.Join(err, e)
	}
	if err := errors.Join(err, db.Close()); err != nil {
		w.t.Fatal(err)
	}
}

// finished waits until a task has ended at endpoint a.
func (w *world) finished(task tasker.Task) tasker.TaskResult {
	w.t.Helper()
	var r tasker.TaskResult
	w.until(func() string {
		if r, _ = w.result(task, "a"); r.State.Finished() {
			return ""
		}
		return fmt.Sprintf("%s to end, it is %+v", task.Identifier, r)
	})
	return r
}

// TestSigned has each row of the table in docs/security.md in each mode.
func TestSigned(t *testing.T) {
	now := time.Now()
	alice, carol, dave, mallory := newPerson(t, "alice"), newPerson(t, "carol"), newPerson(t, "dave"), newPerson(t, "mallory")
	change := func(task tasker.Task, change func(task *tasker.Task)) tasker.Task {
		s := *task.Signature
		task.Signature = &s
		change(&task)
		return task
	}
	good := func(identifier string, endpoints ...string) tasker.Task {
		return alice.sign(t, job(identifier, endpoints...), now)
	}
	other := job("type", "a")
	other.Type = "other"
	other = alice.sign(t, other, now)
	type row struct {
		task  tasker.Task
		state tasker.ResultState
		why   string
	}
	rows := []row{
		{good("good", "a"), tasker.ResultDone, ""},
		{good("good-for-all"), tasker.ResultDone, ""},
		{good("good-for-two", "a", "b"), tasker.ResultDone, ""},
		{alice.sign(t, job("clock-behind", "a"), now.Add(4*time.Minute)), tasker.ResultDone, ""},
		{job("unsigned", "a"), tasker.Rejected, "not signed, and this endpoint requires signatures (manager.verify)"},
		{mallory.sign(t, job("unknown", "a"), now), tasker.Rejected, "signed by an unknown key " + ssh.FingerprintSHA256(mallory.key.PublicKey())},
		{carol.sign(t, job("ended-key", "a"), now), tasker.Rejected, "carol's key ended on 2026-01-02"},
		{dave.sign(t, job("not-dave", "a"), now), tasker.Rejected, "dave may not run job at a"},
		{change(good("no-signature", "a"), func(x *tasker.Task) { x.Signature.SSHSig = "x" }), tasker.Rejected, "its signature cannot be read"},
		{change(good("payload", "a"), func(x *tasker.Task) { x.Payload = json.RawMessage(`{"a": 2}`) }), tasker.Rejected, "the task was changed after it was signed"},
		{change(good("blank", "a"), func(x *tasker.Task) { x.Payload = json.RawMessage(`{"a":1}`) }), tasker.Rejected, "the task was changed after it was signed"},
		{change(good("before", "a"), func(x *tasker.Task) { x.Identifier = "identifier" }), tasker.Rejected, "the task was changed after it was signed"},
		{change(other, func(x *tasker.Task) { x.Type = "job" }), tasker.Rejected, "the task was changed after it was signed"},
		{change(good("to-all", "b"), func(x *tasker.Task) { x.Endpoints, x.Signature.Targets = nil, "*" }), tasker.Rejected, "the task was changed after it was signed"},
		{change(good("targets", "b"), func(x *tasker.Task) { x.Endpoints, x.Signature.Targets = []string{"a", "b"}, "a,b" }), tasker.Rejected, "the task was changed after it was signed"},
		{change(good("longer", "a"), func(x *tasker.Task) { x.Signature.Expires++ }), tasker.Rejected, "the task was changed after it was signed"},
		{change(good("uid", "a"), func(x *tasker.Task) { x.Signature.UID = signature.NewUID() }), tasker.Rejected, "the task was changed after it was signed"},
		{change(good("another-endpoint", "b"), func(x *tasker.Task) { x.Endpoints = []string{"a"} }), tasker.Rejected, "signed for other endpoints, and not for a"},
		{alice.sign(t, job("expired", "a"), now.Add(-2*time.Hour)), tasker.Expired, "signed until " + now.Add(-time.Hour).UTC().Format(time.RFC3339) + ", and it is "},
		{alice.sign(t, job("future", "a"), now.Add(time.Hour)), tasker.Rejected, "here: is a clock wrong?"},
	}
	for _, mode := range manager.VerifyModes() {
		t.Run(mode, func(t *testing.T) {
			w := newWorld(t)
			c := &counting{}
			// Some come by messages, and the others are found in the database.
			var tasks []tasker.Task
			for i, r := range rows {
				if i%2 == 0 {
					task, _, err := w.store.CreateTask(t.Context(), r.task)
					if err == nil {
						_, err = w.store.MarkSent(t.Context(), task, nil)
					}
					if err != nil {
						t.Fatal(err)
					}
					tasks = append(tasks, task)
				}
			}
			w.serve(w.store, c, verifying(t, mode, t.TempDir(), alice.line(""), carol.line(`valid-before="20260102Z"`), dave.line("")),
				jobType(func(j *tasker.TaskType) { j.SignedBy = []string{"alice at a", "carol", "dave at b"} }))
			for i, r := range rows {
				if i%2 == 1 {
					tasks = slices.Insert(tasks, i, w.put(r.task))
				}
			}
			for i, want := range rows {
				if mode != manager.VerifyRequire {
					want.state, want.why = tasker.ResultDone, ""
				}
				r := w.finished(tasks[i])
				ran := 0
				if want.state == tasker.ResultDone {
					ran = 1
				}
				if r.State != want.state || !strings.Contains(r.Errmsg, want.why) || c.of(want.task.Identifier) != ran || r.Attempt != 1 {
					t.Errorf("%s: %d runs, %+v, want %s, %q", want.task.Identifier, c.of(want.task.Identifier), r, want.state, want.why)
				}
				if wantNr := map[tasker.ResultState]int{tasker.Expired: tasker.ErrnrExpired, tasker.Rejected: tasker.ErrnrRejected}[want.state]; r.Errnr != wantNr {
					t.Errorf("%s: errnr %d", want.task.Identifier, r.Errnr)
				}
				if s := want.task.Signature; s != nil && len(s.SSHSig) > 1 && strings.Contains(r.Errmsg, s.SSHSig[40:60]) || strings.Contains(r.Errmsg, `"a"`) {
					t.Errorf("%s: the payload or the signature is in %q", want.task.Identifier, r.Errmsg)
				}
			}
		})
	}
}

// What an earlier manager received waits, and is verified when it runs.
func TestSignedWaits(t *testing.T) {
	w := newWorld(t)
	alice := newPerson(t, "alice")
	const dead = "01DEADDEADDEADDEADDEADDEAD"
	if _, err := w.store.AcquireEndpoint(t.Context(), tasker.Endpoint{Name: "a", Manager: dead, TaskTypes: []string{"job"}},
		50*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	var tasks []tasker.Task
	for _, task := range []tasker.Task{alice.sign(t, job("good", "a"), time.Now()), job("forged", "a")} {
		stored, _, err := w.store.CreateTask(t.Context(), task)
		if err == nil {
			_, err = w.store.ReceiveResults(t.Context(), []ledger.Incoming{{
				ResultKey: tasker.ResultKey{TaskID: stored.ID, Endpoint: "a"}, Identifier: stored.Identifier, Type: "job",
				State: tasker.Received, Manager: dead,
			}})
		}
		if err != nil {
			t.Fatal(err)
		}
		tasks = append(tasks, stored)
	}
	c := &counting{}
	w.serve(w.store, c, verifying(t, manager.VerifyRequire, t.TempDir(), alice.line("")))
	w.await(tasks[0], tasker.ResultDone)
	w.await(tasks[1], tasker.Rejected)
	if c.of("forged") != 0 {
		t.Error("the forged task ran")
	}
}

// A signature runs once: a row that is put back, or reset, does not run again, neither
// in the same life of the manager nor in the next.
func TestSignedReplay(t *testing.T) {
	w := newWorld(t)
	alice, state := newPerson(t, "alice"), t.TempDir()
	c := &counting{}
	verify := verifying(t, manager.VerifyRequire, state, alice.line(""))
	s := w.serve(w.store, c, verify)
	signed := alice.sign(t, job("once", "a"), time.Now())
	first := w.put(signed)
	w.await(first, tasker.ResultDone)
	putBack := func() tasker.TaskResult {
		t.Helper()
		w.steal("DELETE FROM task_results", "DELETE FROM task_targets", "DELETE FROM attempts", "DELETE FROM tasks")
		return w.finished(w.put(signed))
	}
	want := fmt.Sprintf("replayed: %s ran here as task %d", signed.Signature.UID, first.ID)
	if r := putBack(); r.State != tasker.Rejected || !strings.HasPrefix(r.Errmsg, want) {
		t.Errorf("put back: %+v", r)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	w.serve(w.store, c, verify)
	if r := putBack(); r.State != tasker.Rejected || !strings.HasPrefix(r.Errmsg, want) {
		t.Errorf("put back after a restart: %+v", r)
	}
	if n := c.of("once"); n != 1 {
		t.Errorf("%d runs", n)
	}
}

// The attempts of a result that was reset are those that ran already.
func TestSignedReset(t *testing.T) {
	w := newWorld(t)
	alice := newPerson(t, "alice")
	c := &counting{}
	verify := verifying(t, manager.VerifyRequire, t.TempDir(), alice.line(""))
	s := w.serve(w.store, c, verify)
	task := w.put(alice.sign(t, job("once", "a"), time.Now()))
	w.await(task, tasker.ResultDone)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	w.steal("UPDATE task_results SET state = 'RECEIVED', attempt = 0", "UPDATE tasks SET status = 'SENT'")
	w.serve(w.store, c, verify)
	want := fmt.Sprintf("replayed: %s ran here as task %d, attempt 1, and this is attempt 1 again", task.Signature.UID, task.ID)
	if r := w.finished(task); r.State != tasker.Rejected || r.Errmsg != want || c.of("once") != 1 {
		t.Errorf("%d runs, %+v", c.of("once"), r)
	}
}

// The next attempt of a task may use its signature, and so may that of a round which an
// operator asked for.
func TestSignedRetry(t *testing.T) {
	w := newWorld(t)
	alice, state := newPerson(t, "alice"), t.TempDir()
	h := &failing{runs: 2}
	w.serve(w.store, h, quiet, verifying(t, manager.VerifyRequire, state, alice.line("")),
		jobType(func(j *tasker.TaskType) { j.Retry.Delays = []time.Duration{time.Millisecond} }))
	task := w.put(alice.sign(t, job("again", "a"), time.Now()))
	w.ended(task, tasker.ResultFailed, 2)
	w.retry(task, tasker.RetryFailed)
	w.ended(task, tasker.ResultDone, 3)
	content, err := os.ReadFile(filepath.Clean(filepath.Join(state, "seen", task.Signature.UID+".a")))
	if want := fmt.Sprintf(`{"task_id":%d,"endpoint":"a","attempt":3,"step":1,"expires":%d}`, task.ID, task.Signature.Expires); err != nil ||
		string(content) != want {
		t.Errorf("kept %s, %v, want %s", content, err, want)
	}
	if n := h.of("again"); n != 3 {
		t.Errorf("%d runs", n)
	}
}

// Each step after a reboot is verified like the first.
func TestSignedSteps(t *testing.T) {
	for name, test := range map[string]struct {
		statement string
		state     tasker.ResultState
		steps     string
	}{
		"as it was":           {"UPDATE tasks SET round = round", tasker.ResultDone, "[1 2]"},
		"no longer signed":    {"UPDATE tasks SET signature = NULL, signature_proof = NULL", tasker.Rejected, "[1]"},
		"a step is run again": {"UPDATE task_results SET step = 1", tasker.Rejected, "[1]"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			alice := newPerson(t, "alice")
			h := &rebooting{last: 2}
			verify := verifying(t, manager.VerifyRequire, t.TempDir(), alice.line(""))
			first := w.watch(false, map[string]int{})
			s := w.serve(first, h, booted("one"), verify)
			task := w.put(alice.sign(t, job("steps", "a"), time.Now()))
			first.await(w, 1)
			if err := s.stop(); err != nil {
				t.Fatal(err)
			}
			w.steal(test.statement)
			w.serve(w.store, h, booted("two"), verify)
			if r := w.finished(task); r.State != test.state || h.steps() != test.steps {
				t.Errorf("%+v, steps %s", r, h.steps())
			}
		})
	}
}

// Who may sign can change while the manager runs.
func TestSignedTrust(t *testing.T) {
	w := newWorld(t)
	alice, bob := newPerson(t, "alice"), newPerson(t, "bob")
	var m *manager.Manager
	w.made = func(made *manager.Manager) { m = made }
	c := &counting{}
	w.serve(w.store, c, verifying(t, manager.VerifyRequire, t.TempDir(), alice.line("")))
	w.await(w.put(bob.sign(t, job("too-early", "a"), time.Now())), tasker.Rejected)
	allowed, err := signature.ParseAllowed([]byte(bob.line("")))
	if err != nil {
		t.Fatal(err)
	}
	m.Trust(allowed)
	w.await(w.put(bob.sign(t, job("now", "a"), time.Now())), tasker.ResultDone)
	w.await(w.put(alice.sign(t, job("too-late", "a"), time.Now())), tasker.Rejected)
}

// Where it cannot be kept that a signature is used, it is not used: that attempt fails, and
// the retry policy decides whether another follows.
func TestSignedNotKept(t *testing.T) {
	w := newWorld(t)
	alice, state := newPerson(t, "alice"), t.TempDir()
	c := &counting{}
	w.serve(w.store, c, verifying(t, manager.VerifyRequire, state, alice.line("")))
	seen := filepath.Join(state, "seen")
	if err := errors.Join(os.RemoveAll(seen), os.WriteFile(seen, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	r := w.await(w.put(alice.sign(t, job("unkept", "a"), time.Now())), tasker.ResultFailed)
	if r.Errnr != tasker.ErrnrHandler || !strings.Contains(r.Errmsg, "could not keep that the signature is used (manager.state_dir)") || c.of("unkept") != 0 {
		t.Errorf("%d runs, %+v", c.of("unkept"), r)
	}
}

// A large payload, which is read when it runs, is verified as well.
func TestSignedLargePayload(t *testing.T) {
	w := newWorld(t)
	alice := newPerson(t, "alice")
	c := &counting{}
	w.serve(w.store, c, verifying(t, manager.VerifyRequire, t.TempDir(), alice.line("")))
	large := job("large", "a")
	large.Payload = json.RawMessage(`"` + strings.Repeat("x", 200_000) + `"`)
	w.await(w.put(alice.sign(t, large, time.Now())), tasker.ResultDone)
	forged := alice.sign(t, job("forged", "a"), time.Now())
	forged.Payload = large.Payload
	if r := w.await(w.put(forged), tasker.Rejected); r.Errmsg != "the task was changed after it was signed" {
		t.Errorf("%+v", r)
	}
}

// A configuration that could verify nothing is refused.
func TestVerifyConfig(t *testing.T) {
	w := newWorld(t)
	alice := newPerson(t, "alice")
	for name, change := range map[string]option{
		"an unknown mode":    func(c *manager.Config) { c.Verify = "maybe" },
		"no allowed signers": func(c *manager.Config) { c.Verify, c.StateDir = manager.VerifyWarn, t.TempDir() },
		"no directory":       verifying(t, manager.VerifyRequire, "", alice.line("")),
	} {
		cfg := manager.Config{Endpoints: []string{"a"}, TaskTypes: []tasker.TaskType{{Name: "job"}}}
		change(&cfg)
		if _, err := manager.New(cfg, parts(w.store), w.broker, handlers.NewRegistry(), w.log); tasker.CodeOf(err) != tasker.Invalid {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
