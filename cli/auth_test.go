package cli_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker/cli"
)

const accessFile = `principals:
  alice: {groups: [ops]}
  bob:
rules:
  - {who: [ops], may: [operator], types: [deploy], endpoints: role=web}
  - {who: [ops], may: [drain]}
  - {who: [alice], may: [run], types: [backup], endpoints: "name~db*"}
`

func writeAccess(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "access.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// What "auth token" prints is what the access file needs.
func TestAuthToken(t *testing.T) {
	t.Parallel()
	o := execute(t, nil, "", "auth", "token", "--as", "alice", "--note", `a "laptop"`)
	o.want(t, cli.ExitOK, "It is shown this once", "")
	token := regexp.MustCompile(`token of alice: (tasker_\w+)\n`).FindStringSubmatch(o.stdout)
	_, lines, found := strings.Cut(o.stdout, "under principals:\n\n")
	lines, _, ended := strings.Cut(lines, "\nWhoever")
	if token == nil || !found || !ended {
		t.Fatal(o.stdout)
	}
	sum := sha256.Sum256([]byte(token[1]))
	if !strings.Contains(lines, hex.EncodeToString(sum[:])) || strings.Contains(lines, token[1]) {
		t.Errorf("the lines are\n%s", lines)
	}
	path := writeAccess(t, "principals:\n"+lines+"rules:\n  - {who: [alice], may: [viewer]}\n")
	execute(t, nil, "", "auth", "check", path).want(t, cli.ExitOK, path+": no mistakes (1 principals, 1 tokens, 1 rules)\n", "")

	o = execute(t, nil, "", "auth", "token", "--as", "ci", "--expires", "30d", "--output", "json")
	var made struct {
		Principal, Token, SHA256 string
		Expires                  time.Time
	}
	if err := json.Unmarshal([]byte(o.stdout), &made); err != nil {
		t.Fatal(err)
	}
	if left := time.Until(made.Expires); made.Principal != "ci" || len(made.SHA256) != 64 || left < 29*24*time.Hour || left > 30*24*time.Hour {
		t.Errorf("%+v", made)
	}
	for args, wrong := range map[string]string{
		"":                             `invalid name of a principal ""`,
		"--as token":                   "tasker uses it itself",
		"--as alice --expires 0d":      "invalid --expires",
		"--as alice --expires 4000d":   "invalid --expires",
		"--as alice --expires never":   "invalid --expires",
		"--as alice --expires 12h":     "invalid --expires",
		"--as a --expires 2020-01-01":  "a date to come",
		"--as alice --expires=-1d":     "invalid --expires",
		"--as alice another":           "unexpected argument",
		"--as alice --expires 90d x y": "unexpected argument",
	} {
		execute(t, nil, "", append([]string{"auth", "token"}, strings.Fields(args)...)...).want(t, cli.ExitUsage, "", wrong)
	}
}

func TestAuthCheck(t *testing.T) {
	t.Parallel()
	path := writeAccess(t, accessFile)
	execute(t, nil, "", "auth", "check", path).want(t, cli.ExitOK, "no mistakes (2 principals, 0 tokens, 3 rules)\nwarning: no rule gives bob any right\n", "")
	execute(t, []string{"TASKER_API_ACCESS_FILE=" + path}, "", "auth", "check").want(t, cli.ExitOK, path+": no mistakes", "")
	execute(t, nil, "", "auth", "check").want(t, cli.ExitUsage, "", "api.access_file is not set: name a file")
	execute(t, nil, "", "auth", "check", "/nowhere").want(t, cli.ExitUsage, "", "/nowhere does not exist")
	execute(t, nil, "", "auth", "check", path, path).want(t, cli.ExitUsage, "", "takes one file, got 2")
	wrong := writeAccess(t, strings.Replace(accessFile, "who: [alice]", "whom: [alice]", 1))
	execute(t, nil, "", "auth", "check", wrong).want(t, cli.ExitUsage, "", wrong+`:7: unknown key "whom" in a rule (did you mean "who"?)`)
	execute(t, nil, "", "auth", "check", wrong, "--output", "json").want(t, cli.ExitUsage, `"ok": false`, "")
	soon := time.Now().Add(24 * time.Hour).UTC().Format(time.RFC3339)
	ends := writeAccess(t, "principals:\n  a:\n    tokens:\n      - {expires: "+soon+", sha256: "+strings.Repeat("ab", 32)+"}\n")
	execute(t, nil, "", "auth", "check", ends).want(t, cli.ExitOK, "warning: the token of a in line 4 ends at "+soon, "")
}

func TestAuthCanAndWhy(t *testing.T) {
	t.Parallel()
	path := writeAccess(t, accessFile)
	env := []string{"TASKER_API_ACCESS_FILE=" + path}
	for _, test := range []struct {
		args           string
		code           int
		stdout, stderr string
	}{
		{"can", cli.ExitOK, "alice may\n  view, run, cancel, retry, pause, schedule for task types deploy at endpoints role=web (line 5)\n  drain (line 6)\n" +
			"  run for task types backup at endpoints name~db* (line 7)\nbob may do nothing\n", ""},
		{"can --as bob", cli.ExitOK, "bob may do nothing\n", ""},
		{"can --as eve", cli.ExitUsage, "", `principal "eve" not found`},
		{"can --as alice --output json", cli.ExitOK, `"endpoints": "role=web"`, ""},
		{"why --as alice view deploy", cli.ExitOK, "allowed\n" + path + ", line 5: who: [ops], may: [operator], types: [deploy], endpoints: role=web\n", ""},
		{"why --as alice run deploy", cli.ExitFailure, "not allowed: alice does not have the right run for task type \"deploy\" at all of its endpoints", ""},
		{"why --as alice run deploy -e web1", cli.ExitFailure, "at 1 of the 1 endpoints: web1", ""},
		{"why --as alice run deploy -e web[1-3] --label role=web", cli.ExitOK, "line 5", ""},
		{"why --as alice run deploy -e web1 --label role=db", cli.ExitFailure, "not allowed", ""},
		{"why --as alice run backup -e db1,db2", cli.ExitOK, "line 7", ""},
		{"why --as alice drain -e web1", cli.ExitOK, "line 6", ""},
		{"why --as bob run deploy", cli.ExitFailure, "ask for a rule in the access file with who: [bob], may: [run], types: [deploy]", ""},
		{"why --as bob run deploy --output json", cli.ExitFailure, `"allowed": false`, ""},
		{"why --as eve run deploy", cli.ExitUsage, "", `principal "eve" not found`},
		{"why run deploy", cli.ExitUsage, "", "say who: --as NAME"},
		{"why --as bob runn deploy", cli.ExitUsage, "", `unknown right "runn"; did you mean run?`},
		{"why --as bob", cli.ExitUsage, "", "takes a right and a task type, got 0"},
		{"why --as bob run a/b", cli.ExitUsage, "", "a/b"},
		{"why --as bob run deploy -e web1 --label web", cli.ExitUsage, "", `invalid --label "web"`},
	} {
		o := execute(t, env, "", append([]string{"auth"}, strings.Fields(test.args)...)...)
		if o.code != test.code || !strings.Contains(o.stdout, test.stdout) || !strings.Contains(o.stderr, test.stderr) {
			t.Errorf("%s: exit %d\n%s%s", test.args, o.code, o.stdout, o.stderr)
		}
	}
	other := writeAccess(t, "principals: {bob: }\nrules:\n  - {who: [bob], may: [admin]}\n")
	execute(t, env, "", "auth", "why", "--as", "bob", "admin", "--file", other).want(t, cli.ExitOK, other+", line 3", "")
}
