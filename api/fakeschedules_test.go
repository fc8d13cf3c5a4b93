package api_test

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// fakeSchedules keeps schedules in memory, and does what a scheduler is told. It fails
// as the fakeStore does.
type fakeSchedules struct {
	*fakeStore
	list    []tasker.Schedule // by name
	slots   []tasker.ScheduleSlot
	changes int
	asked   []string // of the scheduler
}

func (s *fakeSchedules) at(name string) (i int, err error) {
	i, found := slices.BinarySearchFunc(s.list, name, func(a tasker.Schedule, name string) int { return strings.Compare(a.Name, name) })
	if !found {
		err = tasker.Errorf(tasker.NotFound, "schedule %q not found", name)
	}
	if s.err != nil {
		err = s.err
	}
	return i, err
}

func (s *fakeSchedules) PutSchedule(_ context.Context, put ledger.SchedulePut) (tasker.Schedule, bool, error) {
	defer s.begin("PutSchedule")()
	i, err := s.at(put.Name)
	created := tasker.CodeOf(err) == tasker.NotFound
	if err != nil && !created {
		return tasker.Schedule{}, false, err
	}
	if created {
		s.list = slices.Insert(s.list, i, tasker.Schedule{Name: put.Name, CreatedTime: s.now, CreatedBy: put.By})
	}
	schedule := &s.list[i]
	if put.Version != nil && *put.Version != schedule.Version {
		return tasker.Schedule{}, false, tasker.Errorf(tasker.Conflict, "schedule %q has version %d", put.Name, schedule.Version)
	}
	next := put.Next(schedule.CreatedTime, s.now)
	schedule.Version++
	schedule.Definition, schedule.NextTime, schedule.ChangedTime, schedule.ChangedBy = put.Definition, &next, s.now, put.By
	if put.Paused != nil && *put.Paused {
		schedule.Pause = &tasker.SchedulePause{By: put.By, At: s.now}
	}
	return *schedule, created, nil
}

func (s *fakeSchedules) FindSchedule(_ context.Context, name string) (tasker.Schedule, error) {
	defer s.begin("FindSchedule")()
	i, err := s.at(name)
	if err != nil {
		return tasker.Schedule{}, err
	}
	return s.list[i], nil
}

func (s *fakeSchedules) ListSchedules(_ context.Context, after string, limit int) (list []tasker.Schedule, err error) {
	defer s.begin("ListSchedules")()
	for _, schedule := range s.list {
		if schedule.Name > after && len(list) < limit {
			list = append(list, schedule)
		}
	}
	return list, s.err
}

func (s *fakeSchedules) PauseSchedule(_ context.Context, name string, expect tasker.ScheduleExpect, pause *tasker.SchedulePause) (tasker.Schedule, error) {
	defer s.begin("PauseSchedule")()
	i, err := s.at(name)
	if err == nil {
		err = expect.Check(&s.list[i])
	}
	if err != nil {
		return tasker.Schedule{}, err
	}
	s.list[i].Pause = pause
	return s.list[i], nil
}

func (s *fakeSchedules) DeleteSchedule(_ context.Context, name string, version *int64) error {
	defer s.begin("DeleteSchedule")()
	i, err := s.at(name)
	switch {
	case err != nil:
		return err
	case version != nil && *version != s.list[i].Version:
		return tasker.Errorf(tasker.Conflict, "schedule %q has version %d", name, s.list[i].Version)
	}
	s.list = slices.Delete(s.list, i, i+1)
	return nil
}

func (s *fakeSchedules) ListSlots(_ context.Context, _ int64, before time.Time, limit int) (list []tasker.ScheduleSlot, err error) {
	defer s.begin("ListSlots")()
	for _, slot := range s.slots {
		if (before.IsZero() || slot.Time.Before(before)) && len(list) < limit {
			list = append(list, slot)
		}
	}
	return list, s.err
}

func (s *fakeSchedules) Changed() {
	defer s.begin("Changed")()
	s.changes++
}

func (s *fakeSchedules) Trigger(_ context.Context, name, by string, expect tasker.ScheduleExpect) (tasker.ScheduleSlot, error) {
	defer s.begin("Trigger")()
	i, err := s.at(name)
	if err == nil {
		err = expect.Check(&s.list[i])
	}
	if err == nil && len(s.slots) > 0 {
		err = expect.CheckLatest(name, &s.slots[0])
	}
	s.asked = append(s.asked, "trigger "+name+" by "+by)
	return tasker.ScheduleSlot{
		Time: s.now, Outcome: tasker.SlotFired, Type: "worker", Identifier: tasker.SlotIdentifier(name, s.now), By: by, RecordedTime: s.now,
	}, err
}

func (s *fakeSchedules) Backfill(_ context.Context, name string, from, to time.Time, by string, dry bool) ([]tasker.BackfilledSlot, error) {
	defer s.begin("Backfill")()
	asked := "backfill " + name + " from " + from.Format(time.RFC3339) + " to " + to.Format(time.RFC3339) + " by " + by
	if dry {
		asked += ", dry"
	}
	s.asked = append(s.asked, asked)
	_, err := s.at(name)
	return []tasker.BackfilledSlot{{Time: from, Identifier: tasker.SlotIdentifier(name, from), Fired: true}}, err
}
