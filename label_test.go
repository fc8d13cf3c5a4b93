package tasker_test

import (
	"testing"

	"github.com/taskerhq/tasker"
)

func TestLabelFilter(t *testing.T) {
	for text, want := range map[string]struct {
		key, value string
		any        bool
	}{
		"ticket=CHG-7": {key: "ticket", value: "CHG-7"},
		"ticket=a=b":   {key: "ticket", value: "a=b"},
		"ticket=":      {key: "ticket"},
		"ticket":       {key: "ticket", any: true},
	} {
		f := tasker.ParseLabelFilter(text)
		if f.Key != want.key || (f.Value == nil) != want.any || f.Value != nil && *f.Value != want.value || f.String() != text {
			t.Errorf("%s: %+v, %s", text, f, f)
		}
	}
}
