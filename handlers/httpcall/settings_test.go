package httpcall_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/httpcall"
	"github.com/taskerhq/tasker/handlers/internal/handlertest"
)

func TestRPC(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		payload string // SRV is the server's URL
		want    string // method, URI and body, or an errmsg after "!"
	}{
		"kingtask's":   {`{"method":"POST","url":"SRV/api/sum","args":"{\"a\":132,\"b\":75}"}`, `POST /api/sum {"a":132,"b":75}`},
		"args as JSON": {`{"method":"PUT","url":"SRV/api/sum","args":{"a":132},"max_run_time":5}`, `PUT /api/sum {"a":132}`},
		"args of a GET": {
			`{"method":"GET","url":"SRV/api/sum?x=1","args":{"a":132,"b":"c&d","e":[1]}}`,
			`GET /api/sum?x=1&a=132&b=c%26d&e=%5B1%5D `,
		},
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
		if err == nil || !errors.Is(err, handlers.ErrTimeout) || !strings.Contains(err.Error(),
			"no complete response within 100ms (its max_run_time)") {
			t.Errorf("got %v", err)
		}
	})
}

func TestRefusesSettings(t *testing.T) {
	t.Parallel()
	const url = "https://api.example.com/v1/"
	handlertest.Refuses(t, httpcall.New, map[string]handlers.Settings{
		`setting "url": is required`: {},
		`setting "method": must be DELETE, GET, HEAD, PATCH, POST or PUT, got "get"`: {"url": url, "method": "get"},
		`setting "result": must be auto, json, text or none, got "xml"`:              {"url": url, "result": "xml"},
		`setting "max_redirects": must be 0 to 20, got 21`:                           {"url": url, "max_redirects": 21},
		`setting "timeout": must be more than 0`:                                     {"url": url, "timeout": 0},
		`setting "max_response": must be at most 64MiB`:                              {"url": url, "max_response": "64GiB"},
		`setting "idempotency_header": must be the name of a header`:                 {"url": url, "idempotency_header": "a b"},
		`setting "url": must begin with http://`:                                     {"url": "${payload.base}/x", "allow": []any{url}},
		`setting "url": must not have a fragment`:                                    {"url": url + "#x"},
		`setting "url": invalid URL: must begin with http://`:                        {"url": "ftp://example.com/"},
		`setting "url": invalid URL: must not have a user name`:                      {"url": "https://a:b@example.com/"},
		`setting "url": "https://api.example.com/v1/" is not allowed`:                {"url": url, "allow": []any{"https://api.example.com/v2/"}},
		`setting "url": missing } after "${payload"`:                                 {"url": url + "${payload"},
		`setting "allow" is required`:                                                {"url": "https://${payload.host}/"},
		`setting "allow": "https://x/?a": must not have a query`:                     {"url": url, "allow": []any{"https://x/?a"}},
		`setting "allow": "x.com": invalid URL: must begin`:                          {"url": url, "allow": []any{"x.com"}},
		`setting "headers": "a b" is not the name of a header`:                       {"url": url, "headers": map[string]any{"a b": "c"}},
		`setting "headers": Host must not be set`:                                    {"url": url, "headers": map[string]any{"host": "c"}},
		`setting "headers": X-A must not contain control characters`:                 {"url": url, "headers": map[string]any{"x-a": "c\r\nd"}},
		`setting "headers": X-A is set twice`: {"url": url, "headers": map[string]any{
			"x-a": "c",
			"X-A": "d",
		}},
		`unknown placeholder ${env.HOME}: must be ${payload}`: {"url": url, "body": map[string]any{"a": "${env.HOME}"}},
		`unknown placeholder ${taskid}`:                       {"url": url, "headers": map[string]any{"x-a": "${taskid}"}},
		`setting "body": missing } after "${"`:                {"url": url, "body": "${"},
		`setting "url": must not be set with rpc`:             {"url": url, "rpc": true, "allow": []any{url}},
		`setting "allow" is required: prefixes`:               {"rpc": true},
		`setting "headers_file": Host must not be set`:        {"url": url, "headers_file": map[string]any{"Host": "/b"}},
		`setting "headers_file": "x-a" is set in "headers"`: {
			"url": url, "headers": map[string]any{"X-A": "x"},
			"headers_file": map[string]any{"x-a": "/b"},
		},
		`setting "query_file": must not be set with rpc`: {
			"rpc": true, "allow": []any{url},
			"query_file": map[string]any{"a": "/b"},
		},
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
	const want = `{"properties":{"list":{},"user":{"properties":{"id":{},"name":{}},"required":["id","name"],"type":"object"}},` +
		`"required":["list","user"],"type":"object"}`
	if string(d.Schema) != want {
		t.Errorf("got %s\nwant %s", d.Schema, want)
	}
	d = handlertest.Make(t, httpcall.New, handlers.Settings{"url": "https://example.com/"}).(handlers.Describer).Describe()
	if d.Schema != nil {
		t.Errorf("got %s", d.Schema)
	}
	d = handlertest.Make(t, httpcall.New, handlers.Settings{
		"rpc":   true,
		"allow": []any{"https://example.com/"},
	}).(handlers.Describer).Describe()
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
		"headers_file": map[string]any{"x-key": handlertest.SecretFile(t,
			"one")}, "query_file": map[string]any{"key": handlertest.SecretFile(t, "two & more")},
	}
	h := handlertest.Make(t, httpcall.New, settings)
	if err := handlertest.Check(h); err != nil {
		t.Error(err)
	}
	if out, err := handlertest.Handle(t, h, "null"); err != nil || !strings.Contains(out, "one two \\u0026 more 1") &&
		!strings.Contains(out, "one two & more 1") {
		t.Errorf("got %s, %v", out, err)
	}
	server.Close()
	if _, err := handlertest.Handle(t, h, "null"); err == nil || strings.Contains(err.Error(), "more") {
		t.Errorf("the error has the secret: %v", err)
	}
}
