package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/internal/liveview"
)

const (
	// redraw is how often the status line is written at most.
	redraw = 250 * time.Millisecond
	// countsEvery is how often the numbers are written where there is no terminal.
	countsEvery = 30 * time.Second
	// defaultReconnect is for how long the API may be out of reach.
	defaultReconnect = 5 * time.Minute
)

// watchFlags are the flags of the commands that watch a task.
type watchFlags struct {
	wait, reconnect             time.Duration
	failFast, cancelOnInterrupt bool
	progress                    string
}

func (f *watchFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.DurationVar(&f.wait, "wait", 0, "watch it for so long at most, such as 10m; then the exit code is 4")
	flags.DurationVar(&f.reconnect, "reconnect", defaultReconnect, "for how long the API may be out of reach")
	flags.BoolVar(&f.failFast, "fail-fast", false, "end with the first failure; the task goes on")
	flags.BoolVar(&f.cancelOnInterrupt, "cancel-on-interrupt", false, "cancel the task if this command is interrupted")
	flags.StringVar(&f.progress, "progress", colorAuto, "auto or never: how far it is, on stderr")
	complete(cmd, "progress", func() []string { return []string{colorAuto, colorNever} })
}

func (f *watchFlags) check() error {
	if f.wait < 0 || f.reconnect <= 0 {
		return usagef("invalid --wait or --reconnect: must be a duration such as 10m")
	}
	if f.progress != colorAuto && f.progress != colorNever {
		return usagef("invalid --progress %q: must be auto or never", f.progress)
	}
	return nil
}

func watchCommand(r *run) *cobra.Command {
	f := &watchFlags{}
	var api *apiFlags
	cmd := &cobra.Command{
		Use:   "watch TYPE/IDENTIFIER | -",
		Short: "Watch a task until it has ended",
		Long: `Watch a task until it has ended, or is INCOMPLETE and nobody works on it any more.
"-" is the last task that you have run; ~/.local/state/tasker remembers it, or
$XDG_STATE_HOME/tasker.

Failures are printed to stderr as they come, at most three of those that are alike;
below them, on a terminal, is one line that says how far the task is. The outcomes
go to stdout at the end: results that are alike once, with the names of their
endpoints. --output jsonl prints each change as it comes, json the task at its end.

With Ctrl-C you can leave the task alone, or cancel it. If the connection to the API
is lost, it is made again, and nothing is missed. The exit code says how it went:
see "tasker help exit-codes".`,
		Example: `  tasker watch app-update/upd-17
  tasker watch - --wait 10m
  tasker watch app-update/upd-17 --output jsonl | grep FAILED`,
		RunE: func(cmd *cobra.Command, args []string) error {
			taskType, identifier, err := r.taskOf(cmd, api, args)
			if err != nil {
				return err
			}
			c, err := api.client(cmd)
			if err != nil {
				return err
			}
			return newWatching(r, cmd, c, taskType, identifier, *f).watch(cmd.Context())
		},
	}
	api = r.addAPIFlags(cmd)
	f.add(cmd)
	cmd.ValidArgsFunction = r.completeTasks(api)
	return withOutputs(cmd, outputText, outputJSON, outputLines)
}

// watching is the watch of one task.
type watching struct {
	watchFlags
	r                          *run
	cmd                        *cobra.Command
	client                     *client.Client
	taskType, identifier, name string

	view    *liveview.View
	screen  *screen
	started time.Time
	away    bool           // the connection is lost
	printed map[string]any // what --output jsonl has printed of each endpoint
	failed  bool           // something failed
}

func newWatching(r *run, cmd *cobra.Command, c *client.Client, taskType, identifier string, f watchFlags) *watching {
	name := taskType + "/" + identifier
	s := r.screen()
	// The objects of jsonl would be written into the status line.
	s.live = s.live && (r.output != outputLines || !isTerminal(r.Stdout))
	return &watching{
		watchFlags: f, r: r, cmd: cmd, client: c, taskType: taskType, identifier: identifier, name: name,
		view: liveview.New(name, r.style(r.Stderr)), screen: s, started: time.Now(), printed: map[string]any{},
	}
}

// ending is why a watch ended.
type ending int

const (
	over        ending = iota // nothing more is to be expected
	ranOut                    // --wait
	firstFailed               // --fail-fast
	interrupted
)

// watch watches the task, and ends with the exit code that says how it went.
func (w *watching) watch(ctx context.Context) error {
	if err := w.check(); err != nil {
		return err
	}
	end, err := w.follow(ctx)
	for err == nil && end == interrupted {
		i := interruption(ctx)
		// The next signal ends the process at once.
		ctx = context.WithoutCancel(ctx)
		if i == nil {
			return w.lost(errors.New("canceled"))
		}
		goOn, err := w.leave(ctx, i)
		switch {
		case err != nil:
			return err
		case !goOn:
			return endWith(i.code())
		}
		if end, err = w.follow(ctx); err != nil {
			return w.lost(err)
		}
	}
	if err != nil {
		return w.lost(err)
	}
	return w.finish(ctx, end)
}

// lost returns the error of a watch that cannot go on.
func (w *watching) lost(err error) error {
	w.screen.Status("")
	if w.r.output == outputLines {
		_ = w.r.printLine("error", map[string]any{"message": err.Error()})
	}
	if tasker.CodeOf(err) == tasker.NotFound {
		return err
	}
	return fmt.Errorf("lost sight of %s: %w\nit may go on: %s", w.name, err, w.comeBack())
}

// comeBack returns the command that watches the task again.
func (w *watching) comeBack() string { return w.r.Name + " watch " + w.name }

// received is an event, the loss of the connection, or the end of the events.
type received struct {
	event client.Event
	lost  error
	err   error
}

// follow shows the events of the task until it has ended, or something else happens.
func (w *watching) follow(ctx context.Context) (ending, error) {
	followed, cancel := context.WithCancel(ctx)
	events := make(chan received)
	var reader sync.WaitGroup
	reader.Go(func() { w.read(followed, events) })
	defer reader.Wait()
	defer cancel()
	ticks := time.NewTicker(w.period())
	defer ticks.Stop()
	var waited <-chan time.Time
	if w.wait > 0 {
		timer := time.NewTimer(max(w.wait-time.Since(w.started), 0))
		defer timer.Stop()
		waited = timer.C
	}
	for {
		select {
		case e, ok := <-events:
			switch {
			case ctx.Err() != nil:
				return interrupted, nil
			case !ok:
				return over, nil
			case e.err != nil:
				return over, e.err
			case e.lost != nil:
				w.onLost(e.lost)
				continue
			}
			if err := w.show(e.event); err != nil {
				return over, err
			}
			switch {
			case w.failFast && w.failed:
				return firstFailed, nil
			case w.view.Over():
				return over, nil
			}
		case <-ticks.C:
			w.tick()
		case <-waited:
			return ranOut, nil
		case <-ctx.Done():
			return interrupted, nil
		}
	}
}

// read sends what it reads of the task's stream to events, and closes it at the end.
func (w *watching) read(ctx context.Context, events chan<- received) {
	defer close(events)
	send := func(r received) bool {
		select {
		case events <- r:
			return true
		case <-ctx.Done():
			return false
		}
	}
	reconnect := client.Reconnect{Patience: w.reconnect, Lost: func(err error) { send(received{lost: err}) }}
	for event, err := range w.client.WatchWith(ctx, w.taskType, w.identifier, reconnect) {
		if !send(received{event: event, err: err}) {
			return
		}
	}
}

// period returns how often [watching.tick] is called.
func (w *watching) period() time.Duration {
	if w.screen.live {
		return redraw
	}
	return countsEvery
}

// tick says how far the task is.
func (w *watching) tick() {
	switch {
	case w.progress == colorNever:
	case !w.screen.live:
		w.screen.Lines(w.view.CountsLine(time.Since(w.started)))
	case w.away:
		w.screen.Status(clipped("the API is out of reach: trying again", columns(w.r.Stderr)-1))
	default:
		w.screen.Status(w.view.StatusLine(time.Since(w.started), columns(w.r.Stderr)))
	}
}

func clipped(s string, limit int) string { return s[:min(len(s), max(limit, 0))] }

// onLost says once that the connection is lost.
func (w *watching) onLost(err error) {
	if !w.away && !w.screen.live {
		w.screen.Lines("connection lost: trying again: " + oneLine(err.Error()))
	}
	w.away = true
}

// show shows an event.
func (w *watching) show(event client.Event) error {
	w.away = false
	w.screen.Lines(w.view.Apply(event, columns(w.r.Stderr))...)
	s := w.view.Summary()
	w.failed = w.failed || s.Failed > 0 || s.Lost > 0
	if w.r.output != outputLines {
		return nil
	}
	for _, line := range w.linesOf(event) {
		if err := w.r.printLine(line["kind"].(string), line); err != nil {
			return err
		}
	}
	return nil
}

// linesOf returns the objects of --output jsonl for an event: what a snapshot has
// again is left out.
func (w *watching) linesOf(event client.Event) (lines []map[string]any) {
	add := func(kind, key string, value any, fields map[string]any) {
		line := map[string]any{"kind": kind, key: value}
		maps.Copy(line, fields)
		lines = append(lines, line)
	}
	addResult := func(result *tasker.TaskResult) {
		state := [2]any{result.State, result.Attempt}
		if w.printed[result.Endpoint] == state {
			return
		}
		w.printed[result.Endpoint] = state
		add("result", "result", result, nil)
	}
	switch data := event.Data.(type) {
	case *client.TaskAnswer:
		add("status", "status", data.Task.Status, map[string]any{"summary": data.Summary})
		for i := range data.Results {
			addResult(&data.Results[i])
		}
	case *client.TaskEvent:
		add("status", "status", data.Task.Status, map[string]any{"summary": data.Summary})
	case *tasker.TaskResult:
		addResult(data)
	case *client.ProgressEvent:
		add("progress", "progress", data.Progress, map[string]any{"endpoint": data.Endpoint, "attempt": data.Attempt})
	case *client.LogEvent:
		for i := range data.Lines {
			add("log", "line", data.Lines[i], map[string]any{"endpoint": data.Endpoint, "attempt": data.Attempt})
		}
	case *client.LeftOutEvent:
		add("left_out", "changes", data.Changes, nil)
	}
	return lines
}

// leave asks what shall become of the task when the user interrupts the watch. goOn
// reports that it shall be watched on.
func (w *watching) leave(ctx context.Context, i *Interrupted) (goOn bool, err error) {
	w.screen.Status("")
	detached := fmt.Sprintf("%s goes on: %s comes back, %s cancel %[1]s stops it", w.name, w.comeBack(), w.r.Name)
	if w.cancelOnInterrupt {
		return true, w.cancel(ctx)
	}
	if !isTerminal(w.r.Stdin) || !w.screen.live {
		w.screen.Lines(detached)
		return false, nil
	}
	w.screen.Lines("", fmt.Sprintf("%s goes on. Type Enter to watch it, d to detach, c to cancel it.", w.name))
	for line := range w.r.typed() {
		switch strings.ToLower(strings.TrimSpace(line)) {
		case "":
			return true, nil
		case "c":
			return true, w.cancel(ctx)
		case "d":
			w.screen.Lines(detached)
			return false, nil
		}
		w.screen.Lines("Type Enter, d or c.")
	}
	w.screen.Lines(detached)
	return false, nil
}

func (w *watching) cancel(ctx context.Context) error {
	_, err := w.client.Cancel(ctx, w.taskType, w.identifier, client.Cancel{Reason: "interrupted"})
	if tasker.CodeOf(err) == tasker.Conflict {
		return nil // it has ended meanwhile
	}
	return err
}
