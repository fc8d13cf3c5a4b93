package outcome_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/outcome"
)

func TestKeyText(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		result tasker.TaskResult
		want   string
	}{
		"bare":     {tasker.TaskResult{State: tasker.ResultDone}, "DONE 0"},
		"errmsg":   {tasker.TaskResult{State: tasker.TimedOut, Errnr: -1, Errmsg: "the run limit of 1m0s passed"}, "TIMED_OUT -1\nthe run limit of <duration> passed"},
		"not read": {tasker.TaskResult{State: tasker.ResultDone, PayloadSize: 12}, "DONE 0\n12 bytes"},
		"text":     {payload("disk full on web01"), "DONE 0\ndisk full on <endpoint>"},
		"string":   {payload(`"a \"web01\" \u00e4 \n"`), `DONE 0` + "\n" + `"a \"<endpoint>\" ä \n"`},
		"order":    {payload(`{ "b" : [ 1 , {"d":2,"c":"x"} ] , "a" : null }`), "DONE 0\n" + `{"a":null,"b":[1,{"c":"x","d":2}]}`},
		"twice":    {payload(`{"a":2,"web01":3,"a":1}`), "DONE 0\n" + `{"<endpoint>":3,"a":1,"a":2}`},
		"names":    {payload(`{"web01":{"10.0.0.1":"web01","5s":1}}`), "DONE 0\n" + `{"<endpoint>":{"10.0.0.1":"<endpoint>","5s":1}}`},
		"names as patterns": {
			tasker.TaskResult{Endpoint: "1x", State: tasker.ResultDone, Payload: json.RawMessage(`{"10.0.0.1":"10.0.0.1","1x":1}`)},
			"DONE 0\n" + `{"10.0.0.1":"<address>","<endpoint>":1}`,
		},
		"numbers": {payload(`{"n":5,"x":[1.50,-2e3,true],"s":"12"}`), "DONE 0\n" + `{"n":5,"s":"12","x":[1.50,-2e3,true]}`},
		"pids": {
			payload(`{"pid":1,"parentPID":2,"pids":[3,[4]],"processId":"5","process_id":6,"pid_max":7,"id":8,"rapid":9}`),
			"DONE 0\n" + `{"id":8,"parentPID":"<pid>","pid":"<pid>","pid_max":7,"pids":["<pid>",["<pid>"]],"processId":"<pid>","process_id":"<pid>","rapid":9}`,
		},
		"times": {
			payload(`{"startTime":1,"created_at":2.5,"ts":"3","time":{"x":1,"nanos":2},"updated":5,"at":null,"timeout":1,"time_zone":2}`),
			"DONE 0\n" + `{"at":null,"created_at":"<time>","startTime":"<time>","time":{"nanos":"<duration>","x":1},"time_zone":2,"timeout":1,"ts":"<time>","updated":5}`,
		},
		"durations": {
			payload(`{"duration_ms":1,"elapsed":2,"ms":3,"s":4,"timeout_ms":5,"took-s":6,"durationNS":7,"uptime":"1 day","latency":"1.2.3"}`),
			"DONE 0\n" + `{"durationNS":"<duration>","duration_ms":"<duration>","elapsed":"<duration>","latency":"<duration>","ms":"<duration>","s":4,"timeout_ms":5,"took-s":"<duration>","uptime":"1 day"}`,
		},
		"empty":   {payload(` [ { } , [ ] , "" , {"":{"":""}} ] `), "DONE 0\n" + `[{},[],"",{"":{"":""}}]`},
		"escapes": {payload(`"<\u003c&\u2028\ud800\\u0041\"\/"`), "DONE 0\n" + `"<<&\u2028` + "\ufffd" + `\\u0041\"/"`},
	} {
		if test.result.Endpoint == "" {
			test.result.Endpoint = "web01"
		}
		_, text := outcome.Key(&test.result)
		if text != test.want {
			t.Errorf("%s: got %s\nwant %s", name, text, test.want)
		}
	}
}

func payload(text string) tasker.TaskResult {
	return tasker.TaskResult{State: tasker.ResultDone, Payload: json.RawMessage(text)}
}

// What is alike has the same hash; a difference in state or errnr is always one.
func TestKeyHash(t *testing.T) {
	t.Parallel()
	base := tasker.TaskResult{
		Endpoint: "web01", State: tasker.ResultFailed, Errnr: 2, Errmsg: "web01: full at 12:00:01", Payload: json.RawMessage(`{"a":1,"b":"10.0.0.1"}`),
	}
	hash, _ := outcome.Key(&base)
	if want := "9d7854313c34b72636f63689cd1f1c9e"; hash != want {
		t.Errorf("the hash has changed: got %s, want %s: increment the version", hash, want)
	}
	for name, test := range map[string]struct {
		change func(r *tasker.TaskResult)
		alike  bool
	}{
		"endpoint":        {func(r *tasker.TaskResult) { r.Endpoint, r.Errmsg = "db", "db: full at 12:00:02" }, true},
		"payload":         {func(r *tasker.TaskResult) { r.Payload = json.RawMessage(` {"b":"10.0.0.2","a":1} `) }, true},
		"attempt":         {func(r *tasker.TaskResult) { r.ID, r.TaskID, r.Attempt = 1, 2, 3 }, true},
		"state":           {func(r *tasker.TaskResult) { r.State = tasker.Rejected }, false},
		"errnr":           {func(r *tasker.TaskResult) { r.Errnr = 3 }, false},
		"errmsg":          {func(r *tasker.TaskResult) { r.Errmsg = "web01: empty at 12:00:01" }, false},
		"another payload": {func(r *tasker.TaskResult) { r.Payload = json.RawMessage(`{"a":2,"b":"10.0.0.1"}`) }, false},
		"no payload":      {func(r *tasker.TaskResult) { r.Payload = nil }, false},
		"errmsg in the payload": {func(r *tasker.TaskResult) {
			r.Errmsg, r.Payload = "", json.RawMessage(r.Errmsg+string(r.Payload))
		}, false},
	} {
		other := base
		test.change(&other)
		if got, _ := outcome.Key(&other); (got == hash) != test.alike {
			t.Errorf("%s: got %s, the other has %s", name, got, hash)
		}
	}
}

// Masked results are their own masks, whatever they are, and state and errnr are
// kept.
func FuzzKey(f *testing.F) {
	for _, payload := range []string{
		`{"b":[1,{"d":2,"c":"10.0.0.1"}],"a":null,"web01":{"pid":1,"<endpoint>":2}}`, `{"ts":"12","s":"x\ud800","at":[1,"2",[3]]}`,
		`"\u0000\u2028ä\"\\"`, "\"\xff\"", "not JSON 5s", "null", " [ ] ",
	} {
		f.Add("web01", "pid 12 at 10.0.0.1", payload, 1)
	}
	f.Fuzz(func(t *testing.T, endpoint, errmsg, payload string, errnr int) {
		if strings.ContainsAny(endpoint, "<>") || strings.Contains(errmsg, "\n") {
			t.Skip()
		}
		r := tasker.TaskResult{Endpoint: endpoint, State: tasker.ResultFailed, Errnr: errnr, Errmsg: errmsg, Payload: json.RawMessage(payload)}
		hash, text := outcome.Key(&r)
		first, rest, _ := strings.Cut(text, "\n")
		if first != fmt.Sprintf("FAILED %d", errnr) {
			t.Errorf("got %q", first)
		}
		masked := r
		if errmsg != "" {
			masked.Errmsg, rest, _ = strings.Cut(rest, "\n")
		}
		masked.Payload = json.RawMessage(rest)
		if json.Valid(r.Payload) && !json.Valid(masked.Payload) {
			t.Errorf("%s has become %s", payload, masked.Payload)
		}
		if got, again := outcome.Key(&masked); got != hash || again != text {
			t.Errorf("%q: got %q, and masked again %q", endpoint, text, again)
		}
		masked.Errnr++
		if got, _ := outcome.Key(&masked); got == hash {
			t.Errorf("another errnr, and the same hash %s", hash)
		}
	})
}

func BenchmarkAdd(b *testing.B) {
	small := `{"changed":true,"host":"web01.example.com","started_at":1751373296,"duration_ms":812,` +
		`"message":"updated 2.3 -> 2.4 in 1.234s at 2026-07-01T12:34:56Z","peers":["10.0.0.1:3306","10.0.0.2:3306"],"pid":4711}`
	line := `"Jul  1 12:34:56 web01 sshd[812]: Accepted publickey for root from 10.0.0.5 port 43210 ssh2: no space left on device",`
	for name, payload := range map[string]string{
		"none":        "",
		"200 B":       small,
		"1 MiB":       "[" + strings.Repeat(line, 1<<20/len(line)) + "0]",
		"1 MiB plain": `"` + strings.Repeat("no space left on device ", 1<<20/24) + `"`,
		"1 MiB dense": `"` + strings.Repeat("1:", 1<<19) + `"`,
	} {
		r := tasker.TaskResult{
			Endpoint: "web01", State: tasker.ResultFailed, Errnr: 2, Payload: json.RawMessage(payload),
			Errmsg: "disk.py: no space left on /var at 12:34:56 (pid 4711)",
		}
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(r.Errmsg) + len(payload)))
			b.ReportAllocs()
			var g outcome.Grouper
			for b.Loop() {
				g.Add(&r)
			}
		})
	}
}
