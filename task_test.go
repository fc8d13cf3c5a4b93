package tasker_test

import (
	"encoding/json"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/taskerhq/tasker"
)

// TestResultJSON checks the form of the HTTP contract.
func TestResultJSON(t *testing.T) {
	t.Parallel()
	at := time.Date(2015, 5, 6, 1, 14, 24, 123456000, time.UTC)
	for want, r := range map[string]tasker.TaskResult{
		`{"id":1,"task_id":2,"endpoint":"console1","status":1,"state":"DONE","attempt":1,"errnr":0,"errmsg":null,` +
			`"payload":{"yeah":1234123},"start_time":"2015-05-06T01:14:24.123456Z","last_modified_time":"2015-05-06T01:14:24.123456Z"}`: {
			ID: 1, TaskID: 2, Endpoint: "console1", State: tasker.ResultDone, Attempt: 1,
			Payload: json.RawMessage(`{"yeah":1234123}`), StartTime: at, LastModifiedTime: at,
		},
		`{"id":1,"task_id":2,"endpoint":"console1","status":0,"state":"RETRYING","attempt":1,"errnr":32,"errmsg":"could not backup!",` +
			`"payload":null,"start_time":"2015-05-06T01:14:24.123456Z","last_modified_time":"2015-05-06T01:14:24.123456Z",` +
			`"retry_time":"2015-05-06T01:14:24.123456Z"}`: {
			ID: 1, TaskID: 2, Endpoint: "console1", State: tasker.Retrying, Attempt: 1, Errnr: 32, Errmsg: "could not backup!",
			StartTime: at, LastModifiedTime: at, RetryTime: &at,
		},
	} {
		got, err := json.Marshal(r)
		if err != nil || string(got) != want {
			t.Errorf("got  %s, %v\nwant %s", got, err, want)
		}
	}
}

// TestResultStatusIsWhetherItFinished: status is 1 for a finished result and 0
// for any other, inside of other values, too.
func TestResultStatusIsWhetherItFinished(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		state := rapid.SampledFrom(tasker.ResultStates()).Draw(t, "state")
		encoded, err := json.Marshal([]tasker.TaskResult{{State: state}})
		if err != nil {
			t.Fatal(err)
		}
		var views []struct {
			Status int                `json:"status"`
			State  tasker.ResultState `json:"state"`
		}
		if err := json.Unmarshal(encoded, &views); err != nil {
			t.Fatal(err)
		}
		if views[0].State != state || (views[0].Status == 1) != state.Finished() {
			t.Fatalf("%s became %s", state, encoded)
		}
	})
}

func TestAddressed(t *testing.T) {
	t.Parallel()
	for endpoint, want := range map[string]bool{"console1": true, "console2": false} {
		task := tasker.Task{Endpoints: []string{"console1"}}
		if task.Addressed(endpoint) != want {
			t.Errorf("%s is addressed: %t", endpoint, !want)
		}
		if all := (&tasker.Task{}); !all.Addressed(endpoint) {
			t.Errorf("a task for all is not for %s", endpoint)
		}
	}
}
