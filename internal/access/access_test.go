package access_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/access"
	"github.com/taskerhq/tasker/internal/identity"
	"github.com/taskerhq/tasker/internal/selector"
)

func hashOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// hash is that of no token.
var hash = strings.Repeat("ab", 32)

// file is an access file with everything in it.
const file = `principals:
  alice:
    groups: [ops, leads]
  bob: {groups: [ops]}
  ci:
  eve:
roles:
  deployer: [view, run]
rules:
  - {who: [ops], may: [operator], types: [deploy, "web-*"]}
  - {who: [alice], may: [run, retry], types: [backup], endpoints: "role=db"}
  - {who: [leads], may: [run], types: [backup], endpoints: "name~spare[0-9]"}
  - {who: [ci], may: [deployer], types: ["*"], endpoints: "env!=prod"}
  - {who: [bob], may: [drain], endpoints: "zone in (eu, us)"}
  - {who: [leads], may: [admin]}
`

func parse(t testing.TB, content string) *access.Policy {
	t.Helper()
	p, err := access.Parse("access.yaml", []byte(content))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func find(t testing.TB, p *access.Policy, name string) access.Principal {
	t.Helper()
	found, err := p.Find(name)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// on returns endpoints from texts such as "web1 role=web"; of one with "?" nothing but the
// name is known.
func on(texts ...string) []access.Endpoint {
	endpoints := make([]access.Endpoint, 0, len(texts))
	for _, text := range texts {
		words := strings.Fields(text)
		e := access.Endpoint{Endpoint: selector.Endpoint{Name: words[0], Labels: map[string]string{}}, Registered: true}
		for _, word := range words[1:] {
			key, value, ok := strings.Cut(word, "=")
			if e.Registered = word != "?"; ok {
				e.Labels[key] = value
			}
		}
		endpoints = append(endpoints, e)
	}
	return endpoints
}

func TestDecide(t *testing.T) {
	t.Parallel()
	p := parse(t, strings.Replace(file, "  - {who: [leads], may: [admin]}\n", "", 1))
	for name, test := range map[string]struct {
		who  string
		act  access.Act
		want string // the lines of the rules that allow it, or else what is missing
	}{
		"by a group":                      {"alice", access.Act{Right: access.Cancel, Type: "deploy"}, "10"},
		"by a pattern":                    {"bob", access.Act{Right: access.View, Type: "web-7"}, "10"},
		"another type":                    {"bob", access.Act{Right: access.View, Type: "backup"}, `bob does not have the right view for task type "backup": ask for a rule in the access file with who: [bob], may: [view], types: [backup]`},
		"not in the role":                 {"bob", access.Act{Right: access.Approve, Type: "deploy"}, `bob does not have the right approve for task type "deploy"`},
		"no rule":                         {"eve", access.Act{Right: access.View, Type: "deploy"}, `eve does not have the right view`},
		"all types":                       {"alice", access.Act{Right: access.View}, `alice does not have the right view for all task types: ask for a rule in the access file with who: [alice], may: [view] and without types`},
		"all types, by a star":            {"ci", access.Act{Right: access.View}, "13"},
		"at an endpoint":                  {"alice", access.Act{Right: access.Run, Type: "backup", Endpoints: on("db1 role=db")}, "11"},
		"at endpoints of two rules":       {"alice", access.Act{Right: access.Run, Type: "backup", Endpoints: on("db1 role=db", "spare7 role=web")}, "11 12"},
		"one outside":                     {"alice", access.Act{Right: access.Run, Type: "backup", Endpoints: on("db1 role=db", "web1 role=web", "db2 role=db")}, `alice does not have the right run for task type "backup" at 1 of the 3 endpoints: web1 (others are allowed by line 11: role=db, line 12: name~spare[0-9]): leave them out`},
		"a rule for another right":        {"alice", access.Act{Right: access.Retry, Type: "backup", Endpoints: on("spare7")}, `at 1 of the 1 endpoints: spare7 (others are allowed by line 11: role=db)`},
		"at every endpoint":               {"alice", access.Act{Right: access.Run, Type: "backup"}, `alice does not have the right run for task type "backup" at all of its endpoints, but at some (line 11: role=db, line 12: name~spare[0-9]): list the endpoints`},
		"at none":                         {"alice", access.Act{Right: access.Run, Type: "backup", Endpoints: on()}, "11 12"},
		"not registered":                  {"alice", access.Act{Right: access.Run, Type: "backup", Endpoints: on("db1 role=db ?")}, "at 1 of the 1 endpoints: db1"},
		"not registered, by its name":     {"alice", access.Act{Right: access.Run, Type: "backup", Endpoints: on("spare7 ?")}, "12"},
		"a label that is lacking":         {"ci", access.Act{Right: access.Run, Type: "x", Endpoints: on("a role=web")}, "at 1 of the 1 endpoints: a"},
		"a label with another value":      {"ci", access.Act{Right: access.Run, Type: "x", Endpoints: on("a env=test")}, "13"},
		"to view is not about endpoints":  {"ci", access.Act{Right: access.View, Type: "x", Endpoints: on("a env=prod")}, "13"},
		"to drain":                        {"bob", access.Act{Right: access.Drain, Endpoints: on("a zone=eu")}, "14"},
		"to drain elsewhere":              {"bob", access.Act{Right: access.Drain, Endpoints: on("a zone=asia")}, "bob does not have the right drain at 1 of the 1 endpoints: a"},
		"to drain without a right":        {"ci", access.Act{Right: access.Drain, Endpoints: on("a zone=eu")}, "ci does not have the right drain: ask for a rule in the access file with who: [ci], may: [drain]"},
		"to administer":                   {"alice", access.Act{Right: access.Admin}, "alice does not have the right admin"},
		"many outside are not all listed": {"ci", access.Act{Right: access.Run, Type: "x", Endpoints: on(strings.Split("a,b,c,d,e,f,g,h,i,j,k,l", ",")...)}, "at 12 of the 12 endpoints: a, b, c, d, e, f, g, h, i, j and 2 more"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := find(t, p, test.who).Decide(test.act)
			got := d.Missing()
			if d.Allowed {
				var lines []string
				for _, r := range d.Rules {
					lines = append(lines, strings.TrimPrefix(strings.SplitN(r.String(), ":", 2)[0], "line "))
				}
				got = strings.Join(lines, " ")
			}
			if allowed := test.want[0] >= '0' && test.want[0] <= '9'; d.Allowed != allowed || allowed && got != test.want || !strings.Contains(got, test.want) {
				t.Errorf("allowed %v: %s\nwant %s", d.Allowed, got, test.want)
			}
		})
	}
}

func TestWhoMayEverything(t *testing.T) {
	t.Parallel()
	admin := find(t, parse(t, file), "alice")
	for _, p := range []access.Principal{access.Unlimited("token"), admin} {
		for _, right := range access.Rights() {
			for _, act := range []access.Act{{Right: right}, {Right: right, Type: "x"}, {Right: right, Type: "x", Endpoints: on("a ?")}} {
				if d := p.Decide(act); !d.Allowed || d.Missing() != "" {
					t.Errorf("%s: %+v: %s", p.Name, act, d.Missing())
				}
			}
			if !p.HasAny(right) || !p.Knows("x") {
				t.Errorf("%s has no right %s", p.Name, right)
			}
		}
	}
	var nobody access.Principal
	for _, right := range access.Rights() {
		if nobody.Decide(access.Act{Right: right}).Somewhere() || nobody.HasAny(right) || nobody.Knows("x") {
			t.Errorf("the zero principal has the right %s", right)
		}
	}
}

func TestKnows(t *testing.T) {
	t.Parallel()
	p := parse(t, file)
	bob := find(t, p, "bob")
	for taskType, want := range map[string]bool{"deploy": true, "web-1": true, "backup": false, "web": false, "": false} {
		if got := bob.Knows(taskType); got != want {
			t.Errorf("%q: %v", taskType, got)
		}
	}
	if bob.HasAny(access.Approve) || !bob.HasAny(access.Drain) || find(t, p, "eve").HasAny(access.View) {
		t.Error("wrong rights")
	}
}

func TestAuthenticate(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 6, 12, 0, 0, 0, time.UTC)
	plain, limited, ended, local := identity.NewPrincipalToken(), identity.NewPrincipalToken(), identity.NewPrincipalToken(), identity.NewPrincipalToken()
	p := parse(t, `
principals:
  alice:
    tokens:
      - {sha256: `+hashOf(plain)+`, expires: 2026-05-07, note: laptop}
      - {sha256: `+strings.ToUpper(hashOf(limited))+`, expires: "2026-05-06T14:00:00.5+02:00", may: [viewer]}
      - {sha256: `+hashOf(ended)+`, expires: 2026-05-06T12:00:00Z}
      - {sha256: `+hashOf(local)+`, expires: 2027-01-01, from: [10.1.0.0/16, "::1", 192.168.1.7]}
rules:
  - {who: [alice], may: [view, run]}
`)
	run := access.Act{Right: access.Run, Type: "x"}
	for name, test := range map[string]struct {
		token, from string
		now         time.Time
		want        string // in the error; empty if it is valid
	}{
		"valid":                    {plain, "127.0.0.1", now, ""},
		"the last moment":          {plain, "127.0.0.1", now.Add(12*time.Hour - 1), ""},
		"the end":                  {plain, "127.0.0.1", now.Add(12 * time.Hour), "expired token: this one of alice ended at 2026-05-07T00:00:00Z"},
		"ended":                    {ended, "127.0.0.1", now, "expired token"},
		"unknown":                  {identity.NewPrincipalToken(), "127.0.0.1", now, "invalid token: no principal has it"},
		"of an endpoint":           {identity.NewToken(), "127.0.0.1", now, "invalid token: it was not copied completely"},
		"cut":                      {plain[:len(plain)-1], "127.0.0.1", now, "not copied completely"},
		"something else":           {"s3cret", "127.0.0.1", now, "must begin with tasker_"},
		"from a block":             {local, "10.1.255.3", now, ""},
		"from there, as IPv6 says": {local, "::ffff:10.1.255.3", now, ""},
		"from an address":          {local, "192.168.1.7", now, ""},
		"from this machine":        {local, "::1", now, ""},
		"from elsewhere":           {local, "10.2.0.1", now, "this one of alice may not be used from 10.2.0.1"},
		"from nowhere":             {local, "", now, "may not be used from"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			from, _ := netip.ParseAddr(test.from)
			found, err := p.Authenticate(test.token, from, test.now)
			switch {
			case test.want == "" && (err != nil || found.Name != "alice" || !found.Decide(run).Allowed || found.Expires.IsZero()):
				t.Errorf("%+v, %v", found, err)
			case test.want != "" && (tasker.CodeOf(err) != tasker.Unauthorized || !strings.Contains(err.Error(), test.want)):
				t.Errorf("%v, want %s", err, test.want)
			case err != nil && (found.Name != "" || len(test.token) > 20 && strings.Contains(err.Error(), test.token[15:])):
				t.Errorf("%+v, %v", found, err)
			}
		})
	}
	viewer, err := p.Authenticate(limited, netip.Addr{}, now)
	if err != nil || !viewer.Decide(access.Act{Right: access.View, Type: "x"}).Allowed || viewer.HasAny(access.Run) {
		t.Errorf("%+v, %v", viewer, err)
	}
	if d := viewer.Decide(run); d.Allowed || !strings.Contains(d.Missing(), "the token that was sent is for view only") {
		t.Error(d.Missing())
	}
	var ending []string
	for _, token := range p.Ending(now, 14*24*time.Hour) {
		ending = append(ending, token.String())
	}
	want := []string{"the token of alice in line 5 (laptop)", "the token of alice in line 6", "the token of alice in line 7"}
	if !slices.Equal(ending, want) {
		t.Errorf("ending: %q", ending)
	}
}

func TestSame(t *testing.T) {
	t.Parallel()
	p, again, other := parse(t, file), parse(t, file), parse(t, file+"# more\n")
	if !p.Same(again) || p.Same(other) || p.Same(nil) || (*access.Policy)(nil).Same(p) || !(*access.Policy)(nil).Same(nil) {
		t.Error("policies are compared wrongly")
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "access.yaml")
	if _, err := access.Read(path); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Error(err)
	}
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := access.Read(path)
	if err != nil || !slices.Equal(p.Names(), []string{"alice", "bob", "ci", "eve"}) || p.Rules() != 6 || p.File() != path {
		t.Errorf("%+v, %v", p, err)
	}
	if err := os.Chmod(path, 0o644); err != nil { //nolint:gosec // the fault
		t.Fatal(err)
	}
	if _, err := access.Read(path); err == nil || !strings.Contains(err.Error(), "chmod o-rwx") {
		t.Error(err)
	}
}

// Mistakes name the line and what to do, and none is ignored.
func TestMistakes(t *testing.T) {
	t.Parallel()
	const who = "principals:\n  alice: {groups: [ops]}\n"
	token := func(keys string) string { return "principals:\n  alice:\n    tokens:\n      - {" + keys + "}\n" }
	rule := func(keys string) string { return who + "rules:\n  - {" + keys + "}\n" }
	for name, test := range map[string]struct{ content, want string }{
		"nothing":                      {"", "access.yaml:1: the file is empty"},
		"nobody":                       {"rules: []", "access.yaml:1: no principals: nobody could use the API"},
		"not YAML":                     {"a: b: c", "access.yaml: invalid YAML"},
		"two documents":                {who + "---\n" + who, "must be a single YAML document"},
		"a list":                       {"[a]", "access.yaml:1: invalid the file: must be a mapping with principals, roles, rules, not a list"},
		"an unknown key":               {who + "rule: []", `access.yaml:3: unknown key "rule" in the file (did you mean "rules"?): use principals, roles, rules`},
		"a doubled key":                {who + "rules: []\nrules: []", `access.yaml:4: duplicate key "rules" in the file`},
		"a doubled principal":          {who + "  alice: {}", `access.yaml:3: duplicate key "alice" in principals`},
		"an unknown key of one":        {"principals:\n  alice: {token: []}", `unknown key "token" in principal alice (did you mean "tokens"?): use groups, tokens`},
		"a wrong name":                 {"principals: {a b: {}}", `invalid name of a principal "a b": must be 1 to 64`},
		"a reserved name":              {"principals: {token: {}}", `invalid name of a principal "token": tasker uses it itself`},
		"a group of a principal's":     {who + "  ops: {}", `access.yaml:2: invalid group "ops": line 3 has a principal of this name`},
		"a group twice":                {"principals: {a: {groups: [b, b]}}", `duplicate group "b"`},
		"an alias":                     {"principals: {a: &x {groups: [b]}, b: *x}", "not an alias"},
		"a merge":                      {"principals: {a: {<<: {groups: [b]}}}", "invalid key in principal a"},
		"no hash":                      {token("expires: 2027-01-01"), "access.yaml:4: missing sha256: give what tasker auth token prints"},
		"no end":                       {token("sha256: " + hash), "access.yaml:4: missing expires: a token must end some day"},
		"a token for a hash":           {token("expires: 2027-01-01, sha256: tasker_s3cret"), "access.yaml:4: invalid sha256: this is a token itself"},
		"a short hash":                 {token("expires: 2027-01-01, sha256: s3cret"), "invalid sha256: must be 64 hexadecimal digits, got 6 characters"},
		"a hash twice":                 {token("expires: 2027-01-01, sha256: "+hash) + "      - {expires: 2027-01-01, sha256: " + hash + "}\n", "access.yaml:5: duplicate sha256: the token of alice in line 4 has this one"},
		"no such date":                 {token("expires: 2027-13-01, sha256: " + hash), `invalid expires "2027-13-01": must be a date`},
		"a date long ago":              {token("expires: 0001-01-01, sha256: " + hash), "invalid expires"},
		"a time without a zone":        {token("expires: 2027-01-01T10:00:00, sha256: " + hash), "invalid expires"},
		"no address":                   {token("expires: 2027-01-01, from: [here], sha256: " + hash), `invalid address "here"`},
		"an address in a block":        {token("expires: 2027-01-01, from: [10.1.2.3/8], sha256: " + hash), `invalid address "10.1.2.3/8": the block is 10.0.0.0/8`},
		"addresses, none":              {token("expires: 2027-01-01, from: [], sha256: " + hash), "no addresses in from"},
		"an unknown right of a token":  {token("expires: 2027-01-01, may: [runn], sha256: " + hash), `unknown right or role "runn" (did you mean "run"?)`},
		"no right of a token":          {token("expires: 2027-01-01, may: [], sha256: " + hash), "no rights in may"},
		"a secret in a wrong place":    {token("note: x, tasker_s3cret: y"), "unknown key (not shown: it looks like a token)"},
		"a role of every file":         {who + "roles: {viewer: [run]}", `invalid role "viewer": every file has it`},
		"a role with a right's name":   {who + "roles: {run: [run]}", `invalid role "run": it is the name of a right`},
		"a role with an unknown right": {who + "roles: {x: [viewer]}", `unknown right "viewer" (did you mean "view"?): must be one of view, run`},
		"nobody in a rule":             {rule("may: [view]"), "access.yaml:4: missing who"},
		"nothing in a rule":            {rule("who: [alice]"), "access.yaml:4: missing may"},
		"no name in a rule":            {rule("who: [], may: [view]"), "nobody in who"},
		"an unknown principal":         {rule("who: [alise], may: [view]"), `access.yaml:4: unknown principal or group "alise" (did you mean "alice"?)`},
		"an unknown role":              {rule("who: [ops], may: [operators]"), `unknown right or role "operators" (did you mean "operator"?): rights are view, run, cancel, retry, pause, approve, schedule, drain, admin; roles are admin, approver, operator, viewer`},
		"a text for a list":            {rule("who: ops, may: [view]"), "invalid who: must be a list, such as [a, b], not text"},
		"an unknown key of a rule":     {rule("who: [ops], may: [view], type: [a]"), `unknown key "type" in a rule (did you mean "types"?): use who, may, types, endpoints`},
		"a deny":                       {rule("who: [ops], may: [view], deny: true"), `unknown key "deny" in a rule`},
		"a wrong pattern":              {rule("who: [ops], may: [view], types: ['a[']"), `invalid task type "a["`},
		"types, none":                  {rule("who: [ops], may: [view], types: []"), "no task types in types: leave it out for all"},
		"types of drains":              {rule("who: [ops], may: [run, drain], types: [a]"), "types in a rule with the right drain, which is not about task types"},
		"types of an administrator":    {rule("who: [ops], may: [admin], types: [a]"), "types in a rule with the right admin"},
		"endpoints of one":             {rule("who: [ops], may: [admin], endpoints: role=web"), "endpoints in a rule with the right admin"},
		"a wrong selector":             {rule("who: [ops], may: [run], endpoints: 'role=='"), "access.yaml:4: invalid endpoints: invalid selector: column"},
		"an empty selector":            {rule("who: [ops], may: [run], endpoints: ''"), "no selector in endpoints: leave it out for all"},
		"a selector of times":          {rule("who: [ops], may: [run], endpoints: 'seen<5m'"), `invalid endpoints: "seen" changes with time`},
		"endpoints as a list":          {rule("who: [ops], may: [run], endpoints: [a]"), "invalid endpoints: must be text, not a list"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := access.Parse("access.yaml", []byte(test.content))
			wrong, ok := errors.AsType[*access.Error](err)
			if p != nil || !ok || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("%v\nwant %s", err, test.want)
			}
			if strings.Contains(err.Error(), "s3cret") {
				t.Errorf("the message has the secret: %v", err)
			}
			for _, line := range wrong.Problems {
				if !strings.HasPrefix(line, "access.yaml:") {
					t.Errorf("no file in %q", line)
				}
			}
		})
	}
}

// All mistakes are reported at once.
func TestAllMistakes(t *testing.T) {
	t.Parallel()
	_, err := access.Parse("f", []byte("principals:\n  a: {tokens: [{}]}\nrules:\n  - {who: [b], may: [c]}\n  - {}\n"))
	wrong, ok := errors.AsType[*access.Error](err)
	if !ok || len(wrong.Problems) != 6 {
		t.Errorf("%v", err)
	}
}

// What a star or every name chooses is no limit.
func TestNoLimit(t *testing.T) {
	t.Parallel()
	p := parse(t, "principals: {a: {}}\nrules:\n  - {who: [a], may: [operator, drain], types: [x, '*'], endpoints: '*'}\n")
	for _, act := range []access.Act{{Right: access.Run, Type: "y"}, {Right: access.View}, {Right: access.Drain}} {
		if d := find(t, p, "a").Decide(act); !d.Allowed {
			t.Error(d.Missing())
		}
	}
}

// FuzzParse: whatever a file has, it is refused with lines, or gives a policy whose
// principals can be asked.
func FuzzParse(f *testing.F) {
	f.Add(file)
	f.Add("principals: {a: &x {groups: [b]}, b: *x}")
	f.Add("principals:\n  alice:\n    tokens:\n      - {sha256: " + hash + ", expires: 2027-01-01, from: [10.0.0.0/8], may: [view]}\n")
	f.Add("a: &a [*a]\nprincipals: *a\n? [x]\n: y")
	f.Add("principals: {a: }\nrules:\n- {who: [a], may: [run], endpoints: 'name~a,!b', types: ['[!a-b]?']}")
	f.Fuzz(func(t *testing.T, content string) {
		p, err := access.Parse("f", []byte(content))
		if err != nil {
			wrong, ok := errors.AsType[*access.Error](err)
			if !ok || len(wrong.Problems) == 0 || p != nil {
				t.Fatalf("%v, %v", p, err)
			}
			return
		}
		if len(p.Names()) == 0 {
			t.Fatal("a policy for nobody")
		}
		for _, name := range p.Names() {
			who := find(t, p, name)
			for _, right := range access.Rights() {
				for _, act := range []access.Act{{Right: right}, {Right: right, Type: "x"}, {Right: right, Type: "x", Endpoints: on("a role=web", "b ?")}} {
					d := who.Decide(act)
					if d.Allowed != (d.Missing() == "") || d.Allowed && len(d.Rules) == 0 || d.Allowed && !who.HasAny(right) {
						t.Fatalf("%+v: %+v", act, d)
					}
				}
			}
		}
		for _, token := range p.Tokens() {
			if token.Expires.IsZero() || token.Principal == "" {
				t.Fatalf("%+v", token)
			}
		}
	})
}
