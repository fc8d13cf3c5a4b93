package schema_test

import (
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskerhq/tasker/internal/schema"
)

// A schema whose alternatives refer to itself does not validate a deep payload
// endlessly, however small that is.
func TestCost(t *testing.T) {
	t.Parallel()
	deep := func(depth int, leaf string) string {
		return strings.Repeat(`{"k":"not","of":`, depth) + leaf + strings.Repeat("}", depth)
	}
	const branch = `{"properties":{"k":{"const":"not"},"of":{"$ref":"#"}},"required":["k"]}`
	for name, text := range map[string]string{
		"oneOf":       `{"oneOf":[` + branch + `,{"properties":{"k":{"const":"and"},"of":{"$ref":"#"}},"required":["k"]},{"type":"string"}]}`,
		"allOf":       `{"allOf":[` + branch + `,` + branch + `]}`,
		"definitions": `{"$ref":"#/$defs/a","$defs":{"a":{"anyOf":[{"properties":{"of":{"$ref":"#/$defs/a"}},"required":["x"]},{"items":true,"properties":{"of":{"$ref":"#/$defs/a"}},"required":["y"]},{"type":"string"}]}}}`,
		"not":         `{"not":{"oneOf":[` + branch + `,` + branch + `,{"type":"string"}]}}`,
		"dynamic":     `{"$dynamicAnchor":"n","allOf":[{"properties":{"of":{"$dynamicRef":"#n"}}},{"properties":{"of":{"$dynamicRef":"#n"}}}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := schema.Compile([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			for _, leaf := range []string{`"x"`, `{}`} {
				err := s.Validate([]byte(deep(80, leaf)))
				broken, ok := errors.AsType[*schema.Error](err)
				if !ok || len(broken.Violations) != 1 || broken.Violations[0].Rule != "cost" {
					t.Errorf("%s: got %v", leaf, err)
				}
			}
			// The next one has all steps again.
			var group sync.WaitGroup
			for range 4 {
				group.Go(func() {
					if err := s.Validate([]byte(deep(2, `{}`))); err != nil && strings.Contains(err.Error(), "too many steps") {
						t.Errorf("a shallow one: got %v", err)
					}
				})
			}
			group.Wait()
		})
	}
}

// A payload that is merely large is not too costly.
func TestCostOfLargePayloads(t *testing.T) {
	t.Parallel()
	s, err := schema.Compile([]byte(`{"items":{"anyOf":[{"type":"string"},{"type":"object"},{"minimum":0,"type":"integer"}]}}`))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Validate([]byte("[" + strings.Repeat("1,", 100_000) + "1]")); err != nil {
		t.Errorf("got %v", err)
	}
}

// A validation that takes long neither delays others of the same schema nor uses
// up their steps.
func TestValidationsAtTheSameTime(t *testing.T) {
	t.Parallel()
	// The meta-schema is shared by all schemas of the validator.
	s := compile(t, `{"anyOf":[{"type":"integer"},{"$ref":"https://json-schema.org/draft/2020-12/schema"}]}`)
	release, err := s.Occupy()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- s.Validate([]byte(`{"type":"object"}`)) }()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("a validation waits for another one")
	}
	release()

	// More than there are processors.
	var group sync.WaitGroup
	for range 4 * runtime.GOMAXPROCS(0) {
		group.Go(func() {
			if err := s.Validate([]byte(`{"type":"object","properties":{"a":{"minimum":1}}}`)); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

// A payload that is too costly takes no steps from those that are validated at the
// same time.
func TestCostsOfOthers(t *testing.T) {
	t.Parallel()
	s := compile(t, `{"allOf":[{"properties":{"of":{"$ref":"#"}}},{"properties":{"of":{"$ref":"#"}}}]}`)
	deep := func(depth int) []byte {
		return []byte(strings.Repeat(`{"of":`, depth) + `{}` + strings.Repeat("}", depth))
	}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if err := s.Validate(deep(80)); err == nil || !strings.Contains(err.Error(), `"cost"`) {
				t.Errorf("the deep one: got %v", err)
			}
		})
		group.Go(func() {
			if err := s.Validate(deep(12)); err != nil {
				t.Errorf("the shallow one: got %v", err)
			}
		})
	}
	group.Wait()
}
