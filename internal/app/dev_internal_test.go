package app

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/taskerhq/tasker"
)

func TestFirstSteps(t *testing.T) {
	t.Parallel()
	plain := tasker.TaskType{Name: "plain"}
	shown := tasker.TaskType{Name: "shown", Schema: json.RawMessage(`{}`), Example: json.RawMessage(`{"who":"O'Neill"}`)}
	simple := tasker.TaskType{Name: "simple", Schema: json.RawMessage(`{"type":"object","required":["to"],"properties":{"to":{"type":"integer"}}}`)}
	strict := tasker.TaskType{Name: "strict", Schema: json.RawMessage(`{"type":"object","required":["a"],"properties":{"a":{"type":"string","pattern":"^x.y$"}}}`)}
	labeled := tasker.TaskType{Name: "labeled", Labels: map[string]string{"role": "web"}}
	for want, types := range map[string][]tasker.TaskType{
		`-d '{"identifier":"first","payload":{"foo":"bar"}}' http://host/plain`:        {plain, shown},
		`-d '{"identifier":"first","payload":{"who":"O'\''Neill"}}' http://host/shown`: {strict, labeled, shown},
		`-d '{"identifier":"first","payload":{"to":0}}' http://host/simple`:            {strict, simple},
		"  curl http://host/v1/task-types/strict     # describes its payload\n":        {strict, labeled},
	} {
		if got := firstSteps(types, "http://host"); !strings.Contains(got, want) {
			t.Errorf("got %s\nwant %s", got, want)
		}
	}
}
