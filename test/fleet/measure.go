package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/testservices"
	"github.com/taskerhq/tasker/test/internal/daemons"
	"github.com/taskerhq/tasker/test/internal/noop"
	"github.com/taskerhq/tasker/test/internal/usage"
)

// envRestart is the command that restarts RabbitMQ.
const envRestart = "TASKER_FLEET_RESTART"

var errFailed = errors.New("the fleet did not do what it must")

// run runs a fleet, and prints what was measured, even if it ends with an error.
func run(ctx context.Context, opts options, stdout, stderr io.Writer) (err error) {
	begin := time.Now()
	progress := func(format string, args ...any) {
		_, _ = fmt.Fprintf(stderr, "fleet: %4.0f s: "+format+"\n", append([]any{time.Since(begin).Seconds()}, args...)...)
	}
	if err := checkFiles(opts); err != nil {
		return err
	}
	if opts.restart && os.Getenv(envRestart) == "" {
		return fmt.Errorf("%w: -restart needs the private servers: use make fleet", errUsage)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, opts.limit, fmt.Errorf("the run takes longer than %v (-limit)", opts.limit))
	defer cancel()
	r := newReport(opts)
	err = withFleet(ctx, opts, progress, func(f *fleet) error { return f.measure(r) })
	if err != nil {
		r.Failures = append(r.Failures, err.Error())
	}
	if printed := r.print(stdout, opts.output); printed != nil {
		return printed
	}
	if err == nil && len(r.Failures) > 0 {
		err = fmt.Errorf("%w: %s", errFailed, strings.Join(r.Failures, "; "))
	}
	return err
}

// measure measures a fleet from its start. What is late goes into the report; an error
// ends the run.
func (f *fleet) measure(r *report) (err error) {
	if err := f.issueTokens(); err != nil {
		return err
	}
	phase := f.newPhase()
	if err := f.start(); err != nil {
		return err
	}
	if r.Ready, err = phase.end(f, func(ctx context.Context) error {
		for _, url := range f.site.URLs() {
			if err := daemons.AwaitAPI(ctx, url); err != nil {
				return err
			}
		}
		return f.awaitConsuming(ctx)
	}, f.opts.ready); err != nil {
		return fmt.Errorf("wait for the endpoints: %w", err)
	}
	f.progress("%d endpoints consume after %.1f s", f.opts.endpoints, r.Ready.Seconds)
	if err := f.sendTasks(r); err != nil {
		return err
	}
	if f.opts.load > 0 {
		if err := f.loadPhase(r); err != nil {
			return err
		}
	}
	if r.Memory, err = f.memory(); err != nil {
		return err
	}
	if r.Get, err = f.get(fmt.Sprintf("fleet-%d", f.opts.tasks)); err != nil {
		return err
	}
	if f.opts.idle > 0 {
		if err := f.idlePhase(r); err != nil {
			return err
		}
	}
	if f.opts.restart {
		return f.restartPhase(r)
	}
	return nil
}

// phase measures the CPU time of a period.
type phase struct {
	begin  time.Time
	before map[part]usage.Process
}

func (f *fleet) newPhase() phase {
	before, err := f.used()
	if err != nil {
		before = nil
	}
	return phase{time.Now(), before}
}

// period is what a period took.
type period struct {
	Seconds float64          `json:"seconds"`
	CPU     map[part]float64 `json:"cpu_s"`
}

// end waits with a limit, and returns what it took since the phase began.
func (p phase) end(f *fleet, wait func(context.Context) error, limit time.Duration) (t period, err error) {
	ctx, cancel := context.WithTimeoutCause(f.ctx, limit, fmt.Errorf("not within %v", limit))
	defer cancel()
	if err := wait(ctx); err != nil {
		return t, err
	}
	t.Seconds = time.Since(p.begin).Seconds()
	t.CPU = map[part]float64{}
	after, err := f.used()
	if err != nil {
		return t, err
	}
	for name, used := range after {
		if known := f.parts[name]; len(known) > 0 && known[0] != 0 {
			t.CPU[name] = (used.CPU - p.before[name].CPU).Seconds()
		}
	}
	return t, nil
}

// task is what became of one task. Times are from before its POST, in seconds; those
// from the database are from when the task was accepted.
type task struct {
	Posted  float64 `json:"post_answered_s"`
	Stored  float64 `json:"all_stored_s"`
	Status  string  `json:"status_of_post"`
	Missing int     `json:"missing"`
	// Sent is the delay of SENT, 0 if that has not come.
	Sent          float64 `json:"sent_s"`
	FirstReceived float64 `json:"first_received_s"`
	LastReceived  float64 `json:"last_received_s"`
	// Done is until the task's row says DONE.
	Done float64 `json:"done_s"`
}

func (f *fleet) sendTasks(r *report) (err error) {
	results := float64(f.opts.tasks * f.opts.endpoints)
	messages, err := testservices.VirtualHostMessages(f.ctx, f.site.RabbitMQ)
	if err != nil {
		return err
	}
	statements, err := usage.ReadStatements(f.ctx, f.db)
	if err != nil {
		return err
	}
	polls := 0
	phase := f.newPhase()
	if r.Sending, err = phase.end(f, func(context.Context) error {
		for i := range f.opts.tasks {
			t, n, err := f.send(fmt.Sprintf("fleet-%d", i+1))
			polls += n
			if err != nil {
				return err
			}
			r.Tasks = append(r.Tasks, t)
			f.progress("task %d: POST %.2f s, sent %.2f s, received %.2f to %.2f s, all stored %.2f s, DONE %.2f s, missing %d",
				i+1, t.Posted, t.Sent, t.FirstReceived, t.LastReceived, t.Stored, t.Done, t.Missing)
			if t.Missing > 0 {
				r.Failures = append(r.Failures, fmt.Sprintf("task %d: %d results missing after %v", i+1, t.Missing, f.opts.late))
			}
		}
		return nil
	}, f.opts.limit); err != nil {
		return err
	}
	after, err := usage.ReadStatements(f.ctx, f.db)
	if err != nil {
		return err
	}
	needed := after.Minus(statements)
	r.Statements, r.Kinds = float64(needed.Questions-int64(polls))/results, needed.PerResult(results)
	// RabbitMQ counts late.
	begin := time.Now()
	err = daemons.Poll(f.ctx, time.Second, func() (bool, error) {
		counted, err := testservices.VirtualHostMessages(f.ctx, f.site.RabbitMQ)
		r.Published = float64(counted.Published-messages.Published) / results
		r.Delivered = float64(counted.Delivered-messages.Delivered) / results
		return r.Delivered >= 1 || time.Since(begin) > 12*time.Second, err
	})
	return err
}

// send sends a task to all endpoints and waits for its results. It returns the number
// of statements that this needed.
func (f *fleet) send(name string) (t task, polls int, err error) {
	payload := map[string]string{"data": strings.Repeat("x", f.opts.payload-11)}
	body, err := json.Marshal(map[string]any{"identifier": name, "payload": payload})
	if err != nil {
		return t, 0, err
	}
	begin := time.Now()
	var sent tasker.Task
	if err := f.post(body, &sent); err != nil {
		return t, 0, err
	}
	t.Posted, t.Status = time.Since(begin).Seconds(), string(sent.Status)
	var done int
	for done < f.opts.endpoints && time.Since(begin) < f.opts.late {
		look := time.Now()
		polls++
		err := f.db.QueryRowContext(f.ctx, "SELECT COUNT(*) FROM task_results WHERE task_id = ? AND state = 'DONE'", sent.ID).Scan(&done)
		if err != nil {
			return t, polls, fmt.Errorf("count results: %w", err)
		}
		t.Stored = time.Since(begin).Seconds()
		// The polls must not be what is measured.
		pause := max(2*time.Millisecond, 15*time.Since(look))
		select {
		case <-time.After(pause):
		case <-f.ctx.Done():
			return t, polls, context.Cause(f.ctx)
		}
	}
	t.Missing = f.opts.endpoints - done
	n, err := f.details(sent.ID, &t)
	return t, polls + n, err
}

func (f *fleet) post(body []byte, answer any) error {
	req, err := http.NewRequestWithContext(f.ctx, http.MethodPost, f.site.URLs()[0]+"/"+noop.Type, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusCreated {
		said, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		return fmt.Errorf("POST: %s: %s", resp.Status, said)
	}
	return json.NewDecoder(resp.Body).Decode(answer)
}

// details waits for a moment until the task's row is DONE, and reads when what
// happened, from the database.
func (f *fleet) details(id int64, t *task) (polls int, err error) {
	begin := time.Now()
	err = daemons.Poll(f.ctx, 20*time.Millisecond, func() (bool, error) {
		var status string
		polls++
		err := f.db.QueryRowContext(f.ctx, "SELECT status FROM tasks WHERE id = ?", id).Scan(&status)
		return status == string(tasker.Done) || time.Since(begin) > 10*time.Second, err
	})
	if err != nil {
		return polls, fmt.Errorf("read the task: %w", err)
	}
	const since = "TIMESTAMPDIFF(MICROSECOND, tasks.start_time, %s) / 1e6"
	columns := fmt.Sprintf("COALESCE("+since+", 0), IF(tasks.status = 'DONE', "+since+", 0),"+
		" COALESCE("+since+", 0), COALESCE("+since+", 0)",
		"sent_time", "tasks.last_modified_time", "MIN(r.start_time)", "MAX(r.start_time)")
	err = f.db.QueryRowContext(f.ctx, "SELECT "+columns+" FROM tasks JOIN task_results r ON r.task_id = tasks.id WHERE tasks.id = ?", id).
		Scan(&t.Sent, &t.Done, &t.FirstReceived, &t.LastReceived)
	if err != nil {
		return polls, fmt.Errorf("read the task's times: %w", err)
	}
	return polls + 1, nil
}

// get is what reading a task takes.
type get struct {
	Seconds float64 `json:"seconds"`
	Bytes   int64   `json:"bytes"`
	// Zipped is the size where gzip is asked for, 0 if it is not served.
	Zipped int64 `json:"gzip_bytes"`
}

func (f *fleet) get(name string) (g get, err error) {
	for _, encoding := range []string{"identity", "gzip"} {
		req, err := http.NewRequestWithContext(f.ctx, http.MethodGet, f.site.URLs()[0]+"/"+noop.Type+"/"+name, http.NoBody)
		if err != nil {
			return g, err
		}
		req.Header.Set("Accept-Encoding", encoding)
		begin := time.Now()
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return g, err
		}
		body, err := io.ReadAll(resp.Body)
		if err := errors.Join(err, resp.Body.Close()); err != nil {
			return g, fmt.Errorf("GET: %w", err)
		}
		if resp.StatusCode != http.StatusOK {
			return g, fmt.Errorf("GET: %s", resp.Status)
		}
		if encoding == "identity" {
			g.Seconds, g.Bytes = time.Since(begin).Seconds(), int64(len(body))
			continue
		}
		if resp.Header.Get("Content-Encoding") == "gzip" {
			g.Zipped = int64(len(body))
			if err := f.sameZipped(body, g.Bytes); err != nil {
				return g, err
			}
		}
	}
	return g, nil
}

func (f *fleet) sameZipped(body []byte, size int64) error {
	reader, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("GET with gzip: %w", err)
	}
	n, err := io.Copy(io.Discard, reader) //nolint:gosec // it is our own API's
	if err == nil && n != size {
		err = fmt.Errorf("%d bytes, but %d without", n, size)
	}
	if err != nil {
		return fmt.Errorf("GET with gzip: %w", err)
	}
	return nil
}

// memory returns the resident memory of each part in MiB.
func (f *fleet) memory() (map[part]float64, error) {
	used, err := f.used()
	if err != nil {
		return nil, err
	}
	all := map[part]float64{}
	for name, u := range used {
		if u.Resident > 0 {
			all[name] = float64(u.Resident) / (1 << 20)
		}
	}
	return all, nil
}

// loadPhase sends tasks to all endpoints, many at once.
func (f *fleet) loadPhase(r *report) (err error) {
	f.progress("load: %d tasks in flight for %v", f.opts.inFlight, f.opts.load)
	done := make([]int, f.opts.inFlight)
	phase := f.newPhase()
	r.Load, err = phase.end(f, func(ctx context.Context) error {
		group, _ := errgroup.WithContext(ctx)
		begin := time.Now()
		for i := range done {
			group.Go(func() error {
				for time.Since(begin) < f.opts.load {
					t, _, err := f.send(fmt.Sprintf("load-%d-%d", i, done[i]))
					if err == nil && t.Missing > 0 {
						err = fmt.Errorf("load: %d results missing after %v", t.Missing, f.opts.late)
					}
					if err != nil {
						return err
					}
					done[i]++
				}
				return nil
			})
		}
		return group.Wait()
	}, f.opts.limit)
	for _, n := range done {
		r.LoadTasks += n
	}
	return err
}

func (f *fleet) idlePhase(r *report) (err error) {
	const settle = 5 * time.Second
	f.progress("idle for %v", f.opts.idle)
	rest := func(d time.Duration) func(context.Context) error {
		return func(ctx context.Context) error {
			select {
			case <-time.After(d):
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
	if err := rest(settle)(f.ctx); err != nil {
		return err
	}
	statements, err := usage.ReadStatements(f.ctx, f.db)
	if err != nil {
		return err
	}
	if r.Idle, err = f.newPhase().end(f, rest(f.opts.idle), f.opts.limit); err != nil {
		return err
	}
	after, err := usage.ReadStatements(f.ctx, f.db)
	needed := after.Minus(statements)
	r.IdleStatements, r.IdleKinds = float64(needed.Questions)/r.Idle.Seconds, needed.PerResult(r.Idle.Seconds)
	return err
}

// restartPhase restarts RabbitMQ and waits until all endpoints consume again, and a task
// reaches them.
func (f *fleet) restartPhase(r *report) (err error) {
	f.progress("restarting RabbitMQ")
	command := strings.Fields(os.Getenv(envRestart))
	restart := exec.CommandContext(f.ctx, command[0], command[1:]...) //nolint:gosec // scripts/fleet.sh sets it
	if out, err := restart.CombinedOutput(); err != nil {
		return fmt.Errorf("restart RabbitMQ: %w: %s", err, out)
	}
	f.servers = usage.FindServers()
	f.parts[partRabbitMQ] = []int{f.servers.RabbitMQ}
	phase := f.newPhase()
	back, err := phase.end(f, f.awaitConsuming, f.opts.ready)
	if err != nil {
		return fmt.Errorf("wait for the endpoints after the restart of RabbitMQ: %w", err)
	}
	f.progress("%d endpoints consume %.1f s after the restart", f.opts.endpoints, back.Seconds)
	r.Restarted = &back
	t, _, err := f.send("fleet-restarted")
	if err != nil {
		return err
	}
	f.progress("task after the restart: POST %.2f s, all stored %.2f s, missing %d", t.Posted, t.Stored, t.Missing)
	r.TaskAfter = &t
	if t.Missing > 0 {
		r.Failures = append(r.Failures, fmt.Sprintf("task after the restart: %d results missing after %v", t.Missing, f.opts.late))
	}
	return nil
}
