package wire_test

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/wire"
)

// chapter returns the part of docs/protocol.md under a heading.
func chapter(t *testing.T, heading string) string {
	t.Helper()
	content, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(content), "\n## "+heading+"\n")
	if !found {
		t.Fatalf("the document has no section %q", heading)
	}
	part, _, _ := strings.Cut(rest, "\n## ")
	return part
}

// example returns the JSON of a section.
func example(t *testing.T, heading string) []byte {
	t.Helper()
	_, rest, found := strings.Cut(chapter(t, heading), "```json\n")
	if !found {
		t.Fatalf("section %s has no example", heading)
	}
	body, _, _ := strings.Cut(rest, "```")
	return []byte(body)
}

// names returns the first column of the tables of a section.
func names(t *testing.T, heading string) []string {
	t.Helper()
	var list []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)`").FindAllStringSubmatch(chapter(t, heading), -1) {
		list = append(list, m[1])
	}
	return list
}

// TestDocumentedMessage: the example is valid, and the table has exactly its
// fields.
func TestDocumentedMessage(t *testing.T) {
	t.Parallel()
	const heading = "The message of a task"
	message, err := wire.DecodeTask(example(t, heading))
	if err != nil {
		t.Fatal(err)
	}
	reserved := []string{"not_after", "priority", "traceparent", "signature", "uid"}
	var fields []string
	for i := range reflect.TypeFor[wire.Task]().NumField() {
		name, _, _ := strings.Cut(reflect.TypeFor[wire.Task]().Field(i).Tag.Get("json"), ",")
		fields = append(fields, name)
		if reflect.ValueOf(message).Field(i).IsZero() != slices.Contains(reserved, name) {
			t.Errorf("the example must have the fields in use and no other: %s", name)
		}
	}
	if documented := names(t, heading); !slices.Equal(documented, fields) {
		t.Errorf("documented are %v, and a message has %v", documented, fields)
	}
	if !strings.Contains(chapter(t, heading), strings.Replace(wire.MessageID(0), "0", "<task_id>", 1)) {
		t.Error("the message id is documented otherwise")
	}
}

// TestDocumentedLiveEvent: the example is valid, and the table has exactly its
// fields.
func TestDocumentedLiveEvent(t *testing.T) {
	t.Parallel()
	const heading = "The event of live views"
	event, err := wire.DecodeLive(example(t, heading))
	if err != nil || len(event.Changes) == 0 {
		t.Fatalf("it is read as %+v, %v", event, err)
	}
	var fields []string
	for _, form := range []reflect.Type{reflect.TypeFor[wire.Live](), reflect.TypeFor[wire.LiveChange]()} {
		for field := range form.Fields() {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			fields = append(fields, name)
		}
	}
	var documented []string
	for _, m := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(chapter(t, heading), -1) {
		documented = append(documented, m[1])
	}
	slices.Sort(documented)
	slices.Sort(fields)
	if !slices.Equal(documented, fields) {
		t.Errorf("documented are %v, and an event has %v", documented, fields)
	}
}

// TestDocumentedEvent: the example is valid.
func TestDocumentedEvent(t *testing.T) {
	t.Parallel()
	const heading = "Events"
	if event, err := wire.DecodeResultsEnded(example(t, heading)); err != nil || len(event.TaskIDs) == 0 {
		t.Errorf("it is read as %+v, %v", event, err)
	}
	if keys := names(t, heading); !slices.Equal(keys, []string{wire.KeyResultsEnded, wire.KeyLive}) {
		t.Errorf("documented are %v", keys)
	}
}

// TestDocumentedHint: the example is valid, and all commands are described.
func TestDocumentedHint(t *testing.T) {
	t.Parallel()
	const heading = "Hints to managers"
	want := wire.Control{Version: wire.EventVersion, Command: wire.CommandCancel, TaskID: 7}
	if hint, err := wire.DecodeControl(example(t, heading)); err != nil || hint != want {
		t.Errorf("it is read as %+v, %v", hint, err)
	}
	all := []string{wire.CommandCancel, wire.CommandHold, wire.CommandRetry, wire.CommandReceive}
	if commands := names(t, heading); !slices.Equal(commands, all) {
		t.Errorf("documented are %v", commands)
	}
	want.Type, want.SpreadMS = "backup", 2000
	body, err := wire.EncodeControl(want)
	if again, failed := wire.DecodeControl(body); err != nil || failed != nil || again != want {
		t.Errorf("%s is read as %+v, %v, %v", body, again, err, failed)
	}
	for _, body := range []string{"", "[]", `{"v":2,"command":"cancel","task_id":7}`, `{"v":1,"v":1}`} {
		if _, err := wire.DecodeControl([]byte(body)); err == nil {
			t.Errorf("%q is accepted", body)
		}
	}
}

// TestDocumentedTopology has the names in the code.
func TestDocumentedTopology(t *testing.T) {
	t.Parallel()
	own, shared := broker.Queue{TaskType: "<type>", Endpoint: "<endpoint>"}, broker.Queue{TaskType: "<type>"}
	want := []string{
		broker.ExchangeName("<type>"), own.Name(), broker.DeadExchange, broker.EventsExchange, broker.ControlExchange,
		broker.KeyAll, broker.EndpointKey("<endpoint>"), broker.KeyAny,
		own.Name(), shared.Name(), broker.DeadQueue,
	}
	if documented := names(t, "Topology"); !slices.Equal(documented, want) {
		t.Errorf("documented are\n%q, the code has\n%q", documented, want)
	}
	if headers := names(t, "Dead letters"); !slices.Equal(headers, []string{broker.HeaderReason, broker.HeaderQueue, broker.HeaderID}) {
		t.Errorf("documented are the headers %v", headers)
	}
}
