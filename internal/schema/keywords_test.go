package schema_test

import (
	"strings"
	"testing"

	"github.com/taskerhq/tasker/internal/schema"
)

func TestMisspelledKeywords(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"propertees":{}}`:                      `unknown keyword "propertees" at "/propertees": did you mean "properties"?`,
		`{"Required":["a"]}`:                     `did you mean "required"?`,
		`{"properties":{"a/b":{"maxlength":3}}}`: `"maxlength" at "/properties/a~1b/maxlength"`,
		`{"anyOf":[true,{"patern":"x"}]}`:        `"patern" at "/anyOf/1/patern"`,
		`{"items":{"not":{"ennum":[1]}}}`:        `"ennum" at "/items/not/ennum"`,
		`{"$defs":{"a":{"minimun":1}}}`:          `did you mean "minimum"?`,
		`{"if":{"tpye":"string"},"then":false}`:  `did you mean "type"?`,
		`{"additionalPropertie":false}`:          `did you mean "additionalProperties"?`,
		// Annotations, and values that are not schemas.
		`{"x-owner":"ops","note":"","tags":[]}`:                           "",
		`{"properties":{"propertees":{"type":"string"},"typ":{}}}`:        "",
		`{"const":{"typ":1},"enum":[{"requird":1}],"default":{"itms":1}}`: "",
		`{"examples":[{"typ":1}],"description":"typ","example":1}`:        "",
		`{"dependentRequired":{"typ":["requird"]},"required":["titel"]}`:  "",
	} {
		_, err := schema.Compile([]byte(text))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}
