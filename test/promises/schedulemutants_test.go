package promises

import (
	"slices"
	"time"
)

// scheduled returns a schedule with two slots that have fired as they had to.
func scheduled(begin time.Time) Schedule {
	s := Schedule{Name: "s", Type: "once", Missed: "all", Overlap: "allow", Accepted: begin}
	for i := range 2 {
		at := begin.Add(time.Duration(i+1) * time.Minute).UTC().Truncate(time.Second)
		s.At = append(s.At, at)
		s.Slots = append(s.Slots, Slot{Time: at, Outcome: slotFired, Identifier: "s-" + at.Format("20060102T150405Z")})
	}
	return s
}

func scheduleMutants() []mutant {
	var list []mutant
	for _, broken := range []struct {
		name, rule string
		change     func(s *Schedule)
	}{
		{"slot is forgotten", "slot-lost", func(s *Schedule) { s.Slots = s.Slots[:1] }},
		{"slot is missed", "slot-lost", func(s *Schedule) { s.Slots[0] = Slot{Time: s.At[0], Outcome: slotMissed} }},
		{"slot overlaps", "slot-lost", func(s *Schedule) { s.Slots[1] = Slot{Time: s.At[1], Outcome: slotOverlap} }},
		{"slot fails", "slot-lost", func(s *Schedule) {
			s.Missed, s.Overlap, s.Slots[0] = "skip", "skip", Slot{Time: s.At[0], Outcome: "FAILED"}
		}},
		{"slot fires twice", "slot-twice", func(s *Schedule) { s.Slots = append(s.Slots, s.Slots[0]) }},
		{"slot has another's task", "slot-twice", func(s *Schedule) { s.Slots[0].Identifier = s.Slots[1].Identifier }},
		{"slot did not fire and has a task", "slot-twice", func(s *Schedule) { s.Missed, s.Slots[0].Outcome = "last", slotMissed }},
		{"schedule fires between its slots", "slot-twice", func(s *Schedule) {
			s.Slots = append(s.Slots, Slot{Time: s.At[0].Add(time.Second), Outcome: slotFired, Identifier: "s-"})
		}},
	} {
		list = append(list, mutant{broken.name, "once", true, func(m *mutation) {
			s := scheduled(m.h.Begin)
			broken.change(&s)
			m.h.Schedules = append(m.h.Schedules, s)
		}, broken.rule})
	}
	return list
}

// keepSchedules adds schedules to a history that it keeps: one that fires, one whose
// policies let slots pass, and one that may not be stored.
func keepSchedules(h *History) {
	fires, passes, unknown := scheduled(h.Begin), scheduled(h.Begin), scheduled(h.Begin)
	passes.Missed, passes.Overlap = "last", "skip"
	passes.Slots = []Slot{{Time: passes.At[0], Outcome: slotMissed}, {Time: passes.At[1], Outcome: slotOverlap}}
	unknown.Accepted, unknown.Slots = time.Time{}, nil
	late := scheduled(h.Begin)
	late.Accepted, late.Slots = late.At[0], slices.Clone(late.Slots[1:]) // it was stored after its first slot
	h.Schedules = append(h.Schedules, fires, passes, unknown, late)
}
