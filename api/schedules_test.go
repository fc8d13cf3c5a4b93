package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/api"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/internal/schema"
)

const newSchedule = `{"cron":"30 2 * * 1-5","time_zone":"Europe/Berlin","jitter":"5m","task":{"type":"worker","payload":{"foo":"bar"}}}`

func (h *harness) put(t testing.TB, path, body string) answer {
	t.Helper()
	return h.do(t, http.MethodPut, path, []byte(body), "Content-Type", "application/json")
}

func TestSchedules(t *testing.T) {
	h := newHarness(t)
	h.get(t, "/v1/schedules/nightly").want(t, http.StatusNotFound)
	a := h.put(t, "/v1/schedules/nightly", newSchedule)
	a.want(t, http.StatusCreated)
	got := decode[client.ScheduleAnswer](t, a.body)
	want := tasker.ScheduleDefinition{
		Cron: "30 2 * * 1-5", TimeZone: "Europe/Berlin", Task: []byte(`{"type":"worker","payload":{"foo":"bar"}}`),
		CatchUp: "1h0m0s", Missed: tasker.MissedLast, Overlap: tasker.OverlapSkip, Jitter: "5m0s",
	}
	if fmt.Sprint(got.Definition) != fmt.Sprint(want) || got.Version != 1 || got.CreatedBy != "anonymous" || got.Pause != nil ||
		!got.NextTime.Equal(time.Date(2015, 5, 7, 0, 30, 0, 0, time.UTC)) || a.header.Get("Location") != "/v1/schedules/nightly" {
		t.Errorf("%s", a.body)
	}
	if len(got.Upcoming) != 10 || got.Upcoming[0].Local.Format(time.RFC3339) != "2015-05-07T02:30:00+02:00" || !got.Upcoming[0].Time.Equal(*got.NextTime) {
		t.Errorf("upcoming %+v", got.Upcoming)
	}

	h.put(t, "/v1/schedules/nightly?version=2", newSchedule).want(t, http.StatusConflict)
	full := `{"every":90,"time_zone":null,"task":{"type":"worker","expires":"1h","endpoints":["a"]},"catch_up":"2h","missed":"all",` +
		`"overlap":"cancel","jitter":"0s","paused":true,"pause_on_failures":3,"until":"2016-01-01T01:00:00+01:00"}`
	a = h.put(t, "/v1/schedules/nightly?version=1", full)
	a.want(t, http.StatusOK)
	got = decode[client.ScheduleAnswer](t, a.body)
	if d := got.Definition; d.Every != "1m30s" || d.Cron != "" || d.TimeZone != "UTC" || d.CatchUp != "2h0m0s" || d.Missed != tasker.MissedAll ||
		d.Overlap != tasker.OverlapCancel || d.Jitter != "" || d.PauseOnFailures != 3 || d.Until == nil || got.Pause == nil || got.Version != 2 {
		t.Errorf("%s", a.body)
	}
	a = h.put(t, "/v1/schedules/moves", `{"at":["2015-06-01T00:00:00+02:00","2015-05-30T00:00:00Z"],"task":{"type":"worker"}}`)
	a.want(t, http.StatusCreated)
	if got := decode[client.ScheduleAnswer](t, a.body); len(got.Upcoming) != 2 || got.Upcoming[1].Time.Format(time.RFC3339) != "2015-05-31T22:00:00Z" {
		t.Errorf("%s", a.body)
	}

	page := decode[client.SchedulePage](t, h.get(t, "/v1/schedules?limit=1").body)
	if len(page.Schedules) != 1 || page.Schedules[0].Name != "moves" || page.Next == nil {
		t.Fatalf("%+v", page)
	}
	page = decode[client.SchedulePage](t, h.get(t, "/v1/schedules?cursor="+*page.Next).body)
	if len(page.Schedules) != 1 || page.Schedules[0].Name != "nightly" || page.Next != nil {
		t.Errorf("%+v", page)
	}
	for i := range 12 {
		h.schedules.slots = append(h.schedules.slots, tasker.ScheduleSlot{
			Time: h.store.now.Add(-time.Duration(i) * time.Hour), Outcome: tasker.SlotMissed, Reason: "late", RecordedTime: h.store.now,
		})
	}
	if got := decode[client.ScheduleAnswer](t, h.get(t, "/v1/schedules/nightly").body); len(got.Slots) != 10 || got.Slots[0].Reason != "late" {
		t.Errorf("%+v", got)
	}
	slots := decode[client.SlotPage](t, h.get(t, "/v1/schedules/nightly/slots?limit=8").body)
	if len(slots.Slots) != 8 || slots.Next == nil {
		t.Fatalf("%+v", slots)
	}
	if slots = decode[client.SlotPage](t, h.get(t, "/v1/schedules/nightly/slots?cursor="+*slots.Next).body); len(slots.Slots) != 4 || slots.Next != nil {
		t.Errorf("%+v", slots)
	}
	if next := decode[client.UpcomingSlots](t, h.get(t, "/v1/schedules/nightly/next?n=3").body); len(next.Upcoming) != 3 {
		t.Errorf("%+v", next)
	}

	h.do(t, http.MethodDelete, "/v1/schedules/nightly?version=1", nil).want(t, http.StatusConflict)
	h.do(t, http.MethodDelete, "/v1/schedules/nightly?version=2", nil).want(t, http.StatusNoContent)
	h.do(t, http.MethodDelete, "/v1/schedules/nightly", nil).want(t, http.StatusNotFound)
	if h.schedules.changes != 4 {
		t.Errorf("the scheduler was told of %d changes, want 4", h.schedules.changes)
	}
}

func TestScheduleVerbs(t *testing.T) {
	h := newHarness(t, withToken)
	do := func(method, path, body string) answer {
		t.Helper()
		return h.do(t, method, path, []byte(body), "Content-Type", "application/json", "Authorization", tokenHeader)
	}
	do("PUT", "/v1/schedules/nightly", newSchedule).want(t, http.StatusCreated)
	for _, body := range []string{`{"reason":"moving"}`, `{}`, ""} {
		a := do("POST", "/v1/schedules/nightly/pause", body)
		a.want(t, http.StatusOK)
		if got := decode[client.ScheduleAnswer](t, a.body); got.Pause == nil || got.Pause.By != "token" || (body == `{"reason":"moving"}`) != (got.Pause.Reason == "moving") {
			t.Errorf("%s", a.body)
		}
	}
	a := do("POST", "/v1/schedules/nightly/resume", "")
	a.want(t, http.StatusOK)
	if got := decode[client.ScheduleAnswer](t, a.body); got.Pause != nil {
		t.Errorf("%s", a.body)
	}
	a = do("POST", "/v1/schedules/nightly/trigger", "")
	a.want(t, http.StatusCreated)
	if slot := decode[tasker.ScheduleSlot](t, a.body); a.header.Get("Location") != "/worker/"+slot.Identifier || slot.By != "token" {
		t.Errorf("%v\n%s", a.header, a.body)
	}
	const day = `{"from":"2015-05-05T00:00:00Z","to":"2015-05-05T23:59:59Z"}`
	for _, query := range []string{"?dry_run=true", ""} {
		a = do("POST", "/v1/schedules/nightly/backfill"+query, day)
		a.want(t, http.StatusOK)
		if got := decode[client.Backfilled](t, a.body); got.DryRun != (query != "") || len(got.Slots) != 1 || !got.Slots[0].Fired {
			t.Errorf("%s", a.body)
		}
	}
	want := []string{
		"trigger nightly by token",
		"backfill nightly from 2015-05-05T00:00:00Z to 2015-05-05T23:59:59Z by token, dry",
		"backfill nightly from 2015-05-05T00:00:00Z to 2015-05-05T23:59:59Z by token",
	}
	if !slices.Equal(h.schedules.asked, want) {
		t.Errorf("asked %q", h.schedules.asked)
	}
	for _, verb := range []string{"pause", "resume", "trigger", "backfill"} {
		do("POST", "/v1/schedules/none/"+verb, day[:0]+map[string]string{"backfill": day}[verb]).want(t, http.StatusNotFound)
	}
	for _, path := range []string{"none", "none/next", "none/slots", "-", strings.Repeat("a", 41)} {
		do("GET", "/v1/schedules/"+path, "").want(t, http.StatusNotFound)
	}
	do("DELETE", "/v1/schedules/-", "").want(t, http.StatusNotFound)
}

// TestWrongSchedules names the field and the rule of every mistake.
func TestWrongSchedules(t *testing.T) {
	s, err := schema.Compile([]byte(`{"type":"object","required":["foo"]}`))
	if err != nil {
		t.Fatal(err)
	}
	h := newHarness(t, func(c *api.Config) {
		c.TaskTypes = append(c.TaskTypes, tasker.TaskType{Name: "strict", Payloads: s})
	})
	task := func(members string) string { return `{"cron":"@daily","task":{"type":"worker"` + members + `}}` }
	with := func(members string) string { return `{"task":{"type":"worker"},` + members + `}` }
	daily := func(members string) string { return with(`"cron":"@daily",` + members) }
	for body, want := range map[string]string{
		`{}`:                                                            "/cron /task",
		`{"cron":"@daily"}`:                                             "/task",
		task(`,"payloat":1`):                                            "/task/payloat",
		task(`,"identifier":"a"`):                                       "/task/identifier",
		task(`,"in":"5m"`):                                              "/task/in",
		task(`,"start_time":1`):                                         "/task/start_time",
		task(`,"plan":"sha256:00"`):                                     "/task/plan",
		task(`,"rollout":{"batch":0}`):                                  "/task/rollout/batch",
		task(`,"expires":"2027-01-01T00:00:00Z"`):                       "/task/expires",
		task(`,"endpoints":["a","a"]`):                                  "/task/endpoints/1",
		task(`,"select":"role="`):                                       "/task/select",
		task(`,"type":"backup"`):                                        "/task/type",
		task(`,"limit":0,"seed":""`):                                    "/task/limit /task/seed",
		`{"cron":"@daily","task":{"type":"nosuch"}}`:                    "/task/type",
		`{"cron":"@daily","task":{"type":1}}`:                           "/task/type",
		`{"cron":"@daily","task":{}}`:                                   "/task/type",
		`{"cron":"@daily","task":[]}`:                                   "/task",
		`{"cron":"@daily","task":"worker"}`:                             "/task",
		`{"cron":"@daily","task":{"type":"strict","payload":{}}}`:       "/task/payload/foo",
		`{"cron":"@daily","task":{"type":"strict","payload":{"foo":1}}`: "", // malformed
		with(`"cron":"* * * *"`):                                        "/cron",
		with(`"cron":"0 0 30 2 *"`):                                     "/cron",
		with(`"cron":"TZ=UTC 0 0 * * *"`):                               "/cron",
		with(`"cron":1`):                                                "/cron",
		with(`"cron":""`):                                               "/cron",
		with(`"cron":null`):                                             "/cron",
		with(`"cron":"@every 1m"`):                                      "/cron",
		with(`"every":"59s"`):                                           "/every",
		with(`"every":"1m0.5s"`):                                        "/every",
		with(`"every":[]`):                                              "/every",
		with(`"at":[]`):                                                 "/at",
		with(`"at":"2027-01-01T00:00:00Z"`):                             "/at",
		with(`"at":["tomorrow"]`):                                       "/at/0",
		with(`"at":["2014-01-01T00:00:00Z"]`):                           "/at",
		with(`"at":["2027-01-01T00:00:00Z","2027-01-01T00:00:01Z"]`):    "/at",
		with(`"cron":"@daily","every":"1h"`):                            "/cron",
		daily(`"time_zone":"Europe/Berlim"`):                            "/time_zone",
		daily(`"time_zone":"Local"`):                                    "/time_zone",
		daily(`"time_zone":2`):                                          "/time_zone",
		daily(`"catch_up":"1s"`):                                        "/catch_up",
		daily(`"catch_up":"9000h"`):                                     "/catch_up",
		daily(`"missed":"some"`):                                        "/missed",
		daily(`"missed":1`):                                             "/missed",
		daily(`"overlap":"forbid"`):                                     "/overlap",
		daily(`"jitter":"25h"`):                                         "/jitter",
		daily(`"jitter":"-1s"`):                                         "/jitter",
		daily(`"paused":"yes"`):                                         "/paused",
		daily(`"pause_on_failures":-1`):                                 "/pause_on_failures",
		daily(`"pause_on_failures":1.5`):                                "/pause_on_failures",
		daily(`"until":"2014-01-01T00:00:00Z"`):                         "/until",
		daily(`"until":"soon"`):                                         "/until",
		daily(`"workflow":{}`):                                          "/workflow",
		daily(`"workflow":null`):                                        "/workflow",
		daily(`"missed":"all","missed":"all"`):                          "/missed",
		daily(`"missed":"some","overlap":"forbid"`):                     "/missed /overlap",
	} {
		a := h.put(t, "/v1/schedules/nightly", body)
		if want == "" {
			a.want(t, http.StatusBadRequest)
			continue
		}
		a.want(t, http.StatusUnprocessableEntity)
		if got := strings.Join(a.problem(t).fields(), " "); got != want {
			t.Errorf("%s: fields %q, want %q\n%s", body, got, want, a.body)
		}
	}
	if h.schedules.list != nil {
		t.Errorf("stored %+v", h.schedules.list)
	}
	h.put(t, "/v1/schedules/"+strings.Repeat("a", 41), newSchedule).want(t, http.StatusUnprocessableEntity)
	h.put(t, "/v1/schedules/nightly?version=x", newSchedule).want(t, http.StatusUnprocessableEntity)
	h.put(t, "/v1/schedules/nightly", strings.Repeat(" ", 5000)).want(t, http.StatusRequestEntityTooLarge)
	h.dispatcher.refuses = tasker.Errorf(tasker.TooLarge, "payload too large for RabbitMQ")
	h.put(t, "/v1/schedules/nightly", newSchedule).want(t, http.StatusRequestEntityTooLarge)
}

func TestWrongScheduleRequests(t *testing.T) {
	h := newHarness(t)
	h.put(t, "/v1/schedules/nightly", newSchedule).want(t, http.StatusCreated)
	const one = "/v1/schedules/nightly"
	for _, test := range []struct {
		method, path, body string
		status             int
	}{
		{"POST", one + "/pause", `{"reason":1}`, 422},
		{"POST", one + "/pause", `{"reason":"` + strings.Repeat("x", 1025) + `"}`, 422},
		{"POST", one + "/pause", `{"why":"x"}`, 422},
		{"POST", one + "/pause", `[]`, 422},
		{"POST", one + "/pause", `{`, 400},
		{"POST", one + "/pause", strings.Repeat(" ", 5000), 413},
		{"POST", one + "/pause?a=b", "", 422},
		{"POST", one + "/resume?a=b", "", 422},
		{"POST", one + "/trigger?a=b", "", 422},
		{"POST", one + "/trigger?latest=yesterday", "", 422},
		{"POST", one + "/pause?pause=yes", "", 422},
		{"POST", one + "/resume?version=x", "", 422},
		{"POST", one + "/resume?latest=none", "", 422},
		{"POST", one + "/backfill", `{}`, 422},
		{"POST", one + "/backfill", `{"from":"x","to":[]}`, 422},
		{"POST", one + "/backfill", `{"from":1,"to":2,"by":3}`, 422},
		{"POST", one + "/backfill", `{"from":1`, 400},
		{"POST", one + "/backfill?dry_run=yes", `{"from":1,"to":2}`, 422},
		{"POST", one + "/backfill", strings.Repeat(" ", 5000), 413},
		{"GET", "/v1/schedules?cursor=-", "", 422},
		{"GET", "/v1/schedules?limit=0", "", 422},
		{"GET", one + "?a=b", "", 422},
		{"GET", one + "/slots?cursor=x", "", 422},
		{"GET", one + "/next?n=101", "", 422},
		{"DELETE", one + "?version=-1", "", 422},
	} {
		headers := []string{"Content-Type", "application/json"}
		h.do(t, test.method, test.path, []byte(test.body), headers...).want(t, test.status)
	}
	for _, verb := range []string{"", "/next", "/slots", "/pause", "/resume", "/trigger", "/backfill"} {
		method := map[string]string{"": "GET", "/next": "GET", "/slots": "GET"}[verb]
		if method == "" {
			method = "POST"
		}
		h.do(t, method, one+verb+"?%zz", nil).want(t, http.StatusBadRequest)
	}
	h.get(t, "/v1/schedules?%zz").want(t, http.StatusBadRequest)
	h.get(t, "/v1/schedule-preview?%zz").want(t, http.StatusBadRequest)
	h.do(t, "DELETE", one+"?%zz", nil).want(t, http.StatusBadRequest)
	for _, to := range []string{"PUT ", "POST /pause", "POST /backfill"} {
		method, verb, _ := strings.Cut(to, " ")
		h.do(t, method, one+verb, []byte("a=b"), "Content-Type", "application/x-www-form-urlencoded").want(t, http.StatusUnsupportedMediaType)
	}
}

func TestSchedulePreview(t *testing.T) {
	h := newHarness(t)
	preview := func(query string) answer { return h.get(t, "/v1/schedule-preview?"+query) }
	a := preview("cron=30+2+*+*+*&time_zone=Europe/Berlin&from=2027-03-27T12:00:00Z&n=2")
	a.want(t, http.StatusOK)
	if want := `{"upcoming":[{"time":"2027-03-28T01:30:00Z","local":"2027-03-28T03:30:00+02:00","start_time":"2027-03-28T01:30:00Z",` +
		`"clock_change":"1h0m0s"},{"time":"2027-03-29T00:30:00Z","local":"2027-03-29T02:30:00+02:00","start_time":"2027-03-29T00:30:00Z"}]}`; strings.TrimSpace(string(a.body)) != want {
		t.Errorf("%s", a.body)
	}
	for query, n := range map[string]int{
		"every=90s": 10, "every=90&jitter=1m&n=100": 100, "at=2027-01-01T00:00:00Z&at=2028-01-01T00:00:00Z": 2,
		"cron=H+H+*+*+*&name=backup": 10, "cron=@daily&until=2015-05-08T12:00:00Z": 2,
	} {
		a := preview(query)
		a.want(t, http.StatusOK)
		if got := decode[client.UpcomingSlots](t, a.body); len(got.Upcoming) != n {
			t.Errorf("%s: %s", query, a.body)
		}
	}
	for query, field := range map[string]string{
		"": "?cron", "cron=x": "?cron", "cron=H+*+*+*+*": "?cron", "cron=@daily&every=1h": "?cron", "every=1s": "?every", "at=x": "?at",
		"cron=@daily&time_zone=X": "?time_zone", "cron=@daily&n=0": "?n", "cron=@daily&name=-": "?name", "cron=@daily&from=x": "?from",
		"cron=@daily&until=x": "?until", "cron=@daily&jitter=x": "?jitter",
	} {
		a := preview(query)
		a.want(t, http.StatusUnprocessableEntity)
		if got := strings.Join(a.problem(t).fields(), " "); got != field {
			t.Errorf("%s: fields %q, want %q", query, got, field)
		}
	}
}

// TestScheduledTask makes a task as a POST would, checked against the types as they are
// now.
func TestScheduledTask(t *testing.T) {
	h := newHarness(t)
	body := json.RawMessage(`{"type":"worker","payload":{"a": 1},"select":"role=web","limit":"50%","seed":"s","expect":{"min":2},"expires":"1h"}`)
	task, err := h.server.ScheduledTask(t.Context(), body)
	if err != nil || task.Type != "worker" || string(task.Payload) != `{"a": 1}` || task.Status != tasker.Scheduled || task.Limit != "50%" ||
		task.Expect == nil || *task.Expect.Min != 2 || task.Expiry.After != time.Hour || !slices.Equal(task.Select, []string{"role=web"}) {
		t.Errorf("%+v, %v", task, err)
	}
	if err := h.server.SetTaskTypes([]tasker.TaskType{{Name: "backup"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.server.ScheduledTask(t.Context(), body); tasker.CodeOf(err) != tasker.Invalid || !strings.Contains(err.Error(), `task type "worker" not found`) {
		t.Errorf("of a type that was removed: %v", err)
	}
}

// TestScheduleEndToEnd goes through the database and the scheduler.
func TestScheduleEndToEnd(t *testing.T) {
	s := newSystem(t)
	s.put(t, "/v1/schedules/nightly", newSchedule).want(t, http.StatusCreated)
	s.put(t, "/v1/schedules/nightly", newSchedule).want(t, http.StatusOK)
	a := s.post(t, "/v1/schedules/nightly/trigger", "")
	a.want(t, http.StatusCreated)
	slot := decode[tasker.ScheduleSlot](t, a.body)
	task := decode[client.TaskAnswer](t, s.get(t, "/worker/"+slot.Identifier).body).Task
	if task.Status != tasker.Scheduled || string(task.Payload) != `{"foo":"bar"}` {
		t.Errorf("%+v", task)
	}
	got := decode[client.ScheduleAnswer](t, s.get(t, "/v1/schedules/nightly").body)
	if len(got.Slots) != 1 || got.Slots[0].Identifier != slot.Identifier || got.Version != 1 || len(got.Upcoming) != 10 {
		t.Errorf("%+v", got)
	}
	// What somebody saw before is not what there is.
	latest := slot.Time.Format(time.RFC3339Nano)
	for verb, queries := range map[string][]string{
		"trigger": {"latest=none", "latest=2015-05-05T00:00:00Z", "version=2", "pause=2015-05-05T00:00:00Z"},
		"pause":   {"version=0", "pause=2015-05-05T00:00:00Z"},
		"resume":  {"version=2", "pause=" + latest},
	} {
		for _, query := range queries {
			s.post(t, "/v1/schedules/nightly/"+verb+"?"+query, "").want(t, http.StatusConflict)
		}
	}
	if a := s.post(t, "/v1/schedules/nightly/trigger?latest=none", ""); !strings.Contains(string(a.body), "its latest slot is "+latest+" FIRED") {
		t.Errorf("%s", a.body)
	}
	s.post(t, "/v1/schedules/nightly/trigger?version=1&pause=none&latest="+latest, "").want(t, http.StatusCreated)
	s.post(t, "/v1/schedules/nightly/pause?version=1&pause=none", `{"reason":"moving"}`).want(t, http.StatusOK)
	s.post(t, "/v1/schedules/nightly/pause?version=1&pause=none", `{"reason":"moving"}`).want(t, http.StatusConflict)
	past := time.Now().Add(-4 * 24 * time.Hour).UTC().Format(time.RFC3339)
	a = s.post(t, "/v1/schedules/nightly/backfill", fmt.Sprintf(`{"from":%q,"to":%q}`, past, time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)))
	a.want(t, http.StatusOK)
	for _, slot := range decode[client.Backfilled](t, a.body).Slots {
		s.get(t, "/worker/"+slot.Identifier).want(t, http.StatusOK)
	}
	s.do(t, http.MethodDelete, "/v1/schedules/nightly", nil).want(t, http.StatusNoContent)
	s.get(t, "/v1/schedules/nightly").want(t, http.StatusNotFound)
}
