package cli

import (
	"bytes"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/internal/liveview"
)

// TestScreen keeps the status line below the lines, and has none without a terminal.
func TestScreen(t *testing.T) {
	t.Parallel()
	for live, want := range map[bool]string{
		true:  "\r\x1b[K1/2\r\x1b[Kfailed\n1/2\r\x1b[K2/2\r\x1b[Kdone\n",
		false: "failed\ndone\n",
	} {
		var out bytes.Buffer
		s := &screen{w: &out, live: live}
		s.Status("1/2")
		s.Status("1/2") // nothing new
		s.Lines("failed")
		s.Lines()
		s.Status("2/2")
		s.Status("")
		s.Lines("done")
		if out.String() != want {
			t.Errorf("live %t: got %q, want %q", live, out.String(), want)
		}
	}
}

// TestTick says how far a task is where no line can be replaced, unless that is not
// wanted.
func TestTick(t *testing.T) {
	t.Parallel()
	for progress, want := range map[string]string{
		colorAuto:  "worker/a  SENT  1/2  ok 1  failed 0  unfinished 1  00:41\n",
		colorNever: "",
	} {
		var out bytes.Buffer
		r := &run{Program: Program{Stderr: &out}}
		w := &watching{
			watchFlags: watchFlags{progress: progress}, r: r, screen: r.screen(), view: liveview.New("worker/a", liveview.Style{}),
			started: time.Now().Add(-41 * time.Second),
		}
		if w.period() != countsEvery {
			t.Errorf("period %s", w.period())
		}
		_ = w.view.Apply(client.Event{Data: &client.TaskEvent{
			Task: client.TaskView{Status: tasker.Sent}, Summary: tasker.Summary{Expected: 2, Received: 2, Finished: 1},
		}}, 0)
		w.tick()
		if out.String() != want {
			t.Errorf("%s: got %q", progress, out.String())
		}
	}
}

func TestAgo(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		-time.Second: "0s ago", 59 * time.Second: "59s ago", 90 * time.Second: "1m ago", 47 * time.Hour: "47h ago", 73 * time.Hour: "3d ago",
	} {
		if got := ago(d); got != want {
			t.Errorf("%s: got %s", d, got)
		}
	}
}

func TestParseAgo(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 6, 12, 0, 0, 0, time.UTC)
	for s, want := range map[string]time.Time{
		"": {}, "2h": now.Add(-2 * time.Hour), "7d": now.AddDate(0, 0, -7), "2026-05-06T01:00:00+02:00": now.Add(-13 * time.Hour),
	} {
		if got, err := parseAgo("since", s, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: got %s, %v", s, got, err)
		}
	}
	for _, s := range []string{"-2h", "-1d", "x", "d", "9999999d"} {
		if got, err := parseAgo("since", s, now); err == nil || exitCode(err) != ExitUsage {
			t.Errorf("%q: got %s, %v", s, got, err)
		}
	}
}
