package httpcall_test

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/httpcall"
	"github.com/taskerhq/tasker/handlers/internal/handlertest"
)

// serve starts an HTTP server. Its URL has an address, 127.0.0.1, not a name.
func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv
}

// answer returns a handler of a server that always answers the same.
func answer(status int, header http.Header, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		maps.Copy(w.Header(), header)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// seen is a request as a server saw it.
type seen struct {
	Method, URI, Body string
	Header            http.Header
}

// recorder starts a server that answers with 200 and records the request.
func recorder(t *testing.T) (*httptest.Server, func() seen) {
	t.Helper()
	requests := make(chan seen, 10)
	srv := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		requests <- seen{r.Method, r.RequestURI, string(body), r.Header}
	})
	return srv, func() seen {
		select {
		case s := <-requests:
			return s
		default:
			t.Error("the server saw no request")
			return seen{}
		}
	}
}

// calls are settings, and the request that they send.
var calls = map[string]struct {
	settings handlers.Settings // URL without its origin
	payload  string
	want     seen // Header: those to be compared
}{
	"the payload as it is": {
		handlers.Settings{"url": "/run"},
		`{"a": 12345678901234567890, "b": "<x>"}`,
		seen{"POST", "/run", `{"a": 12345678901234567890, "b": "<x>"}`, http.Header{
			"Content-Type": {"application/json"}, "Idempotency-Key": {"7-e7bd-console1"}, "User-Agent": {"tasker"},
		}},
	},
	"no payload": {handlers.Settings{"url": "/", "method": "PUT"}, ``, seen{"PUT", "/", "null", nil}},
	"GET without a body": {
		handlers.Settings{"url": "/", "method": "GET"},
		`{"a":1}`,
		seen{"GET", "/", "", http.Header{"Content-Type": nil, "Idempotency-Key": nil}},
	},
	"DELETE without a body": {
		handlers.Settings{"url": "/${payload}", "method": "DELETE"},
		`5`,
		seen{"DELETE", "/5", "", http.Header{"Idempotency-Key": {"7-e7bd-console1"}}},
	},
	"values in the URL": {
		handlers.Settings{"url": "/u/${payload.name}/x?q=${payload.name}&n=${payload.n}&e=${payload.e}"},
		`{"name":"a/b c?&é#%","n":1.50,"e":""}`,
		seen{"POST", "/u/a%2Fb%20c%3F&%C3%A9%23%25/x?q=a%2Fb+c%3F%26%C3%A9%23%25&n=1.50&e=", `{"name":"a/b c?&é#%","n":1.50,"e":""}`, nil},
	},
	"values in headers": {
		handlers.Settings{
			"url": "/",
			"headers": map[string]any{
				"x-task":       "${type} ${task_id} ${endpoint} ${attempt} ${identifier} $${x}",
				"content-type": "application/vnd.api+json",
			},
		},
		`1`,
		seen{"POST", "/", "1", http.Header{"X-Task": {"call 7 console1 2 e7bd ${x}"}, "Content-Type": {"application/vnd.api+json"}}},
	},
	"values in the body": {
		handlers.Settings{"url": "/", "body": map[string]any{
			"text": "n is ${payload.n}", "n": "${payload.n}", "all": "${payload}", "fixed": []any{
				1, true, nil,
				"$${n}",
			}, "big": uint64(12345678901234567890),
		}},
		`{"n":[1, null]}`,
		seen{
			"POST", "/",
			`{"all":{"n":[1,null]},"big":12345678901234567890,"fixed":[1,true,null,"${n}"],"n":[1,null],"text":"n is [1,null]"}`, nil,
		},
	},
	"another idempotency header": {
		handlers.Settings{"url": "/", "idempotency_header": "X-Once"},
		`1`,
		seen{"POST", "/", "1", http.Header{"X-Once": {"7-e7bd-console1"}, "Idempotency-Key": nil}},
	},
	"no idempotency header": {
		handlers.Settings{"url": "/", "idempotency_header": ""},
		`1`,
		seen{"POST", "/", "1", http.Header{"Idempotency-Key": nil}},
	},
}

func TestSendsWhatTheSettingsSay(t *testing.T) {
	t.Parallel()
	for name, test := range calls {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv, got := recorder(t)
			test.settings["url"] = srv.URL + test.settings["url"].(string)
			result, err := handlertest.Make(t, httpcall.New, test.settings).Handle(t.Context(), handlertest.NewRecorder().Request(test.payload))
			if result != nil || err != nil {
				t.Fatalf("got %s, %v", result, err)
			}
			g := got()
			if g.Method != test.want.Method || g.URI != test.want.URI || g.Body != test.want.Body {
				t.Errorf("the server saw %s %s %s\nwant %s %s %s", g.Method, g.URI, g.Body, test.want.Method, test.want.URI, test.want.Body)
			}
			for name, want := range test.want.Header {
				if fmt.Sprint(g.Header[name]) != fmt.Sprint(want) {
					t.Errorf("%s: the server saw %q, want %q", name, g.Header[name], want)
				}
			}
		})
	}
}

// TestRefusesPayloads: nothing is called, and the error is permanent.
func TestRefusesPayloads(t *testing.T) {
	t.Parallel()
	srv := serve(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("the server saw %s", r.RequestURI) })
	host := strings.TrimPrefix(srv.URL, "http://")
	url := func(suffix string) handlers.Settings { return handlers.Settings{"url": srv.URL + suffix} }
	whole := handlers.Settings{"url": "${payload}", "allow": []any{srv.URL + "/v1/"}}
	for name, test := range map[string]struct {
		settings handlers.Settings
		payload  string
		want     string
	}{
		"missing in the URL":  {url("/${payload.user.name}"), `{"user":{}}`, `missing "user.name" in the payload`},
		"missing in the body": {handlers.Settings{"url": srv.URL, "body": "${payload.x}"}, `{}`, `missing "x" in the payload`},
		"null in the URL":     {url("/${payload.x}"), `{"x":null}`, `${payload.x} is null`},
		"empty in the path":   {url("/users/${payload.x}"), `{"x":""}`, `${payload.x} must not be empty`},
		"dots in the path":    {url("/users/${payload}/x"), `".."`, `the segment ".."`},
		"dots and a slash":    {url("/users/${payload}"), `"x/../../admin"`, `the segment ".."`},
		"dots and backslash":  {url("/users/${payload}"), `"..\\admin"`, `the segment ".."`},
		"a line end in a header": {
			handlers.Settings{"url": srv.URL, "headers": map[string]any{"X-A": "a ${payload}"}},
			`"b\r\nX-Evil: 1"`,
			"header X-A: ${payload} must not contain control characters",
		},
		"another host":         {whole, `"http://example.com/v1/"`, "http://example.com/v1/ is not allowed"},
		"another port":         {whole, `"http://127.0.0.1:1/v1/"`, "is not allowed"},
		"another scheme":       {whole, `"https://` + host + `/v1/"`, "is not allowed"},
		"another path":         {whole, `"` + srv.URL + `/v10/x"`, "is not allowed"},
		"the prefix less one":  {whole, `"` + srv.URL + `/v1"`, "is not allowed"},
		"dots out of it":       {whole, `"` + srv.URL + `/v1/../admin"`, `the segment ".."`},
		"dots and a parameter": {whole, `"` + srv.URL + `/v1/..;x=y/admin"`, `the segment ".."`},
		"escaped semicolon":    {whole, `"` + srv.URL + `/v1/..%3B/admin"`, `the segment ".."`},
		"a value with both":    {url("/users/${payload}/x"), `"..;"`, `the segment ".."`},
		"escaped dots":         {whole, `"` + srv.URL + `/v1/%2e%2E/admin"`, `the segment ".."`},
		"escaped slash":        {whole, `"` + srv.URL + `/v1%2Fadmin"`, "is not allowed"},
		"a user name":          {whole, `"http://` + host + `@example.com/v1/"`, "user name"},
		"their user name":      {whole, `"http://a:b@` + host + `/v1/"`, "user name"},
		"no URL":               {whole, `"/v1/x"`, "must begin with http://"},
		"a file":               {whole, `"file:///etc/passwd"`, "must begin with http://"},
		"a zone":               {whole, `"http://[fe80::1%25eth0]/v1/"`, "must be a name or an address"},
		"not ASCII":            {whole, `"http://exämple.com/v1/"`, "must be a name or an address"},
		"a control character":  {whole, `"http://a\u0001/v1/"`, "invalid control character"},
		"the secrets in it":    {whole, `"http://example.com/?token=s3cret"`, "http://example.com/ is not allowed"},
		"no part of a host": {
			handlers.Settings{"url": "http://${payload}.example.com/", "allow": []any{"http://a.example.com/"}},
			`"evil.com/x"`,
			"must be part of a host name",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			result, err := handlertest.Make(t, httpcall.New, test.settings).Handle(t.Context(), handlertest.NewRecorder().Request(test.payload))
			if result != nil || err == nil || !strings.Contains(err.Error(), test.want) || !handlers.IsPermanent(err) {
				t.Errorf("got %s, %v (permanent: %t); want %s", result, err, handlers.IsPermanent(err), test.want)
			}
			if err != nil && strings.Contains(err.Error(), "s3cret") {
				t.Errorf("the error has the query: %v", err)
			}
		})
	}
}

const binary = "\x00\xff\x01"

var long = strings.Repeat("é", 600)

// responses are responses of a server, and what becomes of them.
var responses = map[string]struct {
	settings  handlers.Settings
	status    int
	header    http.Header
	body      string
	result    string
	errnr     int
	errmsg    string // after "POST http://.../: "
	permanent bool
	delay     time.Duration
}{
	"JSON":     {status: 200, body: `{"a": "<é>"}` + "\n", result: `{"a": "<é>"}` + "\n"},
	"a number": {status: 201, body: `207`, result: `207`},
	"text":     {status: 200, body: "it's <well>\n", result: `"it's <well>\n"`},
	"nothing":  {status: 200, body: ""},
	"204":      {status: 204},
	"binary": {
		status: 200, body: binary, header: http.Header{"Content-Type": {"image/png"}},
		result: `{"body_base64":"AP8B","content_type":"image/png"}`,
	},
	"JSON as text":          {settings: handlers.Settings{"result": "text"}, status: 200, body: `{"a":1}`, result: `"{\"a\":1}"`},
	"JSON where it must be": {settings: handlers.Settings{"result": "json"}, status: 200, body: `{"a":1}`, result: `{"a":1}`},
	"no JSON where it must": {
		settings: handlers.Settings{"result": "json"}, status: 200, body: `<html>`, result: `"<html>"`,
		errnr: 1, errmsg: "the response is not JSON: <html>", permanent: true,
	},
	"no result wanted": {settings: handlers.Settings{"result": "none"}, status: 200, body: `{"a":1}`},
	"no result, and an error": {
		settings: handlers.Settings{"result": "none"}, status: 500, body: `x`, errnr: 500,
		errmsg: "500 Internal Server Error: x",
	},
	"cut": {
		settings: handlers.Settings{"max_response": 4}, status: 200, body: `aéé`,
		result: `{"body":"aé","truncated":true,"size":5}`,
	},
	"cut, binary": {
		settings: handlers.Settings{"max_response": 2}, status: 200, body: binary,
		result: `{"body_base64":"AP8=","truncated":true,"size":3}`,
	},
	"as long as may be": {settings: handlers.Settings{"max_response": 3}, status: 200, body: `123`, result: `123`},
	"cut where JSON must be": {
		settings: handlers.Settings{"max_response": 2, "result": "json"}, status: 200, body: `123`,
		result: `{"body":"12","truncated":true,"size":3}`, errnr: 1, errmsg: "the response is longer than max_response (2 bytes)",
		permanent: true,
	},
	"404": {
		status: 404, body: `{"detail": "no such thing"}`, result: `{"detail": "no such thing"}`, errnr: 404,
		errmsg: `404 Not Found: {"detail": "no such thing"}`, permanent: true,
	},
	"400 with a long body": {
		status: 400, body: long, result: `"` + long + `"`, errnr: 400,
		errmsg: "400 Bad Request: " + long[:512] + "...", permanent: true,
	},
	"410, binary": {
		status: 410, body: binary, result: `{"body_base64":"AP8B"}`, header: http.Header{"Content-Type": nil},
		errnr: 410, errmsg: "410 Gone: 3 bytes that are not text", permanent: true,
	},
	"304":               {status: 304, errnr: 304, errmsg: "304 Not Modified", permanent: true},
	"300":               {status: 300, errnr: 300, errmsg: "300 Multiple Choices", permanent: true},
	"302 to nowhere":    {status: 302, errnr: 302, errmsg: "302 Found", permanent: true},
	"500":               {status: 500, errnr: 500, errmsg: "500 Internal Server Error"},
	"408":               {status: 408, errnr: 408, errmsg: "408 Request Timeout"},
	"425":               {status: 425, errnr: 425, errmsg: "425 Too Early"},
	"429":               {status: 429, errnr: 429, errmsg: "429 Too Many Requests"},
	"429, soon":         {status: 429, header: retryAfter("90"), errnr: 429, errmsg: "429 Too Many Requests", delay: 90 * time.Second},
	"503, much later":   {status: 503, header: retryAfter("86400"), errnr: 503, errmsg: "503 Service Unavailable", delay: time.Hour},
	"503, at once":      {status: 503, header: retryAfter("0"), errnr: 503, errmsg: "503 Service Unavailable"},
	"503, at some time": {status: 503, header: retryAfter("soon"), errnr: 503, errmsg: "503 Service Unavailable"},
	"503, endless": {
		status: 503, header: retryAfter("9223372036854775807"), errnr: 503, errmsg: "503 Service Unavailable",
		delay: time.Hour,
	},
	"429, a date": {status: 429, header: http.Header{
		"Retry-After": {"Wed, 21 Oct 2015 07:30:00 GMT"}, "Date": {"Wed, 21 Oct 2015 07:28:00 GMT"},
	}, errnr: 429, errmsg: "429 Too Many Requests", delay: 2 * time.Minute},
	"429, a date that has passed": {
		status: 429, header: retryAfter("Wed, 21 Oct 2015 07:28:00 GMT"), errnr: 429,
		errmsg: "429 Too Many Requests",
	},
	"400 with Retry-After": {status: 400, header: retryAfter("90"), errnr: 400, errmsg: "400 Bad Request", permanent: true},
}

func TestResponses(t *testing.T) {
	t.Parallel()
	for name, test := range responses {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := serve(t, answer(test.status, test.header, test.body))
			settings := handlers.Settings{"url": srv.URL + "/a?token=s3cret"}
			maps.Copy(settings, test.settings)
			result, err := handlertest.Make(t, httpcall.New, settings).Handle(t.Context(), handlertest.NewRecorder().Request("null"))
			if string(result) != test.result {
				t.Errorf("got %s, want %s", result, test.result)
			}
			errmsg := ""
			if err != nil {
				errmsg = strings.TrimPrefix(err.Error(), "POST "+srv.URL+"/a: ")
			}
			if errmsg != test.errmsg || handlers.Errnr(err) != test.errnr || handlers.IsPermanent(err) != test.permanent {
				t.Errorf("got errnr %d, permanent %t: %v", handlers.Errnr(err), handlers.IsPermanent(err), err)
			}
			if delay, _ := handlers.RetryDelay(err); delay != test.delay {
				t.Errorf("retry after %s, want %s", delay, test.delay)
			}
		})
	}
}

func retryAfter(text string) http.Header { return http.Header{"Retry-After": {text}} }
