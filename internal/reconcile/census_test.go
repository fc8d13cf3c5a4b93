package reconcile

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/observe"
)

// The metrics tell what the database had, and that there is nothing; a database that
// does not answer changes nothing.
func TestCensus(t *testing.T) {
	w := newWorld(t)
	registry := prometheus.NewRegistry()
	c := newCensus(w, Config{TaskTypes: []string{"worker", "backup"}, LostAfter: time.Minute, Metrics: observe.NewReconcileMetrics(registry)})
	compare := func(want string) {
		t.Helper()
		if err := testutil.GatherAndCompare(registry, strings.NewReader(want),
			"tasker_tasks_open", "tasker_oldest_open_seconds", "tasker_oldest_unsent_seconds", "tasker_endpoints", "tasker_holds", "tasker_rollouts_open", "tasker_dead_letters"); err != nil {
			t.Error(err)
		}
	}
	compare("")
	if _, _, err := w.CreateTask(t.Context(), tasker.Task{Type: "worker", Identifier: "a"}); err != nil {
		t.Fatal(err)
	}
	w.clock.advance(10 * time.Second)
	if _, err := w.AcquireEndpoint(t.Context(), tasker.Endpoint{Name: "e", Manager: manager, TaskTypes: []string{"worker"}}, time.Minute); err != nil {
		t.Fatal(err)
	}
	w.roll("waves", `{"batch":1}`, "e")
	if _, err := w.Hold(t.Context(), tasker.HoldRequest{HoldSubject: tasker.HoldSubject{Endpoint: "e"}}); err != nil {
		t.Fatal(err)
	}
	if err := c.runOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.clock.advance(5 * time.Second) // ages go on between two looks
	compare(`# HELP tasker_dead_letters Dead letters stored. From the database: use max, not sum.
# TYPE tasker_dead_letters gauge
tasker_dead_letters 0
# HELP tasker_endpoints Endpoints, seen or silent. From the database: use max, not sum.
# TYPE tasker_endpoints gauge
tasker_endpoints{state="seen"} 1
tasker_endpoints{state="silent"} 0
# HELP tasker_holds What is drained or paused. From the database: use max, not sum.
# TYPE tasker_holds gauge
tasker_holds{subject="endpoint"} 1
tasker_holds{subject="task"} 0
tasker_holds{subject="task_type"} 0
# HELP tasker_oldest_open_seconds Age of the oldest open task. From the database: use max.
# TYPE tasker_oldest_open_seconds gauge
tasker_oldest_open_seconds{task_type="backup"} 0
tasker_oldest_open_seconds{task_type="worker"} 15
# HELP tasker_oldest_unsent_seconds Age of the oldest task not sent. From the database: use max, not sum.
# TYPE tasker_oldest_unsent_seconds gauge
tasker_oldest_unsent_seconds 15
# HELP tasker_rollouts_open Rollouts not ended. From the database: use max, not sum.
# TYPE tasker_rollouts_open gauge
tasker_rollouts_open{state="HALTED"} 0
tasker_rollouts_open{state="PAUSED"} 0
tasker_rollouts_open{state="RUNNING"} 1
tasker_rollouts_open{state="SOAKING"} 0
tasker_rollouts_open{state="WAITING_APPROVAL"} 0
# HELP tasker_tasks_open Tasks not ended. From the database: use max, not sum.
# TYPE tasker_tasks_open gauge
tasker_tasks_open{status="CANCELING",task_type="backup"} 0
tasker_tasks_open{status="CANCELING",task_type="worker"} 0
tasker_tasks_open{status="CREATED",task_type="backup"} 0
tasker_tasks_open{status="CREATED",task_type="worker"} 2
tasker_tasks_open{status="INCOMPLETE",task_type="backup"} 0
tasker_tasks_open{status="INCOMPLETE",task_type="worker"} 0
tasker_tasks_open{status="SCHEDULED",task_type="backup"} 0
tasker_tasks_open{status="SCHEDULED",task_type="worker"} 0
tasker_tasks_open{status="SENT",task_type="backup"} 0
tasker_tasks_open{status="SENT",task_type="worker"} 0
`)
}

// A loop that succeeds has a time; one that fails has none, or an older one.
func TestLoopsTellWhenTheySucceeded(t *testing.T) {
	w := newWorld(t)
	registry := prometheus.NewRegistry()
	w.fail("MarkLost", true)
	r := New(Config{Metrics: observe.NewReconcileMetrics(registry)}, w.parts(), w.broker, w.dispatcher(), w.log)
	w.start(r.Run)
	loops := func() map[string]bool {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, f := range families {
			if f.GetName() != "tasker_loop_last_success_timestamp_seconds" {
				continue
			}
			for _, m := range f.GetMetric() {
				seen[m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue() > 0
			}
		}
		return seen
	}
	deadline := time.Now().Add(5 * time.Minute)
	for !loops()["relay"] || !loops()["census"] || !loops()["incomplete"] || w.called("MarkLost") == 0 {
		if time.Now().After(deadline) {
			t.Fatalf("loops that succeeded: %v", loops())
		}
		select {
		case <-time.After(time.Millisecond):
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		}
	}
	if loops()["lost"] {
		t.Error("a loop that failed succeeded")
	}
}
