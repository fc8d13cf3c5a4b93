package rollout_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/rollout"
)

// Each endpoint is counted once, and what counts against the limits as bad.
func TestProgress(t *testing.T) {
	t.Parallel()
	all := rollout.Counts{OK: 1, Bad: 2, Unreached: 3, Late: 4, Canceled: 5, Forgiven: 6, Unopened: 7, Unfinished: 8}
	counted := tasker.RolloutCounts{Done: 1, Bad: 9, Forgiven: 6, Canceled: 5, Unopened: 7, Unfinished: 8}
	ignored := counted
	ignored.Bad, ignored.Ignored = 6, 3
	waves := rollout.Plan{N: 50, Waves: []rollout.Wave{{N: 1, Size: 36}, {N: 2, Size: 7}, {N: 3, Size: 7}}}
	view := rollout.View{Waves: []rollout.Counts{all, {Unfinished: 7}, {Unopened: 7}}}
	total := tasker.RolloutCounts{Done: 1, Bad: 9, Forgiven: 6, Canceled: 5, Unopened: 14, Unfinished: 15}
	open := tasker.RolloutCounts{Unfinished: 7}
	last := tasker.RolloutCounts{Unopened: 7}
	record := rollout.Record{State: rollout.Running, Opened: 2, Closed: 1}
	for state, second := range map[rollout.State]tasker.WaveState{rollout.Halted: tasker.WaveOpen, rollout.Canceled: tasker.WaveEnded} {
		record.State = state
		want := tasker.RolloutProgress{Total: total, Waves: []tasker.WaveProgress{
			{N: 1, State: tasker.WaveEnded, RolloutCounts: counted},
			{N: 2, State: second, RolloutCounts: open},
			{N: 3, State: tasker.WaveUnopened, RolloutCounts: last},
		}}
		if diff := cmp.Diff(want, rollout.Progress(waves, rollout.Settings{Unreached: rollout.CountUnreached}, record, view)); diff != "" {
			t.Errorf("%s: %s", state, diff)
		}
	}
	got := rollout.Progress(rollout.Plan{N: 36, Window: 5}, rollout.Settings{Unreached: rollout.IgnoreUnreached}, record,
		rollout.View{Waves: []rollout.Counts{all}})
	if diff := cmp.Diff(tasker.RolloutProgress{Total: ignored, Waves: []tasker.WaveProgress{}}, got); diff != "" {
		t.Error(diff)
	}
}
