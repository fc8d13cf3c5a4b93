package wire_test

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/schema"
	"github.com/taskerhq/tasker/internal/wire"
	"github.com/taskerhq/tasker/internal/x/jsonx"
)

var aTask = tasker.Task{
	ID: 7, Identifier: "e7bd", Type: "worker", Payload: json.RawMessage(`{"a": "<é>", "n": 12345678901234567890.10}`),
	StartTime: time.Date(2026, 5, 6, 1, 14, 24, 123456000, time.UTC),
}

// A message of version 2 carries a payload byte for byte up to a size, and its size
// and digest always.
func TestPayloadOfAMessage(t *testing.T) {
	t.Parallel()
	size := int64(len(aTask.Payload))
	for most, want := range map[int64]json.RawMessage{size: aTask.Payload, size - 1: nil, 0: nil} {
		body, err := wire.Form{Version: wire.Version, MaxPayload: most}.Encode(aTask)
		if err != nil {
			t.Fatal(err)
		}
		got, err := wire.DecodeTask(body)
		if err != nil || got.Version != 2 || string(got.Payload) != string(want) || (got.Payload == nil) != (want == nil) ||
			got.PayloadSize != size || got.PayloadSHA256 != wire.PayloadSHA256(aTask.Payload) {
			t.Errorf("up to %d bytes: got %+v, %v", most, got, err)
		}
	}
	if _, err := (wire.Form{Version: wire.Version}).Encode(tasker.Task{ID: 1, Payload: json.RawMessage("{")}); err == nil {
		t.Error("half a payload was written")
	}
}

// Version 1 has the fields that it always had, and always the payload.
func TestEncodeVersion1(t *testing.T) {
	t.Parallel()
	body, err := wire.Form{Version: wire.Version1}.Encode(aTask)
	const want = `{"v":1,"task_id":7,"identifier":"e7bd","type":"worker","payload":{"a":"\u003cé\u003e","n":12345678901234567890.10},` +
		`"start_time":"2026-05-06T01:14:24.123456Z"}`
	if err != nil || string(body) != want {
		t.Errorf("got %s, %v\nwant %s", body, err, want)
	}
}

// What tasker writes is read in one pass, without the parser.
func TestWrittenMessagesAreScanned(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		payload, err := json.Marshal(drawJSON(t, 4))
		if err != nil {
			t.Fatal(err)
		}
		task := aTask
		task.Payload = payload
		form := wire.Form{Version: rapid.IntRange(1, 2).Draw(t, "version"), MaxPayload: rapid.Int64Range(0, 100).Draw(t, "most")}
		body, err := form.Encode(task)
		if err != nil {
			t.Fatal(err)
		}
		scanned, ok := wire.ScanTask(body)
		parsed, err := wire.ParseTask(body)
		if !ok || err != nil || !reflect.DeepEqual(scanned, parsed) {
			t.Fatalf("%s: scanned as %+v, %t, parsed as %+v, %v", body, scanned, ok, parsed, err)
		}
	})
}

// TestScannerAgrees compares the scanner with the parser on payloads that
// encoding/json is known to judge in its own way, right or wrong.
func TestScannerAgrees(t *testing.T) {
	t.Parallel()
	for _, payload := range []string{
		`0`, `-0`, `00`, `01`, `-`, `1.`, `1.5`, `.5`, `1e`, `1e+`, `1E-2`, `1e5.`, `-1.0e+07`, `0x1`, `+1`, `NaN`, `1 2`,
		`tru`, `true`, `trues`, `nul`, `null`, `falsE`, `"`, `"\`, `"\"`, `"\x"`, `"\u12"`, `"\u12g4"`, `"\uABcd\\\/\b"`, "\"\n\"", "\"\x7f\"",
		`[]`, `[,]`, `[1,]`, `[1 2]`, `[[]`, `[}`, `{}`, `{,}`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{a:1}`, `{"a" : [ 1 , {} ] }`, `{"a":1 "b":2}`,
		strings.Repeat("[", 127) + strings.Repeat("]", 127), strings.Repeat("[", 129) + strings.Repeat("]", 129), "",
	} {
		for _, body := range []string{with(`{"foo":"bar"}`, payload), with(`{"foo":"bar"}`, " \n"+payload+"\t")} {
			scanned, ok := wire.ScanTask([]byte(body))
			parsed, err := wire.ParseTask([]byte(body))
			if deep := strings.Count(payload, "[") > 128; ok != (err == nil) && !deep || ok && !reflect.DeepEqual(scanned, parsed) {
				t.Errorf("%s: scanned as %+v, %t, parsed as %+v, %v", body, scanned, ok, parsed, err)
			}
		}
	}
}

// vector is a test vector of docs/protocol: a body, and how it must be judged.
type vector struct {
	Name string `json:"name"`
	Body string `json:"body"`
	// Error is part of the reason if the body must be refused; empty if it must
	// be accepted, as Task.
	Error string     `json:"error"`
	Task  *wire.Task `json:"task"`
	// Schema is true if the JSON Schema refuses the body too: it cannot see
	// duplicate members, or a digest that does not match.
	Schema bool `json:"schema"`
}

// TestVectors judges the test vectors for other implementations, by the decoder and
// by the JSON Schema.
func TestVectors(t *testing.T) {
	t.Parallel()
	compiled := map[string]*schema.Schema{}
	for _, name := range []string{"task-v1", "task-v2"} {
		text, err := os.ReadFile("../../docs/protocol/" + name + ".schema.json")
		if err != nil {
			t.Fatal(err)
		}
		if compiled[name], err = schema.Compile(text); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		file, err := os.ReadFile("../../docs/protocol/" + name + ".vectors.json")
		if err != nil {
			t.Fatal(err)
		}
		var vectors []vector
		if err := json.Unmarshal(file, &vectors); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		good := 0
		for _, v := range vectors {
			got, err := wire.DecodeTask([]byte(v.Body))
			bySchema := compiled[name].Validate(json.RawMessage(v.Body))
			if _, found := jsonx.Duplicate([]byte(v.Body)); found { // the validator of payloads refuses it; others do not
				bySchema = nil
			}
			switch {
			case v.Task != nil:
				good++
				if err != nil || !reflect.DeepEqual(&got, v.Task) {
					t.Errorf("%s, %s: got %+v, %v, want %+v", name, v.Name, got, err, *v.Task)
				}
				if bySchema != nil {
					t.Errorf("%s, %s: the schema refuses it: %v", name, v.Name, bySchema)
				}
			case v.Error == "" || err == nil || tasker.CodeOf(err) != tasker.Malformed || !strings.Contains(err.Error(), v.Error):
				t.Errorf("%s, %s: got %v, want %q", name, v.Name, err, v.Error)
			case v.Schema != (bySchema != nil):
				t.Errorf("%s, %s: the schema says %v", name, v.Name, bySchema)
			}
		}
		if good == 0 || good == len(vectors) {
			t.Errorf("%s: %d of %d vectors are good", name, good, len(vectors))
		}
	}
}
