package web

import (
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

// The filter of a label finds exactly this label.
func TestLabelFilters(t *testing.T) {
	labels := map[string]string{"ticket": "CHG-7", "note": "two words, and a comma", "colon": "a:b", "empty": "", "quote": `say "x"`}
	for _, l := range labelsOf(labels) {
		query, err := parseFilter("type:worker " + l.Filter)
		want := url.Values{"task_type": {"worker"}, "label": {l.Text}}
		if l.Text == `quote=say "x"` {
			if l.Filter != "" {
				t.Errorf("%s: filter %s", l.Text, l.Filter)
			}
			continue
		}
		if err != nil || !cmp.Equal(query, want) {
			t.Errorf("%s: %v, %v", l.Text, query, err)
		}
	}
	row := taskRow{TaskView: client.TaskView{Labels: labels}}
	if len(row.FewLabels()) != 4 || row.MoreLabels() != 1 || row.FewLabels()[0].Text != "colon=a:b" {
		t.Errorf("%v and %d more", row.FewLabels(), row.MoreLabels())
	}
}

// A list is asked for again soon while a rollout goes on by itself, and seldom while all of
// them wait for a person.
func TestRolling(t *testing.T) {
	row := func(state string) taskRow {
		return taskRow{TaskView: client.TaskView{Status: tasker.Sent, Rollout: &tasker.Rollout{State: state}}}
	}
	plain := taskRow{TaskView: client.TaskView{Status: tasker.Sent}}
	for _, test := range []struct {
		rows []taskRow
		want int
	}{
		{nil, 0},
		{[]taskRow{plain, row("DONE")}, 0},
		{[]taskRow{plain, row("HALTED"), row("WAITING_APPROVAL"), row("PAUSED")}, pollSlowly},
		{[]taskRow{row("HALTED"), row("RUNNING"), row("PAUSED")}, pollSoon},
		{[]taskRow{row("SOAKING")}, pollSoon},
	} {
		if got := rolling(test.rows...); got != test.want {
			t.Errorf("%d rows: %d, want %d", len(test.rows), got, test.want)
		}
	}
}
