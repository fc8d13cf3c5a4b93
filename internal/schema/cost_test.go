package schema_test

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/taskerhq/tasker/internal/schema"
)

// TestCost: a schema whose alternatives refer to itself is held against a deep
// payload for a limited number of steps only, however few bytes that has.
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
			// The next one begins anew.
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

// TestCostOfLargePayloads: what is merely large is not too costly.
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
