package api_test

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/internal/testopenapi"
)

// contractTypes are the types of the contract, by the name of their schema in
// openapi.yaml.
var contractTypes = map[string]reflect.Type{
	"NewTask":         reflect.TypeFor[client.NewTask](),
	"Expect":          reflect.TypeFor[client.Expect](),
	"NewRollout":      reflect.TypeFor[client.NewRollout](),
	"Rollout":         reflect.TypeFor[tasker.Rollout](),
	"RolloutWave":     reflect.TypeFor[tasker.RolloutWave](),
	"RolloutAnswer":   reflect.TypeFor[client.RolloutAnswer](),
	"RolloutCounts":   reflect.TypeFor[tasker.RolloutCounts](),
	"WaveProgress":    reflect.TypeFor[tasker.WaveProgress](),
	"Approve":         reflect.TypeFor[client.Approve](),
	"RolloutExpect":   reflect.TypeFor[tasker.RolloutExpect](),
	"Approved":        reflect.TypeFor[client.Approved](),
	"ResumeRollout":   reflect.TypeFor[client.ResumeRollout](),
	"Reschedule":      reflect.TypeFor[client.Reschedule](),
	"Plan":            reflect.TypeFor[client.Plan](),
	"LackingEndpoint": reflect.TypeFor[client.LackingEndpoint](),
	"Cancel":          reflect.TypeFor[client.Cancel](),
	"Canceled":        reflect.TypeFor[client.Canceled](),
	"Pause":           reflect.TypeFor[client.Pause](),
	"Paused":          reflect.TypeFor[client.Paused](),
	"Drained":         reflect.TypeFor[client.Drained](),
	"HeldTasks":       reflect.TypeFor[client.HeldTasks](),
	"Resumed":         reflect.TypeFor[client.Resumed](),
	"Hold":            reflect.TypeFor[tasker.Hold](),
	"Retry":           reflect.TypeFor[client.Retry](),
	"RetryPolicy":     reflect.TypeFor[tasker.RetryPolicy](),
	"Retried":         reflect.TypeFor[client.Retried](),
	"EndpointNames":   reflect.TypeFor[client.EndpointNames](),
	"NotRetried":      reflect.TypeFor[client.NotRetried](),
	"Cancellation":    reflect.TypeFor[tasker.Cancellation](),
	"Supersession":    reflect.TypeFor[tasker.Supersession](),
	"NewSignature":    reflect.TypeFor[client.NewSignature](),
	"Signature":       reflect.TypeFor[tasker.Signature](),
	"Task":            reflect.TypeFor[tasker.Task](),
	"TaskResult":      reflect.TypeFor[tasker.TaskResult](),
	"Progress":        reflect.TypeFor[tasker.Progress](),
	"LogLine":         reflect.TypeFor[tasker.LogLine](),
	"LogTotals":       reflect.TypeFor[tasker.LogTotals](),
	"Attempt":         reflect.TypeFor[tasker.Attempt](),
	"ResultAnswer":    reflect.TypeFor[client.ResultAnswer](),
	"LogAnswer":       reflect.TypeFor[client.LogAnswer](),
	"TaskView":        reflect.TypeFor[client.TaskView](),
	"TaskEvent":       reflect.TypeFor[client.TaskEvent](),
	"ProgressEvent":   reflect.TypeFor[client.ProgressEvent](),
	"LogEvent":        reflect.TypeFor[client.LogEvent](),
	"EndEvent":        reflect.TypeFor[client.EndEvent](),
	"TaskSnapshot":    reflect.TypeFor[client.TaskSnapshot](),
	"ResultHint":      reflect.TypeFor[client.ResultHint](),
	"ProgressHint":    reflect.TypeFor[client.ProgressHint](),
	"LeftOutEvent":    reflect.TypeFor[client.LeftOutEvent](),
	"Summary":         reflect.TypeFor[tasker.Summary](),
	"TaskAnswer":      reflect.TypeFor[client.TaskAnswer](),
	"TaskCounts":      reflect.TypeFor[tasker.TaskCounts](),
	"StatusCount":     reflect.TypeFor[tasker.StatusCount](),
	"TaskPage":        reflect.TypeFor[client.TaskPage[client.TaskView]](),
	"TaskSummary":     reflect.TypeFor[client.TaskSummary](),
	"ResultPage":      reflect.TypeFor[client.ResultPage](),
	"TaskGroups":      reflect.TypeFor[client.TaskGroups](),
	"ResultGroup":     reflect.TypeFor[client.ResultGroup](),
	"OtherResults":    reflect.TypeFor[client.OtherResults](),
	"EndpointSet":     reflect.TypeFor[client.EndpointSet](),
	"MissingPage":     reflect.TypeFor[client.MissingPage](),
	"TaskTypeList":    reflect.TypeFor[client.TaskTypeList](),
	"TaskTypeInfo":    reflect.TypeFor[client.TaskTypeInfo](),
	"TaskTypeAnswer":  reflect.TypeFor[client.TaskTypeAnswer](),
	"Endpoint":        reflect.TypeFor[tasker.Endpoint](),
	"EndpointPage":    reflect.TypeFor[client.EndpointPage](),
	"RemovedEndpoint": reflect.TypeFor[client.RemovedEndpoint](),
	"EndpointToken":   reflect.TypeFor[tasker.EndpointToken](),
	"IssuedToken":     reflect.TypeFor[client.IssuedToken](),
	"TokenPage":       reflect.TypeFor[client.TokenPage](),
	"DeadLetter":      reflect.TypeFor[client.DeadLetter](),
	"DeadLetterPage":  reflect.TypeFor[client.DeadLetterPage](),
	"Health":          reflect.TypeFor[client.Health](),
	"Check":           reflect.TypeFor[client.Check](),
	"Readiness":       reflect.TypeFor[client.Readiness](),
	"Problem":         reflect.TypeFor[client.Problem](),

	"NewSchedule":          reflect.TypeFor[client.NewSchedule](),
	"ScheduleDefinition":   reflect.TypeFor[tasker.ScheduleDefinition](),
	"SchedulePause":        reflect.TypeFor[tasker.SchedulePause](),
	"Schedule":             reflect.TypeFor[tasker.Schedule](),
	"ScheduleAnswer":       reflect.TypeFor[client.ScheduleAnswer](),
	"SchedulePage":         reflect.TypeFor[client.SchedulePage](),
	"ScheduleSlot":         reflect.TypeFor[tasker.ScheduleSlot](),
	"SlotPage":             reflect.TypeFor[client.SlotPage](),
	"UpcomingSlot":         reflect.TypeFor[tasker.UpcomingSlot](),
	"UpcomingSlots":        reflect.TypeFor[client.UpcomingSlots](),
	"SchedulePauseRequest": reflect.TypeFor[client.SchedulePauseRequest](),
	"Backfill":             reflect.TypeFor[client.Backfill](),
	"Backfilled":           reflect.TypeFor[client.Backfilled](),
	"BackfilledSlot":       reflect.TypeFor[tasker.BackfilledSlot](),
}

// comparison compares the types that the server encodes and the client decodes with
// openapi.yaml.
func comparison(t *testing.T) testopenapi.Comparison {
	t.Helper()
	c, err := theContract()
	if err != nil {
		t.Fatal(err)
	}
	return testopenapi.Comparison{
		Schemas: c.doc.Components.Schemas, Types: contractTypes,
		Forms: map[reflect.Type]reflect.Type{
			reflect.TypeFor[tasker.TaskResult](): reflect.TypeFor[resultForm](), reflect.TypeFor[client.Retry](): reflect.TypeFor[retryForm](),
			reflect.TypeFor[tasker.RetryPolicy](): reflect.TypeFor[policyForm](),
			reflect.TypeFor[tasker.Places]():      reflect.TypeFor[string](), // or an object
		},
	}
}

func TestTypesAndDocumentAgree(t *testing.T) { comparison(t).Run(t) }

// resultForm stands for the JSON form of a [tasker.TaskResult], which
// TestResultForm compares with the real one.
type resultForm struct {
	ID               int64              `json:"id"`
	TaskID           int64              `json:"task_id"`
	Endpoint         string             `json:"endpoint"`
	Status           int                `json:"status"`
	State            tasker.ResultState `json:"state"`
	Attempt          int                `json:"attempt"`
	Errnr            int                `json:"errnr"`
	Errmsg           *string            `json:"errmsg"`
	Payload          json.RawMessage    `json:"payload"`
	StartTime        time.Time          `json:"start_time"`
	LastModifiedTime time.Time          `json:"last_modified_time"`
	RetryTime        *time.Time         `json:"retry_time,omitempty"`
	Progress         *tasker.Progress   `json:"progress,omitempty"`
	CancelRequested  bool               `json:"cancel_requested,omitempty"`
	Held             string             `json:"held,omitempty"`
	Position         int                `json:"position,omitempty"`
	Round            int                `json:"round,omitempty"`
	PayloadSize      int64              `json:"payload_size,omitempty"`
}

// retryForm stands for the JSON form of a [client.Retry], which TestRetryForm
// compares with the real one.
type retryForm struct {
	Endpoints any    `json:"endpoints"`
	Reason    string `json:"reason,omitempty"`
	Expires   string `json:"expires,omitempty"`
}

// policyForm stands for the JSON form of a [tasker.RetryPolicy].
type policyForm struct {
	Intervals []float64 `json:"intervals"`
	Jitter    bool      `json:"jitter,omitempty"`
}

func TestPolicyForm(t *testing.T) {
	for want, policy := range map[string]tasker.RetryPolicy{
		`{"intervals":[]}`:                 {},
		`{"intervals":[60,0.25,0.000001]}`: {Delays: []time.Duration{time.Minute, 250 * time.Millisecond, time.Microsecond}},
		`{"intervals":[1],"jitter":true}`:  {Delays: []time.Duration{time.Second}, Jitter: true},
		`{"intervals":[315360000]}`:        {Delays: []time.Duration{87600 * time.Hour}},
	} {
		got, err := json.Marshal(policy)
		if err != nil || string(got) != want {
			t.Errorf("%s, %v, want %s", got, err, want)
		}
		if again := decode[tasker.RetryPolicy](t, got); !reflect.DeepEqual(again, policy) {
			t.Errorf("%s is read as %v", got, again)
		}
	}
}

func TestRetryForm(t *testing.T) {
	for want, retry := range map[string]client.Retry{
		`{"endpoints":"failed"}`:                               {Class: tasker.RetryFailed},
		`{"endpoints":["a"],"reason":"mended","expires":"1h"}`: {Endpoints: []string{"a"}, Reason: "mended", Expires: "1h", Key: "k"},
	} {
		if got, err := json.Marshal(retry); err != nil || string(got) != want {
			t.Errorf("%s, %v, want %s", got, err, want)
		}
	}
}

func TestResultForm(t *testing.T) {
	encoded, err := json.Marshal(tasker.TaskResult{
		RetryTime: new(time.Time), Progress: new(tasker.Progress), CancelRequested: true, Held: "held", Position: 1, Round: 2,
		PayloadSize: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	got := slices.Sorted(maps.Keys(decode[map[string]any](t, encoded)))
	if want := comparison(t).Fields(reflect.TypeFor[tasker.TaskResult]()); !slices.Equal(got, want) {
		t.Errorf("a result has the members %q, want %q", got, want)
	}
}
