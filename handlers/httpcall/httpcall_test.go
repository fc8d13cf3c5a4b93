package httpcall_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
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

func TestSendsWhatTheSettingsSay(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
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
			handlers.Settings{"url": "/", "headers": map[string]any{"x-task": "${type} ${task_id} ${endpoint} ${attempt} ${identifier} $${x}", "content-type": "application/vnd.api+json"}},
			`1`,
			seen{"POST", "/", "1", http.Header{"X-Task": {"call 7 console1 2 e7bd ${x}"}, "Content-Type": {"application/vnd.api+json"}}},
		},
		"values in the body": {
			handlers.Settings{"url": "/", "body": map[string]any{
				"text": "n is ${payload.n}", "n": "${payload.n}", "all": "${payload}", "fixed": []any{1, true, nil, "$${n}"}, "big": uint64(12345678901234567890),
			}},
			`{"n":[1, null]}`,
			seen{"POST", "/", `{"all":{"n":[1,null]},"big":12345678901234567890,"fixed":[1,true,null,"${n}"],"n":[1,null],"text":"n is [1,null]"}`, nil},
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
	} {
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

func TestResponses(t *testing.T) {
	t.Parallel()
	binary := "\x00\xff\x01"
	long := strings.Repeat("é", 600)
	for name, test := range map[string]struct {
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
		"JSON":                    {status: 200, body: `{"a": "<é>"}` + "\n", result: `{"a": "<é>"}` + "\n"},
		"a number":                {status: 201, body: `207`, result: `207`},
		"text":                    {status: 200, body: "it's <well>\n", result: `"it's <well>\n"`},
		"nothing":                 {status: 200, body: ""},
		"204":                     {status: 204},
		"binary":                  {status: 200, body: binary, header: http.Header{"Content-Type": {"image/png"}}, result: `{"body_base64":"AP8B","content_type":"image/png"}`},
		"JSON as text":            {settings: handlers.Settings{"result": "text"}, status: 200, body: `{"a":1}`, result: `"{\"a\":1}"`},
		"JSON where it must be":   {settings: handlers.Settings{"result": "json"}, status: 200, body: `{"a":1}`, result: `{"a":1}`},
		"no JSON where it must":   {settings: handlers.Settings{"result": "json"}, status: 200, body: `<html>`, result: `"<html>"`, errnr: 1, errmsg: "the response is not JSON: <html>", permanent: true},
		"no result wanted":        {settings: handlers.Settings{"result": "none"}, status: 200, body: `{"a":1}`},
		"no result, and an error": {settings: handlers.Settings{"result": "none"}, status: 500, body: `x`, errnr: 500, errmsg: "500 Internal Server Error: x"},
		"cut":                     {settings: handlers.Settings{"max_response": 4}, status: 200, body: `aéé`, result: `{"body":"aé","truncated":true,"size":5}`},
		"cut, binary":             {settings: handlers.Settings{"max_response": 2}, status: 200, body: binary, result: `{"body_base64":"AP8=","truncated":true,"size":3}`},
		"as long as may be":       {settings: handlers.Settings{"max_response": 3}, status: 200, body: `123`, result: `123`},
		"cut where JSON must be":  {settings: handlers.Settings{"max_response": 2, "result": "json"}, status: 200, body: `123`, result: `{"body":"12","truncated":true,"size":3}`, errnr: 1, errmsg: "the response is longer than max_response (2 bytes)", permanent: true},
		"404":                     {status: 404, body: `{"detail": "no such thing"}`, result: `{"detail": "no such thing"}`, errnr: 404, errmsg: `404 Not Found: {"detail": "no such thing"}`, permanent: true},
		"400 with a long body":    {status: 400, body: long, result: `"` + long + `"`, errnr: 400, errmsg: "400 Bad Request: " + long[:512] + "...", permanent: true},
		"410, binary":             {status: 410, body: binary, result: `{"body_base64":"AP8B"}`, header: http.Header{"Content-Type": nil}, errnr: 410, errmsg: "410 Gone: 3 bytes that are not text", permanent: true},
		"304":                     {status: 304, errnr: 304, errmsg: "304 Not Modified", permanent: true},
		"300":                     {status: 300, errnr: 300, errmsg: "300 Multiple Choices", permanent: true},
		"302 to nowhere":          {status: 302, errnr: 302, errmsg: "302 Found", permanent: true},
		"500":                     {status: 500, errnr: 500, errmsg: "500 Internal Server Error"},
		"408":                     {status: 408, errnr: 408, errmsg: "408 Request Timeout"},
		"425":                     {status: 425, errnr: 425, errmsg: "425 Too Early"},
		"429":                     {status: 429, errnr: 429, errmsg: "429 Too Many Requests"},
		"429, soon":               {status: 429, header: retryAfter("90"), errnr: 429, errmsg: "429 Too Many Requests", delay: 90 * time.Second},
		"503, much later":         {status: 503, header: retryAfter("86400"), errnr: 503, errmsg: "503 Service Unavailable", delay: time.Hour},
		"503, at once":            {status: 503, header: retryAfter("0"), errnr: 503, errmsg: "503 Service Unavailable"},
		"503, at some time":       {status: 503, header: retryAfter("soon"), errnr: 503, errmsg: "503 Service Unavailable"},
		"503, endless":            {status: 503, header: retryAfter("9223372036854775807"), errnr: 503, errmsg: "503 Service Unavailable", delay: time.Hour},
		"429, a date": {status: 429, header: http.Header{
			"Retry-After": {"Wed, 21 Oct 2015 07:30:00 GMT"}, "Date": {"Wed, 21 Oct 2015 07:28:00 GMT"},
		}, errnr: 429, errmsg: "429 Too Many Requests", delay: 2 * time.Minute},
		"429, a date that has passed": {status: 429, header: retryAfter("Wed, 21 Oct 2015 07:28:00 GMT"), errnr: 429, errmsg: "429 Too Many Requests"},
		"400 with Retry-After":        {status: 400, header: retryAfter("90"), errnr: 400, errmsg: "400 Bad Request", permanent: true},
	} {
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

func TestRedirects(t *testing.T) {
	t.Parallel()
	other := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/back" {
			http.Redirect(w, r, r.URL.Query().Get("to"), http.StatusTemporaryRedirect)
			return
		}
		body, _ := io.ReadAll(r.Body)
		_ = json.NewEncoder(w).Encode([]string{
			r.Method, r.RequestURI, string(body), r.Header.Get("X-Secret"), r.Header.Get("Authorization"),
			r.Header.Get("Idempotency-Key"), r.Header.Get("Referer"),
		})
	})
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if code, err := strconv.Atoi(q.Get("code")); err == nil {
			w.Header().Set("Location", strings.ReplaceAll(q.Get("to"), "$n", q.Get("n")))
			w.WriteHeader(code)
			return
		}
		body, _ := io.ReadAll(r.Body)
		_ = json.NewEncoder(w).Encode([]string{r.Method, r.RequestURI, string(body), r.Header.Get("X-Secret")})
	})
	for name, test := range map[string]struct {
		method, query string
		want          string // a result, or an errmsg after "!"
		errnr         int
	}{
		"307, within the origin":     {"POST", "?code=307&to=/v1/x", `["POST","/v1/x","{}","s3cret"]`, 0},
		"308, relative":              {"PUT", "?code=308&to=y", `["PUT","/v1/y","{}","s3cret"]`, 0},
		"303 becomes a GET":          {"POST", "?code=303&to=/v1/x", `["GET","/v1/x","","s3cret"]`, 0},
		"302 of a GET":               {"GET", "?code=302&to=/v1/x", `["GET","/v1/x","","s3cret"]`, 0},
		"302 of a POST":              {"POST", "?code=302&to=/v1/x", "!302 Found: redirect to " + srv.URL + "/v1/x would turn POST into GET: use the new URL", 302},
		"to another allowed origin":  {"POST", "?code=307&to=" + other.URL + "/x", `["POST","/x","{}","","","7-e7bd-console1",""]`, 0},
		"there, and back":            {"POST", "?code=307&to=" + other.URL + "/back?to=" + srv.URL + "/v1/x", `["POST","/v1/x","{}","s3cret"]`, 0},
		"to another path":            {"POST", "?code=307&to=/v2/x?token=s3cret", "!307 Temporary Redirect: redirect to " + srv.URL + "/v2/x, which is not allowed", 307},
		"to the metadata":            {"GET", "?code=302&to=http://169.254.169.254/latest/meta-data/", "!302 Found: redirect to http://169.254.169.254/latest/meta-data/, which is not allowed", 302},
		"302 of a POST, to metadata": {"POST", "?code=302&to=http://169.254.169.254/latest/", "!302 Found: redirect to http://169.254.169.254/latest/, which is not allowed", 302},
		"to a user name":             {"GET", "?code=302&to=http://a@127.0.0.1/v1/", "!302 Found: redirect to http://127.0.0.1/v1/: invalid URL: must not have a user name, which belongs in a header", 302},
		"to a file":                  {"GET", "?code=302&to=file:///etc/passwd", "!302 Found: redirect to file:///etc/passwd: invalid URL: must begin with http:// or https://", 302},
		"to itself, again and again": {"GET", "?code=302&to=", "!302 Found: more than 3 redirects", 302},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if strings.HasSuffix(test.query, "to=") {
				test.query = "?code=302&to=?code=302%26to=?code=302%2526to=?code=302%252526to=/v1/x"
			}
			h := handlertest.Make(t, httpcall.New, handlers.Settings{
				"url": srv.URL + "/v1/" + test.query, "method": test.method, "allow": []any{srv.URL + "/v1/", other.URL},
				"headers": map[string]any{"X-Secret": "s3cret", "Authorization": "Bearer s3cret"}, "max_redirects": 3,
			})
			result, err := h.Handle(t.Context(), handlertest.NewRecorder().Request("{}"))
			got := strings.TrimSpace(string(result))
			if err != nil {
				got = "!" + strings.TrimPrefix(err.Error(), test.method+" "+srv.URL+"/v1/: ")
			}
			if got != test.want || handlers.Errnr(err) != test.errnr || handlers.IsPermanent(err) != (test.errnr != 0) {
				t.Errorf("got %s (errnr %d)\nwant %s", got, handlers.Errnr(err), test.want)
			}
		})
	}
}

// rawServer accepts connections, reads their request, and hands them to serve.
func rawServer(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			// Read in full, or the close would be a reset.
			if r, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				_, _ = io.Copy(io.Discard, r.Body)
				serve(c)
			}
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return "http://" + l.Addr().String()
}

// untilClosed reads until the other side closes.
func untilClosed(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// TestMisbehavingServers: each call ends, and the error says what happened.
func TestMisbehavingServers(t *testing.T) {
	t.Parallel()
	const head = "HTTP/1.1 200 OK\r\n"
	flood := func(c net.Conn) {
		_, _ = io.WriteString(c, head+"\r\n")
		for junk := bytes.Repeat([]byte("x"), 64<<10); ; {
			if _, err := c.Write(junk); err != nil {
				return
			}
		}
	}
	for name, test := range map[string]struct {
		serve  func(net.Conn)
		want   string
		result string
	}{
		"hangs before the headers": {untilClosed, "no complete response within 200ms", ""},
		"hangs within the headers": {func(c net.Conn) { _, _ = io.WriteString(c, head+"X-A: "); untilClosed(c) }, "no complete response within 200ms", ""},
		"hangs within the body":    {func(c net.Conn) { _, _ = io.WriteString(c, head+"Content-Length: 9\r\n\r\nabc"); untilClosed(c) }, "no complete response within 200ms", ""},
		"closes at once":           {func(net.Conn) {}, "EOF", ""},
		"closes within the body": {func(c net.Conn) {
			_, _ = io.WriteString(c, head+"Content-Length: 9\r\n\r\nabc")
		}, "the response ended after 3 bytes: unexpected EOF", ""},
		"speaks something else": {func(c net.Conn) { _, _ = io.WriteString(c, "SSH-2.0-OpenSSH\r\n"); untilClosed(c) }, "malformed HTTP", ""},
		"endless headers": {func(c net.Conn) {
			_, _ = io.WriteString(c, head)
			for i := 0; ; i++ {
				if _, err := fmt.Fprintf(c, "X-%d: %s\r\n", i, strings.Repeat("x", 1000)); err != nil {
					return
				}
			}
		}, "headers exceeded", ""},
		"streams forever": {flood, "", `{"body":"xxxxxxxxxx","truncated":true}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			timeout := "200ms"
			if test.result != "" || strings.Contains(test.want, "exceeded") {
				timeout = "1m"
			}
			h := handlertest.Make(t, httpcall.New, handlers.Settings{"url": rawServer(t, test.serve), "timeout": timeout, "max_response": 10})
			result, err := h.Handle(t.Context(), handlertest.NewRecorder().Request("null"))
			if string(result) != test.result || (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %s, %v; want %s", result, err, test.want)
			}
			if err != nil && (handlers.IsPermanent(err) || handlers.Errnr(err) != 1) {
				t.Errorf("permanent %t, errnr %d: %v", handlers.IsPermanent(err), handlers.Errnr(err), err)
			}
		})
	}
}

func TestConnectionRefused(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(nil)
	srv.Close()
	_, err := handlertest.Make(t, httpcall.New, handlers.Settings{"url": srv.URL}).Handle(t.Context(), handlertest.NewRecorder().Request("null"))
	if err == nil || handlers.IsPermanent(err) || !strings.HasPrefix(err.Error(), "POST "+srv.URL+": dial tcp") {
		t.Errorf("got %v", err)
	}
}

// TestStopsWithItsContext while the server hangs: the error is the cause.
func TestStopsWithItsContext(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]string{"before the headers": "", "in the body": "HTTP/1.1 200 OK\r\n\r\nabc"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			arrived := make(chan struct{})
			url := rawServer(t, func(c net.Conn) {
				_, _ = io.WriteString(c, begin)
				close(arrived)
				untilClosed(c)
			})
			ctx, cancel := context.WithCancelCause(t.Context())
			go func() {
				<-arrived
				cancel(handlers.ErrCanceled)
			}()
			result, err := handlertest.Make(t, httpcall.New, handlers.Settings{"url": url, "timeout": "1m"}).Handle(ctx, handlertest.NewRecorder().Request("null"))
			if result != nil || !errors.Is(err, handlers.ErrCanceled) {
				t.Errorf("got %s, %v", result, err)
			}
		})
	}
}

// TestBoundsItsMemory: neither a large body, nor one that is large only when it is
// uncompressed, is kept in memory.
func TestBoundsItsMemory(t *testing.T) {
	var bomb bytes.Buffer
	z, _ := gzip.NewWriterLevel(&bomb, gzip.BestSpeed)
	chunk := make([]byte, 1<<20)
	for range 16 {
		_, _ = z.Write(chunk)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for name, serveBody := range map[string]http.HandlerFunc{
		"1 GB": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(1<<30))
			for range 1024 {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		},
		"gzip": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(bomb.Bytes())
		},
	} {
		h := handlertest.Make(t, httpcall.New, handlers.Settings{"url": serve(t, serveBody).URL, "max_response": "64KiB"})
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		result, err := h.Handle(t.Context(), handlertest.NewRecorder().Request("null"))
		runtime.ReadMemStats(&after)
		if err != nil || !strings.Contains(string(result), `"truncated":true`) || len(result) > 128<<10 {
			t.Errorf("%s: got %d bytes, %v", name, len(result), err)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 4<<20 {
			t.Errorf("%s: %d bytes were allocated", name, used)
		}
		if name == "1 GB" && !strings.HasSuffix(string(result), `"truncated":true,"size":1073741824}`) {
			t.Errorf("%s: got ...%s", name, result[max(0, len(result)-60):])
		}
	}
}

func TestCertificateFile(t *testing.T) {
	t.Parallel()
	srv := httptest.NewTLSServer(answer(200, nil, "1"))
	t.Cleanup(srv.Close)
	file := filepath.Join(t.TempDir(), "ca.pem")
	h := handlertest.Make(t, httpcall.New, handlers.Settings{"url": srv.URL, "ca_file": file})
	checker := h.(handlers.Checker)
	if err := checker.Check(); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("without the file: got %v", err)
	}
	if _, err := h.Handle(t.Context(), handlertest.NewRecorder().Request("null")); err == nil || handlers.IsPermanent(err) {
		t.Errorf("without the file: got %v", err)
	}
	write := func(content []byte) {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write([]byte("rubbish"))
	if err := checker.Check(); err == nil || !strings.Contains(err.Error(), "no certificate in "+file) {
		t.Errorf("rubbish: got %v", err)
	}
	write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}))
	if err := checker.Check(); err != nil {
		t.Error(err)
	}
	if result, err := h.Handle(t.Context(), handlertest.NewRecorder().Request("null")); err != nil || string(result) != "1" {
		t.Errorf("got %s, %v", result, err)
	}
	_, err := handlertest.Make(t, httpcall.New, handlers.Settings{"url": srv.URL}).Handle(t.Context(), handlertest.NewRecorder().Request("null"))
	if err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("without the setting: got %v", err)
	}
}

func TestRPC(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		payload string // SRV is the server's URL
		want    string // method, URI and body, or an errmsg after "!"
	}{
		"kingtask's":            {`{"method":"POST","url":"SRV/api/sum","args":"{\"a\":132,\"b\":75}"}`, `POST /api/sum {"a":132,"b":75}`},
		"args as JSON":          {`{"method":"PUT","url":"SRV/api/sum","args":{"a":132},"max_run_time":5}`, `PUT /api/sum {"a":132}`},
		"args of a GET":         {`{"method":"GET","url":"SRV/api/sum?x=1","args":{"a":132,"b":"c&d","e":[1]}}`, `GET /api/sum?x=1&a=132&b=c%26d&e=%5B1%5D `},
		"no args":               {`{"method":"DELETE","url":"SRV/api/x"}`, "DELETE /api/x "},
		"empty args":            {`{"method":"DELETE","url":"SRV/api/x","args":""}`, "DELETE /api/x "},
		"args that are no JSON": {`{"method":"POST","url":"SRV/api/x","args":"{a"}`, `!invalid "args" "{a": a string must contain JSON`},
		"args that are a list":  {`{"method":"GET","url":"SRV/api/x","args":[1]}`, `!invalid "args": the query of a GET must be an object`},
		"not allowed":           {`{"method":"POST","url":"SRV/admin"}`, `!/admin is not allowed`},
		"no method":             {`{"url":"SRV/api/x"}`, `!invalid "method" "": must be one of`},
		"a strange method":      {`{"method":"CONNECT","url":"SRV/api/x"}`, `!invalid "method" "CONNECT"`},
		"an unknown field":      {`{"method":"GET","url":"SRV/api/x","start_time":5}`, `!unknown field "start_time"`},
		"no time":               {`{"method":"GET","url":"SRV/api/x","max_run_time":0}`, `!invalid "max_run_time" 0`},
		"no object":             {`null`, `!invalid "method" "": must be one of`},
		"a list":                {`[]`, `!invalid payload: must be an object`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				_, _ = fmt.Fprintf(w, "%s %s %s", r.Method, r.RequestURI, body)
			})
			h := handlertest.Make(t, httpcall.New, handlers.Settings{"rpc": true, "allow": []any{srv.URL + "/api"}, "result": "text"})
			result, err := h.Handle(t.Context(), handlertest.NewRecorder().Request(strings.ReplaceAll(test.payload, "SRV", srv.URL)))
			if want, fails := strings.CutPrefix(test.want, "!"); fails {
				if err == nil || !strings.Contains(err.Error(), want) || !handlers.IsPermanent(err) {
					t.Errorf("got %s, %v; want %s", result, err, want)
				}
				return
			}
			var got string
			if uerr := json.Unmarshal(result, &got); uerr != nil || err != nil || got != test.want {
				t.Errorf("got %s, %v; want %s", result, err, test.want)
			}
		})
	}
	t.Run("a run limit of its own", func(t *testing.T) {
		t.Parallel()
		url := rawServer(t, untilClosed)
		h := handlertest.Make(t, httpcall.New, handlers.Settings{"rpc": true, "allow": []any{url}})
		_, err := h.Handle(t.Context(), handlertest.NewRecorder().Request(`{"method":"GET","url":"`+url+`/","max_run_time":0.1}`))
		if err == nil || !errors.Is(err, handlers.ErrTimeout) || !strings.Contains(err.Error(), "no complete response within 100ms (its max_run_time)") {
			t.Errorf("got %v", err)
		}
	})
}

func TestRefusesSettings(t *testing.T) {
	t.Parallel()
	const url = "https://api.example.com/v1/"
	handlertest.Refuses(t, httpcall.New, map[string]handlers.Settings{
		`setting "url": is required`:                                    {},
		`setting "method": must be one of DELETE, `:                     {"url": url, "method": "get"},
		`setting "result": must be auto, json, text or none, got "xml"`: {"url": url, "result": "xml"},
		`setting "max_redirects": must be 0 to 20, got 21`:              {"url": url, "max_redirects": 21},
		`setting "timeout": must be more than 0`:                        {"url": url, "timeout": 0},
		`setting "max_response": must be at most 64MiB`:                 {"url": url, "max_response": "64GiB"},
		`setting "idempotency_header": must be the name of a header`:    {"url": url, "idempotency_header": "a b"},
		`setting "url": must begin with http://`:                        {"url": "${payload.base}/x", "allow": []any{url}},
		`setting "url": must not have a fragment`:                       {"url": url + "#x"},
		`setting "url": invalid URL: must begin with http://`:           {"url": "ftp://example.com/"},
		`setting "url": invalid URL: must not have a user name`:         {"url": "https://a:b@example.com/"},
		`setting "url": "https://api.example.com/v1/" is not allowed`:   {"url": url, "allow": []any{"https://api.example.com/v2/"}},
		`setting "url": missing } after "${payload"`:                    {"url": url + "${payload"},
		`setting "allow" is required`:                                   {"url": "https://${payload.host}/"},
		`setting "allow": "https://x/?a": must not have a query`:        {"url": url, "allow": []any{"https://x/?a"}},
		`setting "allow": "x.com": invalid URL: must begin`:             {"url": url, "allow": []any{"x.com"}},
		`setting "headers": "a b" is not the name of a header`:          {"url": url, "headers": map[string]any{"a b": "c"}},
		`setting "headers": Host must not be set`:                       {"url": url, "headers": map[string]any{"host": "c"}},
		`setting "headers": X-A must not contain control characters`:    {"url": url, "headers": map[string]any{"x-a": "c\r\nd"}},
		`setting "headers": X-A is set twice`:                           {"url": url, "headers": map[string]any{"x-a": "c", "X-A": "d"}},
		`unknown placeholder ${env.HOME}: must be ${payload}`:           {"url": url, "body": map[string]any{"a": "${env.HOME}"}},
		`unknown placeholder ${taskid}`:                                 {"url": url, "headers": map[string]any{"x-a": "${taskid}"}},
		`setting "body": missing } after "${"`:                          {"url": url, "body": "${"},
		`setting "url": must not be set with rpc`:                       {"url": url, "rpc": true, "allow": []any{url}},
		`setting "allow" is required: prefixes`:                         {"rpc": true},
		`setting "headers_file": Host must not be set`:                  {"url": url, "headers_file": map[string]any{"Host": "/b"}},
		`setting "headers_file": "x-a" is set in "headers"`:             {"url": url, "headers": map[string]any{"X-A": "x"}, "headers_file": map[string]any{"x-a": "/b"}},
		`setting "query_file": must not be set with rpc`:                {"rpc": true, "allow": []any{url}, "query_file": map[string]any{"a": "/b"}},
	})
}

func TestDescribe(t *testing.T) {
	t.Parallel()
	d := handlertest.Make(t, httpcall.New, handlers.Settings{
		"url": "https://example.com/${payload.user.name}?token=s3cret", "body": []any{"${payload.user.id}", "${payload.list.0}", "${type}"},
	}).(handlers.Describer).Describe()
	if d.Description != "Calls POST https://example.com/${payload.user.name}" {
		t.Errorf("got %q", d.Description)
	}
	const want = `{"properties":{"list":{},"user":{"properties":{"id":{},"name":{}},"required":["id","name"],"type":"object"}},"required":["list","user"],"type":"object"}`
	if string(d.Schema) != want {
		t.Errorf("got %s\nwant %s", d.Schema, want)
	}
	d = handlertest.Make(t, httpcall.New, handlers.Settings{"url": "https://example.com/"}).(handlers.Describer).Describe()
	if d.Schema != nil {
		t.Errorf("got %s", d.Schema)
	}
	d = handlertest.Make(t, httpcall.New, handlers.Settings{"rpc": true, "allow": []any{"https://example.com/"}}).(handlers.Describer).Describe()
	if !json.Valid(d.Schema) || !json.Valid(d.Example) {
		t.Errorf("got %s, %s", d.Schema, d.Example)
	}
}

// TestSecretsFromFiles: they are sent, but not in errors.
func TestSecretsFromFiles(t *testing.T) {
	t.Parallel()
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s %s %s", r.Header.Get("X-Key"), r.URL.Query().Get("key"), r.URL.Query().Get("a"))
	})
	settings := handlers.Settings{
		"url": server.URL + "/?a=1", "allow_private": true, "allow": []any{server.URL + "/"},
		"headers_file": map[string]any{"x-key": handlertest.SecretFile(t, "one")}, "query_file": map[string]any{"key": handlertest.SecretFile(t, "two & more")},
	}
	h := handlertest.Make(t, httpcall.New, settings)
	if err := handlertest.Check(h); err != nil {
		t.Error(err)
	}
	if out, err := handlertest.Handle(t, h, "null"); err != nil || !strings.Contains(out, "one two \\u0026 more 1") && !strings.Contains(out, "one two & more 1") {
		t.Errorf("got %s, %v", out, err)
	}
	server.Close()
	if _, err := handlertest.Handle(t, h, "null"); err == nil || strings.Contains(err.Error(), "more") {
		t.Errorf("the error has the secret: %v", err)
	}
}

func TestTrustedCertificatesOnly(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Chmod(path, 0o666)); err != nil { //nolint:gosec // the fault
		t.Fatal(err)
	}
	h := handlertest.Make(t, httpcall.New, handlers.Settings{"url": "https://h/", "ca_file": path})
	if err := handlertest.Check(h); err == nil || !strings.Contains(err.Error(), "not trusted: "+path+" is writable by all users") {
		t.Errorf("got %v", err)
	}
}
