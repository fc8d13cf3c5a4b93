package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/internal/app"
)

const types = `TASKER_TASK_TYPES=[{name: worker, description: works, settings: {duration: 10ms}}, {name: backup, settings: {duration: 10ms}}, sleep]`

// world is a running tasker with some tasks.
type world struct {
	base string // of the dashboard
	api  *client.Client
}

// serve starts "tasker dev" with nothing in it.
func serve(t *testing.T, types string, endpoints ...string) *world {
	t.Helper()
	cfg, err := config.Load(config.Options{Environ: []string{types, "TASKER_API_PORT=0"}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan string, 1), make(chan error, 1)
	opts := app.DevOptions{Ephemeral: true, Version: "v-test", Endpoints: endpoints, Ready: func(addr string) { ready <- addr }}
	go func() { done <- app.RunDev(ctx, cfg, opts, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	address := <-ready
	api, err := client.New("http://"+address, "")
	if err != nil {
		t.Fatal(err)
	}
	return &world{"http://" + address + "/ui/", api}
}

func start(t *testing.T) *world {
	t.Helper()
	w := serve(t, types)
	api := w.api
	w.run(t, "worker", "upd-17", map[string]string{"version": "2.4"}, true)
	w.run(t, "backup", "nightly", nil, true)
	w.run(t, "sleep", "short", map[string]float64{"seconds": 0.01}, true)
	w.run(t, "sleep", "shorter", map[string]float64{"seconds": 0.02}, true)
	w.run(t, "sleep", "long", map[string]float64{"seconds": 3600}, false)
	w.roll(t, "backup", "halted", client.NewRollout{Batch: 1}, "HALTED")
	w.roll(t, "worker", "waits", client.NewRollout{Batch: 1, Approve: true}, "WAITING_APPROVAL")
	w.roll(t, "worker", "soaks", client.NewRollout{Batch: 1, Pause: "1h"}, "SOAKING")
	for _, name := range []string{"nightly", "paused"} {
		s := client.NewSchedule{Cron: "30 2 * * *", TimeZone: "Europe/Berlin", Jitter: "5m", Task: json.RawMessage(`{"type":"worker","all":true}`)}
		if _, _, err := api.PutSchedule(t.Context(), name, s, client.AnyVersion); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := api.TriggerSchedule(t.Context(), "nightly", tasker.ScheduleExpect{}); err != nil {
		t.Fatal(err)
	}
	if _, err := api.PauseSchedule(t.Context(), "paused", "the disks are moved", tasker.ScheduleExpect{}); err != nil {
		t.Fatal(err)
	}
	return w
}

// run creates a task, and may wait for its end.
func (w *world) run(t *testing.T, taskType, identifier string, payload any, wait bool) {
	t.Helper()
	if _, _, err := w.api.CreateTask(t.Context(), taskType, client.NewTask{Identifier: identifier, Payload: payload}); err != nil {
		t.Fatal(err)
	}
	if wait {
		if _, err := w.api.Wait(t.Context(), taskType, identifier); err != nil {
			t.Fatal(err)
		}
	}
}

// roll creates a task with a rollout, and waits until that has a state.
func (w *world) roll(t *testing.T, taskType, identifier string, rollout client.NewRollout, state string) {
	t.Helper()
	if _, _, err := w.api.CreateTask(t.Context(), taskType, client.NewTask{Identifier: identifier, Rollout: &rollout}); err != nil {
		t.Fatal(err)
	}
	late := time.After(time.Minute)
	for {
		got, err := w.api.Rollout(t.Context(), taskType, identifier)
		if err != nil {
			t.Fatal(err)
		}
		if got.Rollout.State == state {
			return
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-late:
			t.Fatalf("the rollout of %s/%s is %s, want %s", taskType, identifier, got.Rollout.State, state)
		}
	}
}

// tab is a tab of Chromium.
type tab struct {
	t        *testing.T
	ctx      context.Context //nolint:containedctx // how chromedp names a tab
	mu       sync.Mutex
	wrong    []string // errors of scripts, and what the policy of a page has blocked
	requests []string
}

func open(t *testing.T, dark bool, width, height int64) *tab {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatalf("%v: run make test-browser", err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox)
	alloc, stop := chromedp.NewExecAllocator(context.Background(), options...)
	b := &tab{t: t}
	ctx, cancel := chromedp.NewContext(alloc, chromedp.WithListener(b.hear))
	t.Cleanup(func() { cancel(); stop() })
	b.ctx = ctx
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}
	b.do(
		chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
			if _, err := cdp.Call(ctx, t, log.Enable, cdp.Empty{}); err != nil {
				return err
			}
			_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, media)
			return err
		}),
		chromedp.EmulateViewport(width, height),
	)
	return b
}

func (b *tab) hear(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError {
			b.wrong = append(b.wrong, e.Entry.Text+" "+e.Entry.URL)
		}
	case *runtime.EventExceptionThrown:
		text := e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			text += ": " + e.ExceptionDetails.Exception.Description
		}
		b.wrong = append(b.wrong, text)
	case *network.EventRequestWillBeSent:
		b.requests = append(b.requests, e.Request.URL)
	}
}

// do does something in a tab.
func (b *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

// ask returns what an action returns.
func ask[T any](b *tab, action chromedp.Action[T]) T {
	b.t.Helper()
	answer, err := chromedp.Run(b.ctx, action)
	if err != nil {
		b.t.Fatal(err)
	}
	return answer
}

// errors returns what went wrong since it was last asked.
func (b *tab) errors() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	wrong := b.wrong
	b.wrong = nil
	return wrong
}

// until waits until an expression of JavaScript is true. The policy of the pages does
// not allow [chromedp.Poll], which makes a function of a text.
func (b *tab) until(expression string) {
	b.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		if ask(b, chromedp.Evaluate[bool]("Boolean("+expression+")")) {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("never true: %s", expression)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-b.ctx.Done():
			b.t.Fatal(b.ctx.Err())
		}
	}
}

// planned sends the form of a type once, and is true on the page that follows.
const planned = `location.pathname.endsWith("/plan") ? document.querySelector("[name=plan]") :
	(window.sent || (window.sent = document.querySelector(".run")) && window.sent.submit(), false)`

// opened opens all forms of a page.
const opened = `(document.querySelectorAll("details").forEach(d => d.open = true), document.querySelectorAll("details[open]").length > 0)`

// screens are the pages, each with what is true once it is drawn.
var screens = []struct{ name, path, drawn string }{
	{"now", "", ""},
	{"tasks", "tasks", ""},
	{"tasks-none", "tasks?q=status:INCOMPLETE", ""},
	{"tasks-wrong", "tasks?q=color:red", ""},
	{"task-failed", "tasks/backup/nightly", `!document.getElementById("grid").hidden`},
	{"task-running", "tasks/sleep/long", `!document.getElementById("grid").hidden`},
	{"task-halted", "tasks/backup/halted", opened},
	{"task-waiting", "tasks/worker/waits", opened},
	{"task-soaking", "tasks/worker/soaks", opened},
	{"rollouts", "rollouts", ""},
	{"rollouts-waiting", "rollouts?waiting=true", ""},
	{"results", "tasks/backup/nightly/results", ""},
	{"plan", "types/worker", planned},
	{"missing", "tasks/backup/nightly/missing", ""},
	{"compare", "tasks/sleep/short/compare?a=console1&b=console1&with=shorter", ""},
	{"result", "tasks/backup/nightly/results/console1", ""},
	{"result-running", "tasks/sleep/long/results/console1", ""},
	{"endpoints", "endpoints", ""},
	{"endpoint", "endpoints/console1", ""},
	{"types", "types", ""},
	{"type", "types/sleep", ""},
	{"schedules", "schedules", ""},
	{"schedule", "schedules/nightly", opened},
	{"schedule-paused", "schedules/paused", opened},
	{"dead-letters", "dead-letters", ""},
	{"system", "system", ""},
	{"login", "login", ""},
	{"not-found", "nosuch", ""},
}

// violations asks axe-core for what is wrong with the page.
const violations = `axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}).then(found =>
	found.violations.map(v => v.id + ": " + v.help + ": " + v.nodes.map(n => n.html + " " + n.failureSummary).join("; ")))`

func TestScreens(t *testing.T) {
	axe, err := os.ReadFile("../../.cache/axe/axe.min.js")
	if err != nil {
		t.Fatalf("%v: run make test-browser", err)
	}
	w := start(t)
	for _, dark := range []bool{false, true} {
		for _, width := range []int64{1280, 390} {
			b := open(t, dark, width, 844)
			for _, s := range screens {
				b.do(chromedp.Navigate(w.base + s.path))
				if s.drawn != "" {
					b.until(s.drawn)
				}
				picture := ask(b, chromedp.FullScreenshot(100))
				if ask(b, chromedp.Evaluate[bool](`document.documentElement.scrollWidth > innerWidth`)) {
					t.Errorf("%s is wider than %d pixels", s.name, width)
				}
				store(t, fmt.Sprintf("%s-%d-%s.png", s.name, width, map[bool]string{true: "dark", false: "light"}[dark]), picture)
				b.do(chromedp.Evaluate[chromedp.Void](string(axe)))
				found := ask(b, chromedp.Evaluate[[]string](violations, chromedp.EvalAwaitPromise))
				for _, v := range found {
					t.Errorf("%s, %d pixels, dark %t: %s", s.name, width, dark, v)
				}
				for _, wrong := range b.errors() {
					if !strings.Contains(wrong, "the server responded with a status of") { // a page of an error
						t.Errorf("%s: %s", s.name, wrong)
					}
				}
			}
		}
	}
}

func store(t *testing.T, name string, picture []byte) {
	t.Helper()
	dir := os.Getenv("TASKER_SCREENSHOTS")
	if dir == "" {
		return
	}
	if err := os.WriteFile(filepath.Join(dir, name), picture, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A page follows what happens, without being loaded again.
func TestLive(t *testing.T) {
	w := start(t)
	b := open(t, false, 1280, 800)
	b.do(chromedp.Navigate(w.base), chromedp.Evaluate[chromedp.Void](`window.kept = true`))
	b.until(`document.getElementById("live").dataset.state === "live"`)
	w.run(t, "worker", "upd-18", nil, true)
	b.until(`document.querySelector("a[href='tasks/worker/upd-18']") !== null`)

	b.do(chromedp.Navigate(w.base+"tasks/sleep/long"), chromedp.Evaluate[chromedp.Void](`window.kept = true`))
	b.until(`document.getElementById("live").dataset.state === "live"`)
	if _, err := w.api.Cancel(t.Context(), "sleep", "long", client.Cancel{Reason: "enough"}); err != nil {
		t.Fatal(err)
	}
	b.until(`document.getElementById("head").textContent.includes("` + string(tasker.Canceled) + `")`)
	b.until(`document.getElementById("head").textContent.includes("enough")`)
	if !ask(b, chromedp.Evaluate[bool](`window.kept === true`)) {
		t.Error("the page was loaded again")
	}

	// The numbers stay the same when the rollout is paused; it ends after its task.
	b.do(chromedp.Navigate(w.base+"tasks/worker/waits"), chromedp.Evaluate[chromedp.Void](`window.kept = true`))
	b.until(`document.getElementById("live").dataset.state === "live"`)
	if _, err := w.api.Pause(t.Context(), "worker", "waits", client.Pause{}); err != nil {
		t.Fatal(err)
	}
	b.until(`document.getElementById("rollout").textContent.includes("PAUSED")`)
	if _, err := w.api.ResumeRollout(t.Context(), "worker", "waits", client.ResumeRollout{}); err != nil {
		t.Fatal(err)
	}
	b.until(`document.getElementById("rollout").textContent.includes("WAITING_APPROVAL")`)
	if _, err := w.api.Approve(t.Context(), "worker", "waits", client.Approve{Wave: 2}); err != nil {
		t.Fatal(err)
	}
	b.until(`document.getElementById("rollout").textContent.includes("all endpoints have ended")`)
	if !ask(b, chromedp.Evaluate[bool](`window.kept === true`)) {
		t.Error("the page was loaded again")
	}
	for _, wrong := range b.errors() {
		t.Error(wrong)
	}
}

// A paused page asks for nothing.
func TestPaused(t *testing.T) {
	w := start(t)
	b := open(t, false, 1280, 800)
	b.do(chromedp.Navigate(w.base))
	b.until(`document.getElementById("live").dataset.state === "live"`)
	b.do(chromedp.Click(chromedp.CSS("#live")))
	b.until(`document.getElementById("live").dataset.state === "paused"`)
	b.mu.Lock()
	before := len(b.requests)
	b.mu.Unlock()
	w.run(t, "worker", "upd-19", nil, true)
	b.do(chromedp.Click(chromedp.CSS("#live")))
	b.until(`document.querySelector("a[href='tasks/worker/upd-19']") !== null`)
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, url := range b.requests[before:] {
		if i == 0 && !strings.Contains(url, "/ui/events") {
			t.Errorf("a paused page asked for %s", url)
		}
	}
}

// Keys lead through the rows, and to the page of a row.
func TestKeys(t *testing.T) {
	w := start(t)
	b := open(t, false, 1280, 800)
	b.do(chromedp.Navigate(w.base+"tasks"), chromedp.KeyEvent("j"), chromedp.KeyEvent("j"), chromedp.KeyEvent("k"))
	b.until(`document.activeElement === document.querySelectorAll("[data-row]")[0]`)
	b.do(chromedp.KeyEvent("?"))
	b.until(`document.querySelector("dialog").open`)
	b.do(chromedp.Click(chromedp.CSS("dialog button")), chromedp.KeyEvent("/"))
	b.until(`document.activeElement.id === "q"`)
}
