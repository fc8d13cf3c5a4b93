package handlers_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/taskerhq/tasker/handlers"
)

func TestIfconfig(t *testing.T) {
	t.Parallel()
	h := newHandler(t, "ifconfig", nil)
	for _, payload := range []string{"null", "{}"} {
		result, err := h.Handle(t.Context(), request(payload))
		var got struct {
			Interfaces []map[string]string
		}
		dec := json.NewDecoder(bytes.NewReader(result))
		dec.DisallowUnknownFields()
		if err != nil || dec.Decode(&got) != nil || len(got.Interfaces) == 0 {
			t.Fatalf("got %s, %v", result, err)
		}
		loopback := false
		for _, one := range got.Interfaces {
			_, mac := one["mac_address"]
			if one["interface_name"] == "" || !strings.Contains(one["ip_network"], "/") || !mac || len(one) != 3 {
				t.Errorf("got %v", one)
			}
			loopback = loopback || one["ip_network"] == "127.0.0.1/8"
		}
		if !loopback {
			t.Errorf("there is no loopback interface: %s", result)
		}
	}
	if _, err := h.Handle(t.Context(), request(`{"a":1}`)); !handlers.IsPermanent(err) {
		t.Errorf("got %v", err)
	}
}

// TestDescriptions: the built-in handlers describe themselves, in JSON, and
// their example is to their schema as far as a look at its members tells.
func TestDescriptions(t *testing.T) {
	t.Parallel()
	for name, settings := range map[string]handlers.Settings{
		"sleep": nil, "ifconfig": nil, "worker": nil, "backup": nil,
		"copyfile": {"sources": []any{"/in"}, "destinations": []any{"/out"}},
	} {
		describer, ok := handlers.Find[handlers.Describer](newHandler(t, name, settings))
		if !ok {
			t.Errorf("%s is no Describer", name)
			continue
		}
		d := describer.Describe()
		if d.Description == "" || d.Usage == "" {
			t.Errorf("%s: got %+v", name, d)
		}
		if d.Schema == nil {
			continue
		}
		var schema struct {
			Schema     string `json:"$schema"`
			Properties map[string]struct{ Type string }
			Required   []string
		}
		var example map[string]any
		if err := errors.Join(json.Unmarshal(d.Schema, &schema), json.Unmarshal(d.Example, &example)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if schema.Schema != "https://json-schema.org/draft/2020-12/schema" || len(example) != len(schema.Properties) {
			t.Errorf("%s: schema %s, example %s", name, d.Schema, d.Example)
		}
		for _, member := range schema.Required {
			if _, ok := example[member]; !ok {
				t.Errorf("%s: the example has no %q", name, member)
			}
		}
	}
}

func TestSleepProgress(t *testing.T) {
	t.Parallel()
	h := newHandler(t, "sleep", nil)
	for payload, want := range map[string][][2]int64{
		`{"seconds": 2.5}`: {{0, 3}, {1, 3}, {2, 3}, {3, 3}},
		`{"seconds": 0}`:   {{0, 0}},
	} {
		synctest.Test(t, func(t *testing.T) {
			told := &telling{}
			req := request(payload)
			req.Reporter = told
			if _, err := h.Handle(t.Context(), req); err != nil || !slices.Equal(told.progress, want) {
				t.Errorf("%s: got %v, %v; want %v", payload, told.progress, err, want)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		told := &telling{}
		req := request(`{"seconds": 1e9}`)
		req.Reporter = told
		if _, err := h.Handle(t.Context(), req); err != nil || len(told.progress) > 1100 {
			t.Errorf("it told %d times, %v", len(told.progress), err)
		}
	})
}
