package cli_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	domain "github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/cli"
)

// schedulesAPI is an API with the schedule nightly, whose texts contain s.
func schedulesAPI(t *testing.T, s string) string {
	t.Helper()
	s = strings.Trim(string(jsonOf(t, s)), `"`)
	schedule := `{"name":"nightly","version":3,"definition":{"cron":"30 2 * * *","time_zone":"Europe/Berlin` + s + `","task":{"type":"worker","payload":"` + s +
		`"},"catch_up":"1h0m0s","missed":"last","overlap":"skip"},"pause":{"by":"me` + s + `","at":"2026-05-06T01:00:00Z","reason":"moving` + s +
		`"},"next_time":"2027-03-28T01:30:00Z","queued_time":null,"created_time":"2026-05-06T01:00:00Z","created_by":"me","changed_time":"2026-05-06T01:00:00Z","changed_by":"me"`
	const upcoming = `"upcoming":[{"time":"2027-03-28T01:30:00Z","local":"2027-03-28T03:30:00+02:00","start_time":"2027-03-28T01:31:00Z","clock_change":"1h0m0s"}]`
	answer := schedule + `,` + upcoming + `,"slots":[{"time":"2027-03-27T01:30:00Z","outcome":"FIRED","reason":"","type":"worker","identifier":"nightly-20270327T013000Z","recorded_time":"2027-03-27T01:30:00Z"},` +
		`{"time":"2027-03-26T01:30:00Z","outcome":"MISSED","reason":"late` + s + `","recorded_time":"2027-03-27T01:30:00Z"}]}`
	mux := http.NewServeMux()
	write := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) }
	}
	mux.HandleFunc("GET /v1/schedules", write(`{"schedules":[`+schedule+`}],"next":null}`))
	mux.HandleFunc("GET /v1/schedules/nightly", write(answer))
	mux.HandleFunc("GET /v1/schedules/none", func(w http.ResponseWriter, _ *http.Request) {
		problem(w, http.StatusNotFound, domain.NotFound, `schedule "none" not found`)
	})
	mux.HandleFunc("PUT /v1/schedules/{name}", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if v := r.URL.Query().Get("version"); v != "" && v != "3" {
			problem(w, http.StatusConflict, domain.Conflict, "schedule has version 3")
			return
		}
		if strings.TrimSpace(string(body)) != `{"cron":"@daily","task":{"type":"worker"}}` {
			problem(w, http.StatusUnprocessableEntity, domain.Invalid, "unexpected body "+string(body))
			return
		}
		if r.PathValue("name") == "new" {
			w.WriteHeader(http.StatusCreated)
		}
		_, _ = w.Write([]byte(answer))
	})
	mux.HandleFunc("DELETE /v1/schedules/nightly", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("POST /v1/schedules/nightly/pause", func(w http.ResponseWriter, r *http.Request) {
		if body, _ := io.ReadAll(r.Body); strings.TrimSpace(string(body)) != `{"reason":"moving"}` {
			problem(w, http.StatusUnprocessableEntity, domain.Invalid, "unexpected body "+string(body))
			return
		}
		_, _ = w.Write([]byte(answer))
	})
	mux.HandleFunc("POST /v1/schedules/nightly/resume", write(answer))
	fired := write(`{"time":"2027-03-27T01:30:00Z","outcome":"FIRED","reason":"","type":"worker` + s + `","identifier":"nightly-1","recorded_time":"2027-03-27T01:30:00Z"}`)
	mux.HandleFunc("POST /v1/schedules/nightly/trigger", func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.RawQuery {
		case "", "latest=2027-03-28T01%3A30%3A00Z":
			fired(w, r)
		default:
			problem(w, http.StatusConflict, domain.Conflict, "schedule fired or was triggered meanwhile: "+r.URL.RawQuery)
		}
	})
	mux.HandleFunc("POST /v1/schedules/nightly/backfill", func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(`{"dry_run":` + r.FormValue("dry_run") + `,"slots":[{"time":"2027-03-01T01:30:00Z","identifier":"nightly-1` + s +
			`","fired":false},{"time":"2027-03-02T01:30:00Z","identifier":"nightly-2","fired":true}]}`))
	})
	mux.HandleFunc("GET /v1/schedules/nightly/next", write(`{`+upcoming+`}`))
	mux.HandleFunc("GET /v1/schedule-preview", func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.RawQuery {
		case "cron=0+2+%2A+%2A+1&jitter=5m&n=20&name=nightly&time_zone=Europe%2FBerlin", "every=90s&n=10", "cron=%40daily&n=10":
			_, _ = w.Write([]byte(`{` + upcoming + `}`))
		default:
			problem(w, http.StatusUnprocessableEntity, domain.Invalid, "unexpected query "+r.URL.RawQuery)
		}
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

func TestSchedules(t *testing.T) {
	url := schedulesAPI(t, "")
	file := filepath.Join(t.TempDir(), "nightly.json")
	if err := os.WriteFile(file, []byte(`{"cron":"@daily","task":{"type":"worker"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	wrong := filepath.Join(t.TempDir(), "wrong.json")
	if err := os.WriteFile(wrong, []byte(`{"corn":"@daily"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	twice := filepath.Join(t.TempDir(), "twice.json")
	if err := os.WriteFile(twice, []byte(`{"cron":"@daily"} {"cron":"@hourly"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	const shown = `nightly: 30 2 * * *, paused, version 3
paused by me at 2026-05-06T01:00:00Z: moving
task: {"type":"worker","payload":""}
NEXT, LOCAL                UTC                   STARTS                CLOCK CHANGE
2027-03-28T03:30:00+02:00  2027-03-28T01:30:00Z  2027-03-28T01:31:00Z  1h0m0s

SLOT                  OUTCOME  TASK OR REASON
2027-03-27T01:30:00Z  FIRED    worker/nightly-20270327T013000Z
2027-03-26T01:30:00Z  MISSED   late
`
	for _, test := range []struct {
		args []string
		code int
		text string
	}{
		{[]string{"list"}, cli.ExitOK, "NAME     WHEN        TIME ZONE      NEXT                  STATE\nnightly  30 2 * * *  Europe/Berlin  2027-03-28T01:30:00Z  paused\n"},
		{[]string{"list", "--output", "json"}, cli.ExitOK, `"schedules": [`},
		{[]string{"list", "nightly"}, cli.ExitUsage, "takes none"},
		{[]string{"show", "nightly"}, cli.ExitOK, shown},
		{[]string{"show", "nightly", "--output", "json"}, cli.ExitOK, `"version": 3`},
		{[]string{"show", "none"}, cli.ExitFailure, `schedule "none" not found`},
		{[]string{"show"}, cli.ExitUsage, "the name of one schedule"},
		{[]string{"show", "a/b"}, cli.ExitUsage, "invalid schedule name"},
		{[]string{"put", "nightly", "--file", file}, cli.ExitOK, "stored nightly"},
		{[]string{"put", "new", "-f", file, "--version", "3"}, cli.ExitOK, "created nightly"},
		{[]string{"put", "nightly", "-f", file, "--version", "2"}, cli.ExitFailure, "has version 3"},
		{[]string{"put", "nightly"}, cli.ExitUsage, "missing --file"},
		{[]string{"put", "nightly", "-f", "/no/such/file"}, cli.ExitUsage, "--file"},
		{[]string{"put", "nightly", "-f", wrong}, cli.ExitUsage, `unknown field "corn"`},
		{[]string{"put", "nightly", "-f", twice}, cli.ExitUsage, "trailing data"},
		{[]string{"delete", "nightly"}, cli.ExitOK, "deleted nightly\n"},
		{[]string{"pause", "nightly", "--reason", "moving"}, cli.ExitOK, "paused by me"},
		{[]string{"pause", "nightly", "--reason", strings.Repeat("x", 2000)}, cli.ExitUsage, "too long"},
		{[]string{"resume", "nightly"}, cli.ExitOK, "nightly:"},
		{[]string{"trigger", "nightly"}, cli.ExitOK, "worker/nightly-1\n"},
		{[]string{"trigger", "nightly", "--latest", "2027-03-28T03:30:00+02:00"}, cli.ExitOK, "worker/nightly-1\n"},
		{[]string{"trigger", "nightly", "--latest", "none"}, cli.ExitFailure, "triggered meanwhile: latest=none"},
		{[]string{"trigger", "nightly", "--latest", "yesterday"}, cli.ExitUsage, `invalid --latest "yesterday"`},
		{[]string{"backfill", "nightly", "--from", "2027-03-01T00:00:00Z", "--to", "2027-03-02T23:00:00Z"}, cli.ExitOK, "2027-03-01T01:30:00Z  fired now  nightly-1\n2027-03-02T01:30:00Z  had fired  nightly-2\n"},
		{[]string{"backfill", "nightly", "--from", "2027-03-01T00:00:00Z", "--to", "2027-03-02T23:00:00Z", "--dry-run"}, cli.ExitOK, "would fire"},
		{[]string{"backfill", "nightly", "--from", "yesterday"}, cli.ExitUsage, `invalid --from "yesterday"`},
		{[]string{"next", "nightly"}, cli.ExitOK, "2027-03-28T03:30:00+02:00"},
		{[]string{"next", "0 2 * * 1", "--time-zone", "Europe/Berlin", "-n", "20", "--jitter", "5m", "--name", "nightly"}, cli.ExitOK, "1h0m0s"},
		{[]string{"next", "@daily"}, cli.ExitOK, "1h0m0s"},
		{[]string{"next", "--every", "90s"}, cli.ExitOK, "1h0m0s"},
		{[]string{"next"}, cli.ExitUsage, "cron expression in quotes"},
		{[]string{"next", "0", "2", "*"}, cli.ExitUsage, "cron expression in quotes"},
		{[]string{"next", "nightly", "--every", "90s"}, cli.ExitUsage, "extra argument"},
		{[]string{"next", "nightly", "--time-zone", "UTC"}, cli.ExitUsage, "its own time zone"},
		{[]string{"next", "nightly", "-n", "0"}, cli.ExitUsage, "1-100"},
		{[]string{"lst"}, cli.ExitUsage, "did you mean list?"},
	} {
		o := tasker(t, nil, nil, append([]string{"schedules", "--api", url}, test.args...)...)
		if o.code != test.code || !strings.Contains(o.stdout+o.stderr, test.text) {
			t.Errorf("%q: exit %d, want %d\n%s%s", test.args, o.code, test.code, o.stdout, o.stderr)
		}
	}
	for _, verb := range []string{"", "list", "show", "put", "delete", "pause", "resume", "trigger", "backfill", "next"} {
		o := tasker(t, nil, nil, append([]string{"schedules"}, append(strings.Fields(verb), "--help")...)...)
		if o.code != 0 || len(o.stdout) < 300 || !strings.Contains(o.stdout, "Example") {
			t.Errorf("%s: %s%s", verb, o.stdout, o.stderr)
		}
	}
}

// TestSchedulesAreVisible: nothing that others wrote controls the terminal.
func TestSchedulesAreVisible(t *testing.T) {
	t.Parallel()
	url := schedulesAPI(t, hostile)
	for _, args := range []string{
		"list", "show nightly", "show nightly --output json", "trigger nightly", "next nightly",
		"backfill nightly --from 2027-03-01T00:00:00Z --to 2027-03-02T23:00:00Z",
	} {
		o := tasker(t, nil, nil, append([]string{"schedules", "--api", url}, strings.Fields(args)...)...)
		if o.code != 0 || strings.ContainsAny(o.stdout, "\x1b\u009b\x07\x7f\u202e\r") {
			t.Errorf("%s: exit %d\n%q%s", args, o.code, o.stdout, o.stderr)
		}
	}
}

// jsonOf returns a text as JSON.
func jsonOf(t *testing.T, s string) []byte {
	t.Helper()
	encoded, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}
