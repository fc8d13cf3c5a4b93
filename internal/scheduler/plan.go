package scheduler

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/timetable"
)

const (
	// onTime is how late a slot may fire without being missed: a restart of the last
	// API process takes less.
	onTime = time.Minute
	// maxCaughtUp bounds the missed slots that fire.
	maxCaughtUp = 100
	// maxRecorded bounds the missed slots that are recorded one by one: no more are
	// kept.
	maxRecorded = 1000
)

// SpecOf returns when a schedule fires. Its durations must be valid.
func SpecOf(d tasker.ScheduleDefinition) timetable.Spec {
	return timetable.Spec{Cron: d.Cron, Every: duration(d.Every), At: d.At, Zone: d.TimeZone, Until: d.Until}
}

// duration returns a duration of a definition, 0 if it is empty.
func duration(text string) time.Duration {
	d, _ := time.ParseDuration(text) // checked when the schedule was stored
	return d
}

// TableOf returns when a schedule fires.
func TableOf(s tasker.Schedule) (*timetable.Table, error) {
	return timetable.Parse(SpecOf(s.Definition), s.Name, s.CreatedTime)
}

// Upcoming returns the first n slots after a time.
func Upcoming(table *timetable.Table, name string, d tasker.ScheduleDefinition, after time.Time, n int) []tasker.UpcomingSlot {
	list := []tasker.UpcomingSlot{}
	_, offset := after.In(table.Location()).Zone()
	for slot := table.Next(after); !slot.IsZero() && len(list) < n; slot = table.Next(slot) {
		up := tasker.UpcomingSlot{
			Time: slot, Local: slot.In(table.Location()), StartTime: slot.Add(Delay(name, slot, duration(d.Jitter))),
		}
		before := offset
		if _, offset = up.Local.Zone(); offset != before {
			up.ClockChange = (time.Duration(offset-before) * time.Second).String()
		}
		list = append(list, up)
	}
	return list
}

// duty is what there is to do for a schedule.
type duty struct {
	fire   []time.Time           // oldest first
	missed []tasker.ScheduleSlot // oldest first
	unseen int                   // missed slots before those, which are not recorded
	next   time.Time             // the first slot that is not due; zero if there is none
}

// dutyOf returns what to do with the slots from first, which is one of them, to now.
func dutyOf(d tasker.ScheduleDefinition, table *timetable.Table, first, now time.Time) duty {
	var due []time.Time
	work := duty{next: first}
	for ; !work.next.IsZero() && !work.next.After(now); work.next = table.Next(work.next) {
		if len(due) == 2*maxRecorded {
			work.unseen += maxRecorded
			due = append(due[:0], due[maxRecorded:]...)
		}
		due = append(due, work.next)
	}
	limit := max(duration(d.CatchUp), onTime)
	left := 1 // slots that may still fire, beginning with the newest
	switch d.Missed {
	case tasker.MissedAll:
		left = maxCaughtUp
	case tasker.MissedSkip:
		limit, left = onTime, maxCaughtUp
	}
	from := len(due)
	for from > 0 && left > 0 && now.Sub(due[from-1]) <= limit {
		from, left = from-1, left-1
	}
	work.fire = due[from:]
	missed := due[:from]
	if more := len(missed) - maxRecorded; more > 0 {
		work.unseen, missed = work.unseen+more, missed[more:]
	}
	for i, slot := range missed {
		reason := tooLate(d, slot, now)
		if i == 0 && work.unseen > 0 {
			reason += fmt.Sprintf("; so were %d before", work.unseen)
		}
		work.missed = append(work.missed, tasker.ScheduleSlot{Time: slot, Outcome: tasker.SlotMissed, Reason: reason})
	}
	return work
}

// tooLate says why a slot does not fire any more.
func tooLate(d tasker.ScheduleDefinition, slot, now time.Time) string {
	late := now.Sub(slot).Truncate(time.Second)
	switch catchUp := duration(d.CatchUp); {
	case d.Missed == tasker.MissedSkip:
		return fmt.Sprintf("%s late, and missed slots are skipped", late)
	case late > max(catchUp, onTime):
		return fmt.Sprintf("%s late, and catch_up is %s", late, catchUp)
	case d.Missed == tasker.MissedAll:
		return fmt.Sprintf("%s late, and %d newer slots were missed, too", late, maxCaughtUp)
	}
	return fmt.Sprintf("%s late, and a newer slot was missed, too", late)
}

// Delay returns by how much the task of a slot starts later: always the same part of
// the jitter.
func Delay(schedule string, slot time.Time, jitter time.Duration) time.Duration {
	if jitter < time.Millisecond {
		return 0
	}
	sum := sha256.Sum256([]byte(schedule + "\n" + slot.UTC().Format(time.RFC3339)))
	return time.Duration(binary.BigEndian.Uint64(sum[:8])%uint64(jitter/time.Millisecond)) * time.Millisecond
}
