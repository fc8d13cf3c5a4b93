package web

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

// scheduleRow is a schedule in a list.
type scheduleRow struct {
	tasker.Schedule
	Last *tasker.ScheduleSlot // nil if there is none, or it is not known
}

// Type returns the type of its tasks.
func (s scheduleRow) Type() string {
	var task struct {
		Type string `json:"type"`
	}
	if json.Unmarshal(s.Definition.Task, &task) != nil {
		return ""
	}
	return task.Type
}

// When says when it fires, in the words of whoever defined it.
func (s scheduleRow) When() string {
	d := &s.Definition
	switch {
	case d.Cron != "":
		return d.Cron
	case d.Every != "":
		return "every " + d.Every
	case len(d.At) == 1:
		return "once, at " + utc(d.At[0])
	}
	return "at " + plural(len(d.At), "time")
}

// Zone returns the time zone in which its times are read; empty if they need none.
func (s scheduleRow) Zone() string {
	if s.Definition.Cron == "" {
		return ""
	}
	return s.Definition.TimeZone
}

// schedulesPage is the list of the schedules.
type schedulesPage struct {
	Rows  []scheduleRow
	First bool
	Next  string
}

func showSchedules(v *visit) error {
	query := url.Values{"limit": {strconv.Itoa(pageRows)}}
	if cursor := v.r.URL.Query().Get("cursor"); cursor != "" {
		query.Set("cursor", cursor)
	}
	found, err := get[client.SchedulePage](v, query, "v1", "schedules")
	if err != nil {
		return err
	}
	p := schedulesPage{Rows: v.scheduleRows(found.Schedules), First: !query.Has("cursor"), Next: value(found.Next)}
	return v.show(http.StatusOK, "schedules", page{Title: "Schedules", Section: "schedules", Events: "events", Body: p})
}

// scheduleRows asks for the last slots of schedules, for as long as a page of tasks counts
// their results.
func (v *visit) scheduleRows(schedules []tasker.Schedule) []scheduleRow {
	rows := make([]scheduleRow, len(schedules))
	begun := time.Now()
	for i, schedule := range schedules {
		rows[i].Schedule = schedule
		if time.Since(begun) > countingTime {
			continue
		}
		// A schedule whose slots cannot be read is no reason to show none.
		last, err := get[client.SlotPage](v, url.Values{"limit": {"1"}}, "v1", "schedules", schedule.Name, "slots")
		if err == nil && len(last.Slots) > 0 {
			rows[i].Last = &last.Slots[0]
		}
	}
	return rows
}

// schedulePage is one schedule with its next and its past slots.
type schedulePage struct {
	Row      scheduleRow
	Upcoming []tasker.UpcomingSlot
	Slots    []tasker.ScheduleSlot
	First    bool
	Next     string
	Task     document
	Seen     string // see seenSchedule
	Wrong    string // why the last form was refused
}

// Unfired returns the slots of the page that did not fire, for which somebody may have
// waited: all but those that passed while it was paused.
func (p schedulePage) Unfired() (slots []tasker.ScheduleSlot) {
	for _, slot := range p.Slots {
		if slot.Outcome != tasker.SlotFired && slot.Outcome != tasker.SlotPaused {
			slots = append(slots, slot)
		}
	}
	return slots
}

// schedule returns the name of the schedule in the path of the page.
func (v *visit) schedule() (string, error) {
	name := v.r.PathValue("schedule")
	if tasker.ValidateScheduleName(name) != nil {
		return "", tasker.Errorf(tasker.NotFound, "schedule not found")
	}
	return name, nil
}

func showSchedule(v *visit) error { return v.showSchedule(http.StatusOK, "") }

// showSchedule shows a schedule, and why a form was refused, if one was.
func (v *visit) showSchedule(status int, wrong string) error {
	name, err := v.schedule()
	if err != nil {
		return err
	}
	answer, err := v.api.Schedule(v.ctx(), name)
	if err != nil {
		return err
	}
	query := url.Values{"limit": {strconv.Itoa(pageRows)}}
	if cursor := v.r.URL.Query().Get("cursor"); cursor != "" {
		query.Set("cursor", cursor)
	}
	slots, err := get[client.SlotPage](v, query, "v1", "schedules", name, "slots")
	if err != nil {
		return err
	}
	p := schedulePage{
		Row: scheduleRow{Schedule: answer.Schedule}, Upcoming: answer.Upcoming, Slots: slots.Slots, First: !query.Has("cursor"),
		Next: value(slots.Next), Task: documentOf(answer.Definition.Task), Seen: seenSchedule(answer), Wrong: wrong,
	}
	out := page{Title: "Schedule " + name, Section: "schedules", Body: p}
	if p.First && wrong == "" {
		out.Events = "events"
	}
	return v.show(status, "schedule", out)
}

// seenSchedule returns what a form says of the schedule that the person saw who sends it, so
// that it does nothing to another one, and one that is sent twice triggers once.
func seenSchedule(a client.ScheduleAnswer) string {
	expect := a.Expect()
	expect.Latest = new(time.Time)
	if len(a.Slots) > 0 {
		*expect.Latest = a.Slots[0].Time
	}
	seen, _ := json.Marshal(expect) // a number and times are always encoded
	return string(seen)
}

func pauseSchedule(v *visit) error {
	return v.actOnSchedule(func(name string, expect tasker.ScheduleExpect) error {
		_, err := v.api.PauseSchedule(v.ctx(), name, v.reason(), expect)
		return err
	})
}

func resumeSchedule(v *visit) error {
	return v.actOnSchedule(func(name string, expect tasker.ScheduleExpect) error {
		_, err := v.api.ResumeSchedule(v.ctx(), name, expect)
		return err
	})
}

func triggerSchedule(v *visit) error {
	return v.actOnSchedule(func(name string, expect tasker.ScheduleExpect) error {
		_, err := v.api.TriggerSchedule(v.ctx(), name, expect)
		return err
	})
}

// actOnSchedule does something to the schedule in the path, if it is as the person saw it
// who sent the form, and leads back to its page.
func (v *visit) actOnSchedule(do func(name string, expect tasker.ScheduleExpect) error) error {
	name, err := v.schedule()
	if err == nil {
		err = v.form()
	}
	if err != nil {
		return err
	}
	var expect tasker.ScheduleExpect
	if json.Unmarshal([]byte(v.r.PostForm.Get("seen")), &expect) == nil {
		err = do(name, expect)
	} else {
		err = tasker.Errorf(tasker.Malformed, "malformed form: nothing was done; send it from the page of the schedule")
	}
	if err != nil {
		if !refused(err) {
			return err
		}
		f, status := failureOf(err)
		return v.showSchedule(status, f.Detail)
	}
	return v.redirect("schedules/" + name)
}
