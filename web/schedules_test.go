package web_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

// schedule creates a schedule of tasks of the type worker.
func (b *browser) schedule(name string, s client.NewSchedule) {
	b.t.Helper()
	s.Task = json.RawMessage(`{"type":"worker","all":true,"payload":{"keep":7}}`)
	if _, _, err := b.api.PutSchedule(b.t.Context(), name, s, client.AnyVersion); err != nil {
		b.t.Fatal(err)
	}
}

func TestScheduleWithoutJavaScript(t *testing.T) {
	t.Parallel()
	b := open(t)
	b.schedule("nightly", client.NewSchedule{Cron: "30 12 * * *", TimeZone: "Europe/Berlin"})
	b.schedule("often", client.NewSchedule{Every: "90m"})
	b.want(b.get("schedules"), http.StatusOK, "nightly", "30 12 * * *", "Europe/Berlin", "every 1h30m0s", "worker")
	const path = "schedules/nightly"
	page := b.want(b.get(path), http.StatusOK, "30 12 * * *", "Europe/Berlin", "&#34;keep&#34;: 7", "None has passed yet", "skip", "tasker schedules pause nightly")
	if n := strings.Count(page.body, " 12:30:00 &#43;0"); n != 10 {
		t.Errorf("%d next slots, want 10\n%s", n, page.body)
	}

	form := b.fields(page, path+"/pause")
	form.Set("reason", "moving <disks>")
	page = b.want(b.follow(b.post(path+"/pause", form)), http.StatusOK, "PAUSED", "Paused by anonymous", "moving &lt;disks&gt;", "resume nightly")
	b.want(b.get("schedules"), http.StatusOK, "PAUSED", "moving &lt;disks&gt;")
	form.Set("reason", "for another reason")
	b.want(b.post(path+"/pause", form), http.StatusConflict, "changed meanwhile", "moving &lt;disks&gt;") // it is paused by now
	resume := b.fields(page, path+"/resume")
	page = b.want(b.follow(b.post(path+"/resume", resume)), http.StatusOK, "Pause this schedule")
	b.want(b.post(path+"/resume", resume), http.StatusConflict, "changed meanwhile")

	trigger := b.fields(page, path+"/trigger")
	b.want(b.post(path+"/trigger", url.Values{}), http.StatusBadRequest, "nothing was done")
	b.want(b.follow(b.post(path+"/trigger", trigger)), http.StatusOK, "FIRED", "anonymous", `href="tasks/worker/nightly-`)
	b.want(b.post(path+"/trigger", trigger), http.StatusConflict, "fired or was triggered meanwhile") // twice is once
	n := 0
	for slot, err := range b.api.ScheduleSlots(t.Context(), "nightly") {
		if n++; err != nil || slot.Outcome != tasker.SlotFired || slot.By != "anonymous" {
			t.Errorf("%+v, %v", slot, err)
		}
		b.until("worker", slot.Identifier, tasker.Done)
	}
	if n != 1 {
		t.Errorf("it was triggered %d times", n)
	}
	b.want(b.get("schedules"), http.StatusOK, "FIRED")
	b.want(b.post("schedules/nosuch/trigger", url.Values{}), http.StatusNotFound)
}

// What did not fire is named, and a list asks for the slots of each schedule once.
func TestMissedSlots(t *testing.T) {
	t.Parallel()
	s := tasker.Schedule{Name: "s1", Definition: tasker.ScheduleDefinition{At: []time.Time{day}, Task: json.RawMessage(`{"type":"worker"}`)}}
	next := "x"
	var slots []tasker.ScheduleSlot
	for i, outcome := range []tasker.SlotOutcome{tasker.SlotFired, tasker.SlotMissed, tasker.SlotPaused, tasker.SlotOverlap, tasker.SlotFailed} {
		slots = append(slots, tasker.ScheduleSlot{Time: day.Add(-time.Duration(i) * time.Hour), Outcome: outcome, Reason: fmt.Sprint("reason ", i)})
	}
	api := &fakeAPI{answers: map[string]any{
		"/v1/schedules":          client.SchedulePage{Schedules: []tasker.Schedule{s}, Next: &next},
		"/v1/schedules/s1":       client.ScheduleAnswer{Schedule: s, Slots: slots},
		"/v1/schedules/s1/slots": client.SlotPage{Slots: slots, Next: &next},
	}}
	for path, texts := range map[string][]string{
		"/schedules": {"s1", "once, at 2026-05-06 01:14:24 UTC", "never again", "FIRED", "schedules?cursor=x"},
		"/schedules/s1": {
			"3 slots of those below did not fire: 2026-05-06 00:14:24 UTC MISSED, 2026-05-05 22:14:24 UTC SKIPPED_OVERLAP, 2026-05-05 21:14:24 UTC FAILED",
			"reason 1", "reason 4", "schedules/s1?cursor=x", "There are none",
		},
	} {
		api.asked = nil
		a := page(t, api, path)
		if a.status != http.StatusOK || len(api.asked) != 2 {
			t.Errorf("%s: status %d, asked %v", path, a.status, api.asked)
		}
		for _, text := range texts {
			if !strings.Contains(a.body, text) {
				t.Errorf("%s does not contain %q:\n%s", path, text, a.body)
			}
		}
	}
}
