package promises

import (
	"slices"
	"time"
)

// Schedules: each slot has one task, or a reason that its schedule allows.

// The outcomes of slots.
const (
	slotFired   = "FIRED"
	slotMissed  = "MISSED"
	slotOverlap = "SKIPPED_OVERLAP"
)

// allows reports whether the schedule's policies allow a slot to end without a task.
func (s *Schedule) allows(outcome string) bool {
	return outcome == slotOverlap && s.Overlap != "allow" || outcome == slotMissed && s.Missed != "all"
}

// slot returns what became of a slot, nil if it is not recorded.
func (s *Schedule) slot(at time.Time) *Slot {
	i := slices.IndexFunc(s.Slots, func(slot Slot) bool { return slot.Time.Equal(at) })
	if i < 0 {
		return nil
	}
	return &s.Slots[i]
}

// Each slot after its schedule was accepted has fired, unless a policy for missed or
// overlapping slots says otherwise.
func slotLost(w *world, report reportFunc) {
	for i := range w.Schedules {
		s := &w.Schedules[i]
		for _, at := range s.At {
			if s.Accepted.IsZero() || !at.After(s.Accepted.Add(grace)) {
				continue
			}
			switch slot := s.slot(at); {
			case slot == nil:
				report("schedule %s was accepted at %s, but nothing became of its slot %s", s.Name, clock(s.Accepted), clock(at))
			case slot.Outcome != slotFired && !s.allows(slot.Outcome):
				report("schedule %s (missed %s, overlap %s): its slot %s is %s: %s", s.Name, s.Missed, s.Overlap, clock(at), slot.Outcome,
					slot.Reason)
			}
		}
	}
}

// A slot has one task, which has its name. What else the schedule creates is reported as
// tasks that were never posted.
func slotTwice(w *world, report reportFunc) {
	for i := range w.Schedules {
		s := &w.Schedules[i]
		for j, slot := range s.Slots {
			want := ""
			if slot.Outcome == slotFired {
				want = s.Name + "-" + slot.Time.UTC().Format("20060102T150405Z")
			}
			switch {
			case slices.ContainsFunc(s.Slots[:j], func(other Slot) bool { return other.Time.Equal(slot.Time) }):
				report("schedule %s has its slot %s twice", s.Name, clock(slot.Time))
			case !slices.ContainsFunc(s.At, slot.Time.Equal):
				report("schedule %s is %s at %s, which is none of its slots", s.Name, slot.Outcome, clock(slot.Time))
			case slot.Identifier != want:
				report("schedule %s: its slot %s is %s with task %q, not %q", s.Name, clock(slot.Time), slot.Outcome, slot.Identifier, want)
			}
		}
	}
}
