package cli

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

// rolloutFlags say how a task goes through its endpoints. The API checks the values.
type rolloutFlags struct {
	batch, window string
	ramp, approve bool
	maxFailures   string
	pause, splay  string
	waveTimeout   string
}

func (f *rolloutFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.batch, "rollout", "", "go in waves: until so many endpoints each, as `1,10%,50%,100%`, or the size of each wave")
	flags.StringVar(&f.window, "max-concurrency", "", "have so many endpoints work at once, by `number` or percentage")
	flags.BoolVar(&f.ramp, "ramp", false, "with --max-concurrency: begin with one, and double on success")
	flags.StringVar(&f.maxFailures, "max-failures", "", "halt when more endpoints than this `number` or percentage are bad; 0 by default")
	flags.StringVar(&f.pause, "pause", "", "with --rollout: the `duration` between two waves, such as 30s")
	flags.StringVar(&f.waveTimeout, "wave-timeout", "", "with --rollout: when a wave ends although some have not finished: a `duration`")
	flags.BoolVar(&f.approve, "approve", false, "with --rollout: each wave after the first waits for \"tasker approve\"")
	flags.StringVar(&f.splay, "splay", "", "with --rollout: the endpoints of a wave begin at random within this `duration`")
}

// applyRollout puts the rollout into a task, if there is one.
func (f *rolloutFlags) applyRollout(t *client.NewTask) error {
	if *f == (rolloutFlags{}) {
		return nil
	}
	if f.batch == "" && f.window == "" {
		return usagef("missing flag: the waves of a rollout need --rollout, such as --rollout 1,10%%,100%%, or --max-concurrency")
	}
	r := client.NewRollout{Ramp: f.ramp, Pause: f.pause, WaveTimeout: f.waveTimeout, Splay: f.splay}
	if f.approve {
		r.Approve = true
	}
	if f.maxFailures != "" {
		r.MaxFailures = amountOf(f.maxFailures)
	}
	if f.window != "" {
		r.MaxConcurrency = amountOf(f.window)
	}
	if f.batch != "" {
		r.Batch = amountOf(f.batch)
		if strings.Contains(f.batch, ",") {
			var borders []any
			for border := range strings.SplitSeq(f.batch, ",") {
				borders = append(borders, amountOf(border))
			}
			r.Batch = borders
		}
	}
	t.Rollout = &r
	return nil
}

// amountOf returns a number, or the text of what is none.
func amountOf(s string) any {
	s = strings.TrimSpace(s)
	if n, err := strconv.Atoi(s); err == nil {
		return n
	}
	return s
}

// wavesText returns the waves of a rollout in a line, for people; empty if there is none.
func wavesText(r *tasker.Rollout) string {
	switch {
	case r == nil || r.Endpoints == 0:
		return ""
	case r.MaxConcurrency > 0:
		return fmt.Sprintf("rollout: %d of %d at once, halts at %d bad\n", r.MaxConcurrency, r.Endpoints, r.HaltsAt)
	}
	var sizes []string
	for _, w := range r.Waves {
		size := strconv.Itoa(w.Size)
		if w.Approve {
			size += " (approval)"
		}
		sizes = append(sizes, size)
	}
	const most = 12 // waves in a line
	if len(sizes) > most {
		sizes = append(sizes[:most-1], fmt.Sprintf("... (%d waves)", len(r.Waves)))
	}
	text := fmt.Sprintf("rollout: waves of %s, halts at %d bad\n", strings.Join(sizes, ", "), r.HaltsAt)
	if len(r.Skipped) > 0 {
		text += fmt.Sprintf("skipped since they are silent: %s\n", oneLine(strings.Join(r.Skipped, ", ")))
	}
	return text
}
