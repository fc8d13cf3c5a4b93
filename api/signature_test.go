package api_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/taskerhq/tasker/api"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/internal/signature"
	"github.com/taskerhq/tasker/internal/wire"
)

// signedBody returns the body of a signed POST, with more members, and the fingerprint of
// the key. Its signature is of the identifier a, no endpoints and the payload, issued at a
// time for an hour, unless change says otherwise.
func signedBody(t testing.TB, payload string, issued time.Time, members map[string]any, change func(s *signature.Statement)) (body, key string) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	s := signature.Statement{
		UID: signature.NewUID(), Type: "worker", Identifier: "a", Issued: issued.Unix(), Expires: issued.Add(time.Hour).Unix(), Targets: "*",
		PayloadSHA256: wire.PayloadSHA256([]byte(payload)),
	}
	if change != nil {
		change(&s)
	}
	sshsig, err := signature.Sign(signer, s)
	if err != nil {
		t.Fatal(err)
	}
	post := map[string]any{
		"identifier": "a", "payload": json.RawMessage(payload),
		"signature": map[string]any{"uid": s.UID, "issued": s.Issued, "expires": s.Expires, "sshsig": sshsig},
	}
	maps.Copy(post, members)
	encoded, err := json.Marshal(post)
	if err != nil {
		t.Fatal(err)
	}
	return string(encoded), ssh.FingerprintSHA256(signer.PublicKey())
}

// signedAt is about now by the clock of the API in these tests.
var signedAt = time.Date(2015, 5, 6, 1, 14, 24, 0, time.UTC)

// roomy has the API take larger bodies.
func roomy(c *api.Config) { c.MaxBody = 1 << 20 }

// A signed task is accepted, and shows who signed it, and not the signature itself.
func TestCreateTaskSigned(t *testing.T) {
	h := newHarness(t)
	body, key := signedBody(t, `{"foo":"bar"}`, signedAt, map[string]any{"endpoints": []string{"b", "a"}}, func(s *signature.Statement) {
		s.Targets = "a,b"
	})
	a := h.post(t, "/worker", body)
	a.want(t, http.StatusCreated)
	for _, answer := range []string{string(a.body), string(h.get(t, "/worker/a").body), string(h.get(t, "/worker").body)} {
		if !strings.Contains(answer, `"key":"`+key+`"`) || strings.Contains(answer, "SSH SIGNATURE") || strings.Contains(answer, "sshsig") {
			t.Errorf("%s", answer)
		}
	}
	if got := decode[client.TaskAnswer](t, h.get(t, "/worker/a").body).Task.Signature; got == nil || got.Expires-got.Issued != 3600 {
		t.Errorf("%+v", got)
	}
	// The same again, signed anew or not at all, is the same task.
	h.post(t, "/worker", body).want(t, http.StatusOK)
	h.post(t, "/worker", `{"identifier":"a","payload":{"foo":"bar"},"endpoints":["a","b"]}`).want(t, http.StatusOK)
	expired, _ := signedBody(t, `{"foo":"bar"}`, signedAt.Add(-2*time.Hour), map[string]any{"endpoints": []string{"a", "b"}}, func(s *signature.Statement) {
		s.Targets = "a,b"
	})
	h.post(t, "/worker", expired).want(t, http.StatusOK)
}

// What the API can see of a signature is checked when it takes the task.
func TestCreateTaskSignedWrongly(t *testing.T) {
	h := newHarness(t, roomy)
	now := signedAt
	ofTask := func(members map[string]any, change func(s *signature.Statement)) string {
		body, _ := signedBody(t, `{"foo":"bar"}`, now, members, change)
		return body
	}
	at := func(issued time.Time, members map[string]any) string {
		body, _ := signedBody(t, "null", issued, members, nil)
		return body
	}
	const other = "not a signature of this task for namespace task@tasker"
	for name, test := range map[string]struct{ body, field, want string }{
		"another payload":          {ofTask(map[string]any{"payload": 1}, nil), "/signature/sshsig", other},
		"another identifier":       {ofTask(map[string]any{"identifier": "b"}, nil), "/signature/sshsig", other},
		"other endpoints":          {ofTask(map[string]any{"endpoints": []string{"a"}}, nil), "/signature/sshsig", other},
		"another type":             {ofTask(nil, func(s *signature.Statement) { s.Type = "backup" }), "/signature/sshsig", other},
		"other names":              {ofTask(map[string]any{"endpoints": []string{"a", "b"}}, func(s *signature.Statement) { s.Targets = "a" }), "/signature/sshsig", other},
		"no identifier":            {ofTask(map[string]any{"identifier": nil}, nil), "/identifier", "missing identifier: a signed task"},
		"a selection":              {ofTask(map[string]any{"select": "role=web"}, nil), "/signature", "lists its endpoints, or is for all"},
		"a limit":                  {ofTask(map[string]any{"limit": "10%"}, nil), "/signature", "lists its endpoints, or is for all"},
		"many endpoints":           {ofTask(map[string]any{"endpoints": manyNames(2000)}, nil), "/endpoints", "too many endpoints for a signed task"},
		"the future":               {at(now.Add(time.Hour), nil), "/signature/issued", "is a clock wrong?"},
		"expired":                  {at(now.Add(-2*time.Hour), nil), "/signature/expires", "invalid expires: the signature expired at "},
		"a start when it is over":  {at(now, map[string]any{"in": "2h"}), "/signature/expires", "after its signature has expired"},
		"no lines":                 {`{"identifier":"a","signature":{"uid":"x","issued":1,"expires":2,"sshsig":"x"}}`, "/signature/uid", "must be a ULID"},
		"not an object":            {`{"identifier":"a","signature":"x"}`, "/signature", "must be an object with the fields uid, issued, expires, sshsig"},
		"an unknown field":         {`{"identifier":"a","signature":{"key":"x"}}`, "/signature/key", `unknown field "key"`},
		"a number as text":         {`{"identifier":"a","signature":{"issued":"1"}}`, "/signature/issued", "must be a whole number of seconds"},
		"a fraction":               {`{"identifier":"a","signature":{"issued":1.5}}`, "/signature/issued", "must be a whole number of seconds"},
		"text as a number":         {`{"identifier":"a","signature":{"sshsig":1}}`, "/signature/sshsig", "must be a string, not a number"},
		"a duplicate":              {`{"identifier":"a","signature":{"uid":"x","uid":"y"}}`, "/signature", "duplicate field"},
		"a signature that is none": {`{"identifier":"a","signature":{"uid":"01KBTJ5A3V0Q4S9T8C7M6N5P4R","issued":1,"expires":2,"sshsig":"x"}}`, "/signature/sshsig", "ssh-keygen -Y sign"},
	} {
		a := h.post(t, "/worker", test.body)
		if a.status != http.StatusUnprocessableEntity {
			t.Errorf("%s: %d: %s", name, a.status, a.body)
			continue
		}
		if p := a.problem(t); !strings.Contains(p.Detail, test.want) || !slices.Contains(p.fields(), test.field) {
			t.Errorf("%s: %q of %q", name, p.Detail, p.fields())
		}
		if strings.Contains(string(a.body), "U1NIU0lH") { // SSHSIG
			t.Errorf("%s: the signature is in the answer: %s", name, a.body)
		}
	}
	h.post(t, "/worker", at(now, map[string]any{"in": "30m"})).want(t, http.StatusCreated)
	h.post(t, "/worker?dry_run=true", ofTask(map[string]any{"identifier": "a"}, func(s *signature.Statement) { s.Targets = "b" })).
		want(t, http.StatusUnprocessableEntity)
}

func manyNames(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("endpoint%04d", i))
	}
	return names
}

// The bytes of the payload are signed as they are sent.
func TestCreateTaskSignedBytes(t *testing.T) {
	h := newHarness(t)
	for i, payload := range []string{`{"a": 1,  "b":"<é>"}`, "null", "1.0", `"\u00e9"`} {
		identifier := fmt.Sprintf("id%d", i)
		body, _ := signedBody(t, "0", signedAt, map[string]any{"identifier": identifier}, func(s *signature.Statement) {
			s.Identifier, s.PayloadSHA256 = identifier, wire.PayloadSHA256([]byte(payload))
		})
		sent := strings.Replace(body, `"payload":0`, `"payload": `+payload+` `, 1)
		h.post(t, "/worker", sent).want(t, http.StatusCreated)
		if payload == "null" {
			absent := strings.Replace(body, `"payload":0,`, "", 1)
			h.post(t, "/worker", absent).want(t, http.StatusOK)
		}
	}
}

// A schedule makes many tasks, and nobody has signed them.
func TestScheduleNotSigned(t *testing.T) {
	h := newHarness(t)
	a := h.do(t, http.MethodPut, "/v1/schedules/nightly", []byte(`{"every":"1h","task":{"type":"worker","signature":{}}}`), "Content-Type", "application/json")
	a.want(t, http.StatusUnprocessableEntity)
	if p := a.problem(t); !strings.Contains(p.Detail, "signature is for one task") {
		t.Errorf("%q of %q", p.Detail, p.fields())
	}
}
