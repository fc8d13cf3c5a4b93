package tasker_test

import (
	"encoding/json"
	"testing"

	"github.com/taskerhq/tasker"
)

func TestPlaces(t *testing.T) {
	for text, want := range map[string]tasker.Places{
		`"any"`: 1, `{"any":1}`: 1, `{"any": 3}`: 3, `{"any":1000}`: 1000,
		`{"any":0}`: 0, `{"any":1001}`: 0, `{"any":-1}`: 0, `{"any":1.5}`: 0, `{"any":"3"}`: 0, `{"any":null}`: 0, `{}`: 0,
		`{"any":3,"all":1}`: 0, `"all"`: 0, `3`: 0, `["any"]`: 0, `null`: 0,
	} {
		var got tasker.Places
		err := json.Unmarshal([]byte(`{"deliver":`+text+`}`), &struct {
			Deliver *tasker.Places `json:"deliver"`
		}{&got})
		if text == "null" {
			continue // means absent: a decoder of pointers does not ask
		}
		if got != want || (err == nil) != (want != 0) {
			t.Errorf("%s: %d, %v; want %d", text, got, err, want)
		}
	}
	for places, want := range map[tasker.Places]string{0: `{}`, 1: `{"deliver":"any"}`, 3: `{"deliver":{"any":3}}`} {
		got, err := json.Marshal(struct {
			Deliver tasker.Places `json:"deliver,omitempty"`
		}{places})
		if err != nil || string(got) != want {
			t.Errorf("%d: %s, %v; want %s", places, got, err, want)
		}
	}
}
