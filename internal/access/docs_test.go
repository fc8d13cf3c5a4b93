package access_test

import (
	"os"
	"strings"
	"testing"

	"github.com/taskerhq/tasker/internal/access"
)

// The example of docs/security.md is an access file, and means what is said of it.
func TestDocumentedExample(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(page), "```yaml\n# /etc/tasker/access.yaml")
	example, _, ended := strings.Cut(rest, "```\n")
	if !found || !ended {
		t.Fatal("docs/security.md has no access file")
	}
	p := parse(t, "#"+example)
	for _, test := range []struct {
		who  string
		act  access.Act
		want bool
	}{
		{"alice", access.Act{Right: access.Run, Type: "deploy-web"}, true},
		{"alice", access.Act{Right: access.Approve, Type: "deploy-web"}, false},
		{"alice", access.Act{Right: access.Run, Type: "backup"}, false},
		{"ci", access.Act{Right: access.Run, Type: "worker", Endpoints: on("web1 env=test")}, true},
		{"ci", access.Act{Right: access.Run, Type: "worker", Endpoints: on("web1 env=prod")}, false},
		{"ci", access.Act{Right: access.Run, Type: "worker"}, false},
		{"root", access.Act{Right: access.Admin}, true},
	} {
		if d := find(t, p, test.who).Decide(test.act); d.Allowed != test.want {
			t.Errorf("%s: %+v: %v %s", test.who, test.act, d.Allowed, d.Missing())
		}
	}
	for _, right := range access.Rights() {
		if !strings.Contains(rest, "`"+string(right)+"`") {
			t.Errorf("the right %s is not documented", right)
		}
	}
}
