package schema_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/taskerhq/tasker/internal/schema"
)

// TestLimits checks that a violation names the exact limits of the schema.
func TestLimits(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ schema, payload, want string }{
		"minimum":          {`{"minimum":9007199254740993}`, `9007199254740992`, "got 9007199254740992, want 9007199254740993"},
		"maximum":          {`{"maximum":9007199254740993}`, `9007199254740994`, "got 9007199254740994, want 9007199254740993"},
		"exclusiveMinimum": {`{"exclusiveMinimum":9007199254740993}`, `9007199254740993`, "got 9007199254740993, want 9007199254740993"},
		"exclusiveMaximum": {`{"exclusiveMaximum":-9007199254740993}`, `-9007199254740993`, "got -9007199254740993, want -9007199254740993"},
		"multipleOf":       {`{"multipleOf":9007199254740993}`, `1`, "got 1, want 9007199254740993"},
		"decimals":         {`{"multipleOf":0.10000000000000000001}`, `-0.25`, "got -0.25, want 0.10000000000000000001"},
		"thousands":        {`{"maximum":1000000}`, `1000001`, "got 1000001, want 1000000"},
		"exponents":        {`{"minimum":25e399}`, `25e-401`, "got 25e-401, want 25e399"},
		"negative":         {`{"minimum":-25e-401}`, `-25e399`, "got -25e399, want -25e-401"},
		"long":             {`{"maximum":` + strings.Repeat("1", 60) + `.5}`, strings.Repeat("2", 60), "got " + strings.Repeat("2", 60) + ", want " + strings.Repeat("1", 60) + ".5"},
		"const":            {`{"const":9007199254740993}`, `9007199254740992`, "value must be 9007199254740993"},
		"const null":       {`{"const":null}`, `1`, "value must be null"},
		"const object":     {`{"const":{"<a>":[9007199254740993]}}`, `1`, `value must be {"<a>":[9007199254740993]}`},
		"enum":             {`{"enum":[9007199254740993,"a",null]}`, `1`, `value must be one of 9007199254740993, "a", null`},
		"enum of one":      {`{"enum":[[9007199254740993]]}`, `1`, `value must be [9007199254740993]`},
		"maxLength":        {`{"maxLength":1000}`, `"` + strings.Repeat("a", 1001) + `"`, "got 1001, want 1000"},
		"minItems":         {`{"minItems":9007199254740993}`, `[]`, "got 0, want 9007199254740993"},
		"minProperties":    {`{"minProperties":1000}`, `{}`, "got 0, want 1000"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			invalid, ok := errors.AsType[*schema.Error](compile(t, tt.schema).Validate(json.RawMessage(tt.payload)))
			if !ok || len(invalid.Violations) != 1 {
				t.Fatalf("got %v", invalid)
			}
			if diff := cmp.Diff(tt.want, invalid.Violations[0].Message); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
		})
	}
}
