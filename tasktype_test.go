package tasker_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
)

func TestTaskTypesAreValidated(t *testing.T) {
	t.Parallel()
	for want, types := range map[string][]tasker.TaskType{
		"":                              {{Name: "a"}, {Name: "b", Concurrency: 1024, Retention: tasker.Forever}},
		`invalid task type "a.b"`:       {{Name: "a.b"}},
		"listed twice":                  {{Name: "a"}, {Name: "a"}},
		"invalid concurrency 1025":      {{Name: "a", Concurrency: 1025}},
		"invalid concurrency -1":        {{Name: "a", Concurrency: -1}},
		"invalid timeout -1s":           {{Name: "a", Timeout: -time.Second}},
		"invalid retention -2ns":        {{Name: "a", Retention: -2}},
		"invalid max_payload -1":        {{Name: "a", MaxPayload: -1}},
		"invalid priority -1":           {{Name: "a", Priority: -1}},
		"invalid priority 10: must be":  {{Name: "a", Priority: 10}},
		`invalid approval "mine"`:       {{Name: "a", Approval: "mine"}},
		"b\": invalid retry pause -1ns": {{Name: "a"}, {Name: "b", Retry: tasker.RetryPolicy{Delays: []time.Duration{0, -1}}}},
	} {
		err := tasker.ValidateTaskTypes(types)
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func TestTaskTypesAreCompared(t *testing.T) {
	t.Parallel()
	a := tasker.TaskType{Name: "a", Schema: json.RawMessage(`{}`), Payloads: rule(1)}
	b := a
	if b.Payloads = rule(2); !a.Equal(b) {
		t.Error("types that differ in the compiled schema only are not equal")
	}
	if b.Settings = map[string]any{"x": 1}; a.Equal(b) {
		t.Error("types with other settings are equal")
	}
}

type rule int

func (rule) Validate(json.RawMessage) error { return nil }
