package e2e

import (
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/scheduler"
	"github.com/taskerhq/tasker/internal/store"
)

// often stores a schedule that fires every second, which the API does not accept.
func often(t *testing.T, db *store.Store) tasker.Schedule {
	t.Helper()
	d := tasker.ScheduleDefinition{
		Every: "1s", TimeZone: "UTC", CatchUp: "1h0m0s", Missed: tasker.MissedAll, Overlap: tasker.OverlapAllow,
		Task: []byte(`{"type":"sleep","payload":{"seconds":0}}`),
	}
	schedule, _, err := db.Schedules.PutSchedule(t.Context(), ledger.SchedulePut{
		Name: "often", Definition: d, Next: func(created, now time.Time) time.Time {
			table, err := scheduler.TableOf(tasker.Schedule{Name: "often", Definition: d, CreatedTime: created})
			if err != nil {
				t.Error(err)
				return time.Time{}
			}
			return table.Next(now)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return schedule
}

// Two API processes fire the slots of a schedule, and one of them is killed at each
// slot: each slot has one task, and none is left out.
func TestSchedulesUnderKills(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	db, err := store.Open(store.Config{URI: s.mysql}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	other := *s
	port := freePort(t)
	other.base, other.env = "http://127.0.0.1:"+port, append(slices.Clone(s.env), "TASKER_API_PORT="+port)
	systems := []*system{s, &other}
	apis := []*process{s.api(), other.api()}
	s.manager("console1")

	schedule := often(t, db)
	slots := func() []tasker.ScheduleSlot {
		t.Helper()
		list, err := db.Schedules.ListSlots(t.Context(), schedule.ID, time.Time{}, store.KeptSlots)
		if err != nil {
			t.Fatal(err)
		}
		slices.Reverse(list)
		return list
	}
	const kills = 12
	for round := range kills {
		seen := len(slots())
		s.until("another slot", func() bool { return len(slots()) > seen })
		victim := round % len(apis)
		apis[victim].kill()
		apis[victim] = systems[victim].api()
	}
	if code, _, err := s.request(http.MethodPost, "/v1/schedules/often/pause", "", nil); code != http.StatusOK || err != nil {
		t.Fatalf("pause: %d, %v", code, err)
	}
	s.until("the pause", func() bool {
		return slices.ContainsFunc(slots(), func(slot tasker.ScheduleSlot) bool { return slot.Outcome == tasker.SlotPaused })
	})

	fired := slots()
	fired = fired[:slices.IndexFunc(fired, func(slot tasker.ScheduleSlot) bool { return slot.Outcome == tasker.SlotPaused })]
	for i, slot := range fired {
		if slot.Outcome != tasker.SlotFired || slot.Identifier != tasker.SlotIdentifier("often", slot.Time) ||
			!slot.Time.Equal(schedule.NextTime.Add(time.Duration(i)*time.Second)) {
			t.Errorf("slot %d: %+v", i, slot)
		}
	}
	if len(fired) < kills {
		t.Errorf("only %d slots fired", len(fired))
	}
	for _, slot := range fired {
		s.await("/sleep/"+slot.Identifier, "DONE")
	}
	tasks, _, err := db.Tasks.ListTasks(t.Context(), tasker.TaskQuery{Type: "sleep", Limit: store.KeptSlots})
	if err != nil || len(tasks) != len(fired) {
		t.Errorf("%d tasks for %d slots, %v", len(tasks), len(fired), err)
	}
	for _, task := range tasks {
		if !slices.ContainsFunc(fired, func(slot tasker.ScheduleSlot) bool { return slot.TaskID == task.ID }) {
			t.Errorf("task %s has no slot", task.Identifier)
		}
	}
}

// The task of a schedule goes through its endpoints in waves.
func TestScheduleRollsOut(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.api()
	s.manager("console1")
	s.manager("console2")
	s.until("both endpoints", func() bool { return strings.Contains(s.text("/v1/endpoints"), `"console2"`) })
	code, _, err := s.request(http.MethodPut, "/v1/schedules/nightly",
		`{"cron":"@yearly","task":{"type":"sleep","payload":{"seconds":0},"expect":{"min":2},"rollout":{"batch":1}}}`, nil)
	if err != nil || code != http.StatusCreated {
		t.Fatalf("put: %d, %v", code, err)
	}
	var slot tasker.ScheduleSlot
	code, _, err = s.request(http.MethodPost, "/v1/schedules/nightly/trigger", "", &slot)
	if err != nil || code != http.StatusCreated {
		t.Fatalf("trigger: %d, %+v, %v", code, slot, err)
	}
	a := s.await("/sleep/"+slot.Identifier, "DONE")
	if len(a.TaskResponseList) != 2 {
		t.Errorf("%+v", a)
	}
	// The rollout ends once the task has.
	s.until("the rollout to be DONE after two waves", func() bool {
		var view rolled
		_, _, err := s.request(http.MethodGet, "/sleep/"+slot.Identifier+"/summary", "", &view)
		return err == nil && view.Task.Rollout.State == "DONE" && view.Task.Rollout.Wave == 2
	})
}
