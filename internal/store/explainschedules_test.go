package store_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
)

// Every statement for schedules uses an index.
func TestEveryScheduleStatementHasItsIndex(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s, db, list := listening(t)
	const numbers = "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 3000) "
	for _, statement := range []string{
		"INSERT INTO schedules (name, definition, version, revision, next_time, due_time, failures_since, created_time, created_by," +
			" changed_time, changed_by) " + numbers + "SELECT CONCAT('s', i), '{}', 1, 1, NOW(6) + INTERVAL i MINUTE, NOW(6) + INTERVAL i MINUTE," +
			" NOW(6), NOW(6), '', NOW(6), '' FROM n WHERE i < 500",
		"INSERT INTO schedule_slots (schedule_id, slot_time, outcome, reason, type, identifier, task_id, requested_by, recorded_time) " + numbers +
			"SELECT i % 10, NOW(6) - INTERVAL i MINUTE, 'FIRED', '', 't1', CONCAT('id-', i), i, '', NOW(6) FROM n",
		"ANALYZE TABLE schedules, schedule_slots",
	} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	*list = nil
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	put := hourly("s7")
	schedule, created, err := s.Schedules.PutSchedule(ctx, put)
	must(err)
	if created {
		t.Error("s7 is new")
	}
	_, _, err = s.Schedules.PutSchedule(ctx, hourly("new"))
	must(err)
	_, err = s.Schedules.PauseSchedule(ctx, "s8", tasker.ScheduleExpect{}, &tasker.SchedulePause{By: "me"})
	must(err)
	_, err = s.Schedules.FindSchedule(ctx, "s9")
	must(err)
	_, err = s.Schedules.ListSchedules(ctx, "s1", 10)
	must(err)
	_, err = s.Schedules.DueSchedules(ctx, 10)
	must(err)
	_, _, err = s.Schedules.NextDue(ctx)
	must(err)
	step := firing(schedule)
	step.Task.Type, step.Again = "t1", true
	_, err = s.Schedules.StepSchedule(ctx, step)
	must(err)
	for _, before := range []time.Time{{}, s.Now().Add(-time.Hour)} {
		_, err = s.Schedules.ListSlots(ctx, 7, before, 10)
		must(err)
	}
	_, err = s.Schedules.FiredSlots(ctx, 7, []time.Time{s.Now(), s.Now().Add(-time.Hour)})
	must(err)
	_, err = s.Schedules.RunningSlots(ctx, 7)
	must(err)
	_, err = s.Schedules.FailedInARow(ctx, schedule, 3)
	must(err)
	must(s.Schedules.DeleteSchedule(ctx, "s6", nil))

	slices.Sort(*list)
	explained := 0
	for _, statement := range slices.Compact(*list) {
		verb, _, _ := strings.Cut(statement, " ")
		if verb == "INSERT" && !strings.Contains(statement, " SELECT ") {
			continue
		}
		explained++
		for _, problem := range explain(t, db, statement) {
			t.Errorf("%s:\n%s", problem, statement)
		}
	}
	if explained < 15 {
		t.Errorf("only %d statements were explained", explained)
	}
}
