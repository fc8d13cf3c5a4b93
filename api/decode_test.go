package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/taskerhq/tasker"
)

const referenceBody = `{"identifier":"e7bd91d0-16ad-11e2-892e-0800200c9a66","payload":{"foo":"bar"},"endpoints":["console2","console1"]}`

func TestDecodeTask(t *testing.T) {
	deep := strings.Repeat(`[`, maxDepth) + strings.Repeat(`]`, maxDepth)
	for name, tc := range map[string]struct {
		body      string
		id        string
		payload   string
		endpoints []string
	}{
		"reference":            {referenceBody, "e7bd91d0-16ad-11e2-892e-0800200c9a66", `{"foo":"bar"}`, []string{"console1", "console2"}},
		"least":                {`{"identifier":"a"}`, "a", `null`, nil},
		"no identifier":        {`{"endpoints":[]}`, "", `null`, nil},
		"identifier null":      {`{"identifier":null}`, "", `null`, nil},
		"same names elsewhere": {`{"identifier":"a","payload":[{"a":1},{"a":{"a":2}}]}`, "a", `[{"a":1},{"a":{"a":2}}]`, nil},
		"nulls":                {`{"identifier":"a","payload":null,"endpoints":null}`, "a", `null`, nil},
		"space around":         {" \r\n{\t\"identifier\" : \"a\" }\n", "a", `null`, nil},
		"payload kept":         {`{"identifier":"a","payload": { "b" :1.00, "a":"<&>é","c":1e400 } }`, "a", `{ "b" :1.00, "a":"<&>é","c":1e400 }`, nil},
		"payload a string":     {`{"identifier":"a","payload":"x"}`, "a", `"x"`, nil},
		"escaped member":       {`{"\u0069dentifier":"\u0061"}`, "a", `null`, nil},
		"deepest":              {`{"identifier":"a","payload":` + deep + `}`, "a", deep, nil},
		"brackets in a string": {`{"identifier":"a","payload":"\"` + strings.Repeat("[", 200) + `"}`, "a", `"\"` + strings.Repeat("[", 200) + `"`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := decodeTask([]byte(tc.body))
			if err != nil {
				t.Fatal(err)
			}
			if got.identifier != tc.id || string(got.payload) != tc.payload || !slices.Equal(got.endpoints, tc.endpoints) || (got.endpoints == nil) != (tc.endpoints == nil) {
				t.Errorf("got %q, %s, %q", got.identifier, got.payload, got.endpoints)
			}
		})
	}
}

func TestDecodeDeliver(t *testing.T) {
	for body, want := range map[string]tasker.Places{
		`{}`: 0, `{"deliver":null}`: 0, `{"deliver":"any"}`: 1, `{"deliver":{"any":3}}`: 3, `{"deliver":"any","select":"role=web"}`: 1,
		`{"deliver":{"any":2},"endpoints":["a","b"]}`: 2, `{"deliver":"any","all":true,"priority":9,"in":"1h"}`: 1,
	} {
		if got, err := decodeTask([]byte(body)); err != nil || got.deliver != want {
			t.Errorf("%s: %d, %v; want %d", body, got.deliver, err, want)
		}
	}
	for body, text := range map[string]string{
		`{"deliver":"all"}`: "must be", `{"deliver":3}`: "must be", `{"deliver":{"any":0}}`: "must be", `{"deliver":{"any":1001}}`: "must be",
		`{"deliver":{"any":1,"any":2}}`: "must be", `{"deliver":{"some":1}}`: "must be",
		`{"deliver":"any","rollout":{"batch":1}}`:     "deliver and rollout",
		`{"deliver":"any","limit":3}`:                 "deliver and limit",
		`{"deliver":{"any":3},"endpoints":["a","b"]}`: "too many places",
	} {
		_, err := decodeTask([]byte(body))
		if tasker.CodeOf(err) != tasker.Invalid || !strings.Contains(fmt.Sprint(err), text) {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func TestDecodeTaskRefuses(t *testing.T) {
	long := strings.Repeat("x", 65)
	for name, tc := range map[string]struct {
		body   string
		code   tasker.Code
		text   string   // in the message
		fields []string // all of them, in order
	}{
		"empty":                   {"", tasker.Malformed, "empty", nil},
		"space":                   {" \n\t", tasker.Malformed, "empty", nil},
		"not UTF-8":               {"{\"identifier\":\"é\xff\"}", tasker.Malformed, "byte 18", nil},
		"not JSON":                {`{"identifier":}`, tasker.Malformed, "byte 15", nil},
		"single quotes":           {`{'identifier':'a'}`, tasker.Malformed, "byte 2", nil},
		"cut off":                 {`{"identifier":"a"`, tasker.Malformed, "byte 17", nil},
		"byte order mark":         {"\ufeff" + `{"identifier":"a"}`, tasker.Malformed, "byte 1", nil},
		"two values":              {`{"identifier":"a"} {"identifier":"b"}`, tasker.Malformed, "ends at byte 18", nil},
		"rubbish behind":          {`{"identifier":"a"}x`, tasker.Malformed, "ends at byte 18", nil},
		"too deep to read":        {`{"identifier":"a","payload":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`, tasker.Malformed, "depth", nil},
		"array":                   {`[]`, tasker.Invalid, "not an array", nil},
		"string":                  {` "a"`, tasker.Invalid, "not a string", nil},
		"number":                  {`-1`, tasker.Invalid, "not a number", nil},
		"boolean":                 {`true`, tasker.Invalid, "not a boolean", nil},
		"null":                    {`null`, tasker.Invalid, "not null", nil},
		"other case":              {`{"Identifier":"a"}`, tasker.Invalid, "identifier, payload, endpoints, select", []string{"/Identifier"}},
		"identifier a number":     {`{"identifier":1}`, tasker.Invalid, "not a number", []string{"/identifier"}},
		"payload's member twice":  {`{"identifier":"a","payload":{"host":"db1","host":"db2"}}`, tasker.Invalid, "duplicate member", []string{"/payload/host"}},
		"a deep member twice":     {`{"identifier":"a","payload":[{"x":{"a/b":1,"\u0061/b":2}}]}`, tasker.Invalid, "duplicate member", []string{"/payload/0/x/a~1b"}},
		"identifier empty":        {`{"identifier":""}`, tasker.Invalid, "invalid", []string{"/identifier"}},
		"identifier long":         {`{"identifier":"` + long + `"}`, tasker.Invalid, "invalid", []string{"/identifier"}},
		"identifier with a slash": {`{"identifier":"a/b"}`, tasker.Invalid, "invalid", []string{"/identifier"}},
		"identifier of dots":      {`{"identifier":".."}`, tasker.Invalid, "invalid", []string{"/identifier"}},
		"unknown field":           {`{"identifier":"a","prio":1}`, tasker.Invalid, `"prio"`, []string{"/prio"}},
		"unknown field escaped":   {`{"identifier":"a","a/b~c":1}`, tasker.Invalid, "unknown", []string{"/a~1b~0c"}},
		"twice":                   {`{"identifier":"a","identifier":"a"}`, tasker.Invalid, `duplicate field "identifier"`, []string{"/identifier"}},
		"twice, escaped":          {`{"identifier":"a","\u0069dentifier":"b"}`, tasker.Invalid, `duplicate field "identifier"`, []string{"/identifier"}},
		"payload too deep":        {`{"identifier":"a","payload":` + strings.Repeat(`{"a":`, maxDepth+1) + "1" + strings.Repeat("}", maxDepth+1) + `}`, tasker.Invalid, "deep", []string{"/payload"}},
		"endpoints a string":      {`{"identifier":"a","endpoints":"console1"}`, tasker.Invalid, "not a string", []string{"/endpoints"}},
		"endpoints an object":     {`{"identifier":"a","endpoints":{}}`, tasker.Invalid, "not an object", []string{"/endpoints"}},
		"endpoint a number":       {`{"identifier":"a","endpoints":["b",1]}`, tasker.Invalid, "not a number", []string{"/endpoints/1"}},
		"endpoint invalid":        {`{"identifier":"a","endpoints":["b c"]}`, tasker.Invalid, "invalid", []string{"/endpoints/0"}},
		"endpoint reserved":       {`{"identifier":"a","endpoints":["any"]}`, tasker.Invalid, "any", []string{"/endpoints/0"}},
		"too many endpoints": {
			`{"identifier":"a","endpoints":["x"` + strings.Repeat(`,"x"`, 10_000) + `]}`, tasker.Invalid, "too many endpoints: 10001, the limit is 10000", []string{"/endpoints"},
		},
		"endpoint twice": {`{"identifier":"a","endpoints":["b","c","b"]}`, tasker.Invalid, "also at /endpoints/0", []string{"/endpoints/2"}},
		"everything at once": {
			`{"x":1,"identifier":7,"endpoints":["b","b",null],"payload":1,"payload":2}`, tasker.Invalid, "4 more",
			[]string{"/x", "/identifier", "/endpoints/1", "/endpoints/2", "/payload"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := decodeTask([]byte(tc.body))
			if tasker.CodeOf(err) != tc.code {
				t.Fatalf("code %q of %v, want %q", tasker.CodeOf(err), err, tc.code)
			}
			if !strings.Contains(err.Error(), tc.text) {
				t.Errorf("%q does not contain %q", err, tc.text)
			}
			var fields []string
			for _, f := range fieldErrorsOf(err) {
				fields = append(fields, f.Field)
			}
			if diff := cmp.Diff(tc.fields, fields); diff != "" {
				t.Errorf("fields (-want +got):\n%s", diff)
			}
		})
	}
}

// The list of broken rules stays short, whatever was sent.
func TestDecodeTaskBoundsItsErrors(t *testing.T) {
	var body strings.Builder
	body.WriteString(`{"identifier":"a"`)
	for i := range 1000 {
		fmt.Fprintf(&body, `,"%s%d":1`, strings.Repeat("x", 500), i)
	}
	body.WriteString("}")
	_, err := decodeTask([]byte(body.String()))
	fields := fieldErrorsOf(err)
	if len(fields) != maxFieldErrors || !strings.Contains(err.Error(), "999 more") {
		t.Errorf("%d broken rules are listed: %v", len(fields), err)
	}
	for _, f := range fields {
		if len(f.Field)+len(f.Message) > 400 {
			t.Errorf("a broken rule takes %d bytes", len(f.Field)+len(f.Message))
		}
	}
}

// Whatever is sent, the decoder does not panic, gives coded errors, and what
// it takes follows the rules and is kept.

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		referenceBody, `{"identifier":"a"}`, `{"identifier":"a","payload":[1,{"a":"\\\"["}],"endpoints":null}`,
		`{"identifier":1,"x":2,"endpoints":["b","b",""]}`, `[]`, ``, `{"identifier":"a"}{}`, "{\"identifier\":\"\xff\"}",
		`{"identifier":"a","identifier":"b"}`, `{"identifier":"\ud800"}`, `{"endpoints":[]}`, `{"payload":1e999}`,
		`{"identifier":"a","signature":{"uid":"01KBTJ5A3V0Q4S9T8C7M6N5P4R","issued":1,"expires":2,"sshsig":"-----BEGIN SSH SIGNATURE-----\nU1NIU0lH\n-----END SSH SIGNATURE-----\n"}}`,
		`{"signature":{"uid":1,"uid":null,"issued":-1e9,"expires":1.5,"sshsig":[],"x":{}}}`, `{"signature":[]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		in, err := decodeTask(body)
		if err != nil {
			if code := tasker.CodeOf(err); code != tasker.Malformed && code != tasker.Invalid {
				t.Fatalf("code %q of %v", code, err)
			}
			if code := tasker.CodeOf(err); (code == tasker.Invalid) != (json.Valid(body) && utf8.Valid(body)) {
				t.Fatalf("%v, with code %q", err, code)
			}
			if len(err.Error()) > 1000 {
				t.Fatalf("a message of %d bytes", len(err.Error()))
			}
			return
		}
		if err := tasker.ValidateIdentifier(in.identifier); err != nil && in.identifier != "" {
			t.Fatal(err)
		}
		if !json.Valid(in.payload) || string(in.payload) != "null" && !bytes.Contains(body, in.payload) {
			t.Fatalf("payload %q is not the one that was sent", in.payload)
		}
		if in.endpoints != nil && len(in.endpoints) == 0 || !slices.IsSorted(in.endpoints) || len(slices.Compact(slices.Clone(in.endpoints))) != len(in.endpoints) {
			t.Fatalf("endpoints %q are not a sorted set", in.endpoints)
		}
		for _, name := range in.endpoints {
			if err := tasker.ValidateEndpoint(name); err != nil {
				t.Fatal(err)
			}
		}
		fields := map[string]any{"payload": in.payload, "endpoints": in.endpoints}
		if in.identifier != "" {
			fields["identifier"] = in.identifier
		}
		again, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeTask(again); err != nil {
			t.Fatalf("what was taken is refused when sent again: %v", err)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	var names []string
	for i := range 1000 {
		names = append(names, fmt.Sprintf("console%d", i))
	}
	list, err := json.Marshal(names)
	if err != nil {
		b.Fatal(err)
	}
	for name, body := range map[string]string{
		"reference":       referenceBody,
		"64KiB_payload":   `{"identifier":"a","payload":"` + strings.Repeat("x", 64<<10) + `"}`,
		"1000_endpoints":  `{"identifier":"a","endpoints":` + string(list) + `}`,
		"refused_unknown": `{"identifier":"a","prio":1}`,
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				_, _ = decodeTask([]byte(body))
			}
		})
	}
}
