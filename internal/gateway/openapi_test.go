package gateway_test

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/gateway"
	"github.com/taskerhq/tasker/internal/gateway/protocol"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/problem"
	"github.com/taskerhq/tasker/internal/testopenapi"
)

// theDocument is the OpenAPI document of the gateway.
var theDocument = sync.OnceValues(func() (*openapi3.T, error) {
	loader := openapi3.NewLoader()
	loader.IsExternalRefsAllowed = true // to that of the API
	doc, err := loader.LoadFromFile("../../docs/protocol/gateway.openapi.yaml")
	if err != nil {
		return nil, fmt.Errorf("load gateway.openapi.yaml: %w", err)
	}
	if err := doc.Validate(context.Background(), openapi3.EnableExamplesValidation()); err != nil {
		return nil, fmt.Errorf("validate gateway.openapi.yaml: %w", err)
	}
	return doc, nil
})

func document(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := theDocument()
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// documentTypes are the types of the protocol, by the name of their schema.
var documentTypes = map[string]reflect.Type{
	"Register":        reflect.TypeFor[protocol.Register](),
	"Registered":      reflect.TypeFor[protocol.Registered](),
	"Heartbeat":       reflect.TypeFor[protocol.Heartbeat](),
	"Held":            reflect.TypeFor[protocol.Held](),
	"Release":         reflect.TypeFor[protocol.Release](),
	"Forget":          reflect.TypeFor[protocol.Forget](),
	"Canceled":        reflect.TypeFor[protocol.Canceled](),
	"Holds":           reflect.TypeFor[protocol.Holds](),
	"HoldList":        reflect.TypeFor[protocol.HoldList](),
	"Hold":            reflect.TypeFor[protocol.Hold](),
	"Forgotten":       reflect.TypeFor[protocol.Forgotten](),
	"Return":          reflect.TypeFor[protocol.Return](),
	"Returned":        reflect.TypeFor[protocol.Returned](),
	"Empty":           reflect.TypeFor[protocol.Empty](),
	"Receive":         reflect.TypeFor[protocol.Receive](),
	"Message":         reflect.TypeFor[protocol.Message](),
	"Recordings":      reflect.TypeFor[protocol.Recordings](),
	"Recording":       reflect.TypeFor[protocol.Recording](),
	"Signature":       reflect.TypeFor[protocol.Signature](),
	"Task":            reflect.TypeFor[protocol.Task](),
	"Unreceived":      reflect.TypeFor[protocol.Unreceived](),
	"Position":        reflect.TypeFor[protocol.Position](),
	"Take":            reflect.TypeFor[protocol.Take](),
	"Tasks":           reflect.TypeFor[protocol.Tasks](),
	"Payload":         reflect.TypeFor[protocol.Payload](),
	"PayloadText":     reflect.TypeFor[protocol.PayloadText](),
	"Start":           reflect.TypeFor[protocol.Start](),
	"GiveBack":        reflect.TypeFor[protocol.GiveBack](),
	"Resume":          reflect.TypeFor[protocol.Resume](),
	"Started":         reflect.TypeFor[protocol.Started](),
	"Done":            reflect.TypeFor[protocol.Done](),
	"Finish":          reflect.TypeFor[protocol.Finish](),
	"End":             reflect.TypeFor[protocol.End](),
	"Attempts":        reflect.TypeFor[protocol.Attempts](),
	"History":         reflect.TypeFor[protocol.History](),
	"AwaitReboot":     reflect.TypeFor[protocol.AwaitReboot](),
	"Stored":          reflect.TypeFor[protocol.Stored](),
	"Unfinished":      reflect.TypeFor[protocol.Unfinished](),
	"UnfinishedKinds": reflect.TypeFor[protocol.UnfinishedKinds](),
	"Interrupted":     reflect.TypeFor[protocol.Interrupted](),
	"Waiting":         reflect.TypeFor[protocol.Waiting](),
	"Due":             reflect.TypeFor[protocol.Due](),
	"NextRetry":       reflect.TypeFor[protocol.NextRetry](),
	"Next":            reflect.TypeFor[protocol.Next](),
	"WorkList":        reflect.TypeFor[protocol.WorkList](),
	"Work":            reflect.TypeFor[protocol.Work](),
	"Live":            reflect.TypeFor[protocol.Live](),
	"LiveUpdate":      reflect.TypeFor[protocol.LiveUpdate](),
	"Problem":         reflect.TypeFor[protocol.Problem](),
	"FieldError":      reflect.TypeFor[protocol.FieldError](),
}

func TestDocumentAndTypesAgree(t *testing.T) {
	// The JSON form of a policy, which the tests of the API compare with the real one.
	type policy struct {
		Intervals []float64 `json:"intervals"`
		Jitter    bool      `json:"jitter,omitempty"`
	}
	testopenapi.Comparison{
		Schemas: document(t).Components.Schemas, Types: documentTypes,
		Forms: map[reflect.Type]reflect.Type{reflect.TypeFor[tasker.RetryPolicy](): reflect.TypeFor[policy]()},
	}.Run(t)
}

// The document has the operations of the server, each with its request.
// TestVectors compares the answers.
func TestDocumentAndOperationsAgree(t *testing.T) {
	documented := map[string]reflect.Type{}
	for path, item := range document(t).Paths.Map() {
		operations := item.Operations()
		if operations["POST"] == nil || len(operations) != 1 {
			t.Errorf("%s: must be a POST only", path)
			continue
		}
		ref := operations["POST"].RequestBody.Value.Content.Get("application/json").Schema.Ref
		documented[strings.TrimPrefix(path, "/")] = documentTypes[strings.TrimPrefix(ref, "#/components/schemas/")]
	}
	served := map[string]reflect.Type{}
	server := gateway.NewServer(gateway.Config{}, storesOf(newStore(t)), byName{}, &notes{}, testLog(t))
	for name, request := range server.Requests() {
		served[name] = reflect.TypeOf(request).Elem()
	}
	for name := range served {
		if documented[name] != served[name] {
			t.Errorf("%s: the server takes %v, and the document says %v", name, served[name], documented[name])
		}
	}
	for name := range documented {
		if served[name] == nil {
			t.Errorf("%s: not an operation of the server", name)
		}
	}
}

func TestDocumentKnowsTheWords(t *testing.T) {
	schemas := document(t).Components.Schemas
	words := func(schema, property string) (words []string) {
		for _, v := range schemas[schema].Value.Properties[property].Value.Enum {
			words = append(words, v.(string))
		}
		slices.Sort(words)
		return words
	}
	compare := func(schema, property string, want []string) {
		t.Helper()
		slices.Sort(want)
		if diff := cmp.Diff(words(schema, property), want); diff != "" {
			t.Errorf("%s.%s: document (-) and code (+) differ:\n%s", schema, property, diff)
		}
	}
	var initial, ends []string
	for _, state := range tasker.InitialResultStates() {
		initial = append(initial, string(state))
	}
	for _, state := range tasker.ResultStates() {
		if state.Finished() || state == tasker.Retrying {
			ends = append(ends, string(state))
		}
	}
	compare("Message", "state", initial)
	compare("End", "state", ends)
	var outcomes []string
	for _, outcome := range []ledger.Outcome{ledger.Recorded, ledger.Duplicate, ledger.Refused, ledger.NotOwner} {
		outcomes = append(outcomes, protocol.RecordingOf(ledger.Recording{Outcome: outcome}).Outcome)
	}
	compare("Recording", "outcome", outcomes)
	for _, code := range words("Problem", "code") {
		if _, known := problem.KindOf(tasker.Code(code)); !known {
			t.Errorf("unknown code in the document: %s", code)
		}
	}
}
