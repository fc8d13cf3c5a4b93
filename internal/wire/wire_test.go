package wire_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/wire"
)

// good is a message as another language might write it.
const good = `{"v":1,"task_id":7,"identifier":"e7bd","type":"worker","payload":{"foo":"bar"},"start_time":"2026-05-06T01:14:24.123456Z"}`

// sumOfGood is the SHA-256 of the payload of the good message.
const sumOfGood = "7a38bf81f383f69433ad6e900d35b3e2385593f76a7b7ab5d4355b8ba41ee24b"

// with returns the good message with one part replaced.
func with(old, replacement string) string {
	if !strings.Contains(good, old) {
		panic("the good message has no " + old)
	}
	return strings.Replace(good, old, replacement, 1)
}

func TestDecodeTask(t *testing.T) {
	message, err := wire.DecodeTask([]byte(good))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := wire.DecodeTask([]byte(with(`{"foo":"bar"}`, `{"A":1,"a":2,"a":[{"v":1,"v":2}]}`))); err != nil {
		t.Errorf("a payload may hold anything: %v", err)
	}
	want := wire.Task{
		Version: 1, TaskID: 7, Identifier: "e7bd", Type: "worker", Payload: json.RawMessage(`{"foo":"bar"}`),
		StartTime: time.Date(2026, 5, 6, 1, 14, 24, 123456000, time.UTC),
	}
	if !reflect.DeepEqual(message, want) {
		t.Errorf("got %+v, want %+v", message, want)
	}
}

// TestReadersTakeTheNextRelease: fields added by a later release are ignored,
// at any depth, so that two releases can work side by side.
func TestReadersTakeTheNextRelease(t *testing.T) {
	want, err := wire.DecodeTask([]byte(good))
	if err != nil {
		t.Fatal(err)
	}
	for _, added := range []string{`"priority":9`, `"trace":{"id":["a",{"b":null}]}`, `"deadline":"2026-05-06T01:14:24Z","any":true`} {
		got, err := wire.DecodeTask([]byte(with(`"v":1`, `"v":1,`+added)))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("with %s: %+v, %v", added, got, err)
		}
	}
	if e, err := wire.DecodeResultsEnded([]byte(`{"why":{"x":1},"v":1,"task_ids":[3]}`)); err != nil || len(e.TaskIDs) != 1 {
		t.Errorf("the event of ends: %+v, %v", e, err)
	}
	live := `{"v":1,"changes":[{"task_id":7,"type":"worker","identifier":"a","endpoint":"b","attempt":1,"wave":3,` +
		`"progress":{"done":1,"total":2,"message":"","time":"2026-05-06T01:14:24Z","unit":"MB"}}],"left_out":0,"of":{}}`
	if e, err := wire.DecodeLive([]byte(live)); err != nil || len(e.Changes) != 1 || e.Changes[0].Progress == nil {
		t.Errorf("the live event: %+v, %v", e, err)
	}
}

// TestDecodeTaskRefuses invalid messages, with the reason.
func TestDecodeTaskRefuses(t *testing.T) {
	for name, test := range map[string]struct{ body, want string }{
		"nothing":              {"", "not a JSON object with a version"},
		"no JSON":              {"rubbish", "not a JSON object with a version"},
		"null":                 {"null", `no version "v"`},
		"an array":             {"[1]", "not a JSON object with a version"},
		"half a message":       {good[:40], "not a JSON object with a version"},
		"more than one value":  {good + good, "not a JSON object with a version"},
		"no version":           {with(`"v":1,`, ``), `no version "v"`},
		"version null":         {with(`"v":1`, `"v":null`), `no version "v"`},
		"version as text":      {with(`"v":1`, `"v":"1"`), "not a JSON object with a version"},
		"an earlier version":   {with(`"v":1`, `"v":0`), "version is 0, but this tasker reads versions 1 and 2"},
		"a later version":      {`{"v":3,"something":"else"}`, "version is 3, but this tasker reads versions 1 and 2"},
		"a new field twice":    {with(`"v":1`, `"v":1,"priority":9,"priority":8`), `duplicate field "priority"`},
		"half a new field":     {with(`"v":1`, `"v":1,"priority":{"a"}`), "not a JSON object with a version"},
		"other letters":        {with(`"task_id":7`, `"Task_ID":7`), `unknown field "Task_ID"`},
		"other letters of v":   {with(`"v":1`, `"V":1`), `unknown field "V"`},
		"a field twice":        {with(`"task_id":7`, `"task_id":7,"task_id":8`), `duplicate field "task_id"`},
		"a field twice as \\u": {with(`"task_id":7`, `"task_id":7,"task\u005fid":8`), `duplicate field "task_id"`},
		"a wrong type":         {with(`"task_id":7`, `"task_id":"7"`), "cannot unmarshal string"},
		"a fraction":           {with(`"task_id":7`, `"task_id":7.5`), "cannot unmarshal number 7.5"},
		"a huge number":        {with(`"task_id":7`, `"task_id":9223372036854775808`), "cannot unmarshal number"},
		"no task id":           {with(`"task_id":7,`, ``), "not 0"},
		"a negative task id":   {with(`"task_id":7`, `"task_id":-7`), "not -7"},
		"no identifier":        {with(`"identifier":"e7bd",`, ``), `invalid identifier ""`},
		"a bad identifier":     {with(`e7bd`, `../e7bd`), `invalid identifier "../e7bd"`},
		"no type":              {with(`"type":"worker",`, ``), `invalid task type ""`},
		"a bad type":           {with(`worker`, `wor.ker`), `invalid task type "wor.ker"`},
		"a reserved type":      {with(`worker`, `healthz`), "reserved name"},
		"a bad time":           {with(`2026-05-06T01:14:24.123456Z`, `2026-05-06 01:14:24`), "parsing time"},
		"no UTF-8":             {with(`bar`, "b\xffr"), "not valid UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			message, err := wire.DecodeTask([]byte(test.body))
			if err == nil {
				t.Fatalf("it was taken, as %+v", message)
			}
			if tasker.CodeOf(err) != tasker.Malformed || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %s %v, want one that says %s", tasker.CodeOf(err), err, test.want)
			}
		})
	}
}

// TestEncodeTaskWithoutPayload writes null.
func TestEncodeTaskWithoutPayload(t *testing.T) {
	body, err := wire.EncodeTask(tasker.Task{ID: 1, Identifier: "a", Type: "worker"})
	if err != nil {
		t.Fatal(err)
	}
	message, err := wire.DecodeTask(body)
	if err != nil || string(message.Payload) != "null" {
		t.Errorf("%s is read as %+v, %v", body, message, err)
	}
	if _, err := wire.EncodeTask(tasker.Task{ID: 1, Payload: json.RawMessage("{")}); err == nil {
		t.Error("half a payload was written")
	}
}

// TestTaskRoundTrip encodes and decodes tasks.
func TestTaskRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		payload, err := json.Marshal(drawJSON(t, 3))
		if err != nil {
			t.Fatal(err)
		}
		task := tasker.Task{
			ID:         rapid.Int64Min(1).Draw(t, "id"),
			Identifier: rapid.StringMatching(`[A-Za-z0-9][A-Za-z0-9._-]{0,63}`).Draw(t, "identifier"),
			Type:       rapid.StringMatching(`[A-Z][A-Za-z0-9_-]{0,63}`).Draw(t, "type"),
			Payload:    payload,
			StartTime:  time.UnixMicro(rapid.Int64Range(0, 4e15).Draw(t, "time")).UTC(),
		}
		body, err := wire.EncodeTask(task)
		if err != nil {
			t.Fatal(err)
		}
		message, err := wire.DecodeTask(body)
		if err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		want := wire.Task{
			Version: wire.Version, TaskID: task.ID, Identifier: task.Identifier, Type: task.Type,
			Payload: payload, PayloadSize: int64(len(payload)), PayloadSHA256: wire.PayloadSHA256(payload), StartTime: task.StartTime,
		}
		if !reflect.DeepEqual(message, want) {
			t.Fatalf("%s is read as %+v, want %+v", body, message, want)
		}
	})
}

// drawJSON draws a JSON value, nested up to depth.
func drawJSON(t *rapid.T, depth int) any {
	kinds := 5
	if depth > 0 {
		kinds = 7
	}
	switch rapid.IntRange(1, kinds).Draw(t, "kind") {
	case 1:
		return rapid.Bool().Draw(t, "bool")
	case 2:
		return rapid.Int64().Draw(t, "number")
	case 3:
		return rapid.Float64Range(-1e9, 1e9).Draw(t, "fraction")
	case 4:
		return rapid.String().Draw(t, "text")
	case 5:
		return nil
	case 6:
		list := make([]any, rapid.IntRange(0, 3).Draw(t, "length"))
		for i := range list {
			list[i] = drawJSON(t, depth-1)
		}
		return list
	}
	object := map[string]any{}
	for range rapid.IntRange(0, 3).Draw(t, "length") {
		object[rapid.String().Draw(t, "name")] = drawJSON(t, depth-1)
	}
	return object
}

// TestMessageID is the same each time, and another for each task.
func TestMessageID(t *testing.T) {
	if a, b := wire.MessageID(7), wire.MessageID(70); a != "task-7" || b != "task-70" {
		t.Errorf("got %s and %s", a, b)
	}
}

func TestResultsEnded(t *testing.T) {
	body, err := wire.EncodeResultsEnded([]int64{3, 5})
	if err != nil || string(body) != `{"v":1,"task_ids":[3,5]}` {
		t.Fatalf("%s, %v", body, err)
	}
	event, err := wire.DecodeResultsEnded(body)
	if err != nil || !reflect.DeepEqual(event.TaskIDs, []int64{3, 5}) {
		t.Errorf("it is read as %+v, %v", event, err)
	}
	for _, bad := range []string{
		``, `rubbish`, `null`, `{"task_ids":[1]}`, `{"v":2,"task_ids":[1]}`, `{"v":1,"task_ids":["1"]}`,
		`{"v":1,"task_ids":[1],"Task_IDs":[2]}`, `{"v":1,"task_ids":[1]} {}`, `{"v":1,"Task_IDs":[1]}`,
		`{"v":1,"task_ids":[1],"task_ids":[2]}`, "{\"v\":1,\"\xff\":2}",
	} {
		if event, err := wire.DecodeResultsEnded([]byte(bad)); tasker.CodeOf(err) != tasker.Malformed {
			t.Errorf("%s: got %+v, %v", bad, event, err)
		}
	}
}

// FuzzDecodeTask: any input is refused, or is a message that survives a round
// trip.
func FuzzDecodeTask(f *testing.F) {
	for _, seed := range []string{
		good, "", "null", "[]", "{}", `{"v":1}`, `{"v":2}`, good + "x", good[:50],
		with(`{"foo":"bar"}`, `null`), with(`{"foo":"bar"}`, `"\ud800"`), with(`{"foo":"bar"}`, `1e999`),
		with(`"v":1`, `"v":1,"v":2`), with(`"v":1`, `"V":1`), with(`bar`, "b\xffr"), with(`e7bd`, `\u0065`),
		with(`2026-05-06T01:14:24.123456Z`, `2026-05-06T01:14:24+25:00`), with(`"task_id":7`, `"task_id":1e3`),
	} {
		f.Add([]byte(seed))
		f.Add([]byte(strings.Replace(seed, `"v":1`, `"v":2,"payload_size":13,"payload_sha256":"`+sumOfGood+`"`, 1)))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if scanned, ok := wire.ScanTask(body); ok {
			parsed, err := wire.ParseTask(body)
			if err != nil || !reflect.DeepEqual(scanned, parsed) {
				t.Fatalf("%q was scanned as %+v, and parsed as %+v, %v", body, scanned, parsed, err)
			}
		}
		message, err := wire.DecodeTask(body)
		if err != nil {
			if tasker.CodeOf(err) != tasker.Malformed {
				t.Errorf("the code is %s: %v", tasker.CodeOf(err), err)
			}
			return
		}
		if message.TaskID <= 0 ||
			tasker.ValidateIdentifier(message.Identifier) != nil || tasker.ValidateTaskType(message.Type) != nil {
			t.Fatalf("%q was taken as %+v", body, message)
		}
		again, err := wire.EncodeTask(tasker.Task{
			ID: message.TaskID, Identifier: message.Identifier, Type: message.Type,
			Payload: message.Payload, StartTime: message.StartTime,
		})
		if err != nil {
			t.Fatalf("%q cannot be written again: %v", body, err)
		}
		second, err := wire.DecodeTask(again)
		if err != nil {
			t.Fatalf("%q cannot be read again: %v", again, err)
		}
		payload := message.Payload
		if payload == nil {
			payload = json.RawMessage("null")
		}
		if second.TaskID != message.TaskID || second.Identifier != message.Identifier || second.Type != message.Type ||
			!second.StartTime.Equal(message.StartTime) || len(payload) <= wire.DefaultMaxPayload && !bytes.Equal(second.Payload, payload) {
			t.Fatalf("%+v became %+v", message, second)
		}
	})
}

// FuzzDecodeResultsEnded: any input is refused, or is an event that survives a
// round trip.
func FuzzDecodeResultsEnded(f *testing.F) {
	for _, seed := range []string{
		`{"v":1,"task_ids":[3,5]}`, `{"v":1,"task_ids":[]}`, `{"v":1,"task_ids":null}`, `{"v":1}`, `{"v":2}`, ``, `null`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		event, err := wire.DecodeResultsEnded(body)
		if err != nil {
			if tasker.CodeOf(err) != tasker.Malformed {
				t.Errorf("the code is %s: %v", tasker.CodeOf(err), err)
			}
			return
		}
		again, err := wire.EncodeResultsEnded(event.TaskIDs)
		if err != nil {
			t.Fatalf("%q cannot be written again: %v", body, err)
		}
		second, err := wire.DecodeResultsEnded(again)
		if err != nil || event.Version != wire.EventVersion || !reflect.DeepEqual(second, event) {
			t.Fatalf("%q was taken as %+v, and again as %+v, %v", body, event, second, err)
		}
	})
}
