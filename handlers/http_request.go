package handlers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/taskerhq/tasker/handlers/internal/placeholder"
)

// httpCall is one call, with nothing left to be filled in.
type httpCall struct {
	method  string
	url     *url.URL
	header  http.Header
	body    []byte // nil for none
	timeout time.Duration
	ownTime bool // the payload gave the timeout
}

func (c *httpCall) request(ctx context.Context) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, c.method, c.url.String(), bytes.NewReader(c.body))
	if err != nil {
		return nil, err
	}
	if c.body == nil {
		req.Body, req.GetBody = nil, nil
	}
	req.Header = c.header
	return req, nil
}

// outOfTime is the error of a call that took too long.
func (c *httpCall) outOfTime() error {
	limit := "the setting timeout"
	if c.ownTime {
		limit = "its max_run_time"
	}
	return TimedOut(fmt.Errorf("there was no whole answer within %v, %s", c.timeout, limit))
}

// parseTemplates reads what has places in it, and refuses unknown ones.
func (h *httpHandler) parseTemplates() error {
	var err error
	if h.url, err = placeholder.Parse(h.conf.URL); err != nil {
		return fmt.Errorf("setting \"url\": %w", err)
	}
	_, whole := h.url.Whole()
	switch {
	case whole || h.conf.RPC:
	case !strings.Contains(h.url.Literal(), "://"):
		return errors.New(`setting "url" must begin with http:// or https://, or be one value such as ${payload.url}`)
	case strings.Contains(h.conf.URL, "#"):
		return errors.New(`setting "url" has a fragment, which is never sent`)
	}
	h.headers = map[string]placeholder.Text{}
	for name, text := range h.conf.Headers {
		canonical := http.CanonicalHeaderKey(name)
		if err := checkHeaderName(name); err != nil {
			return fmt.Errorf("setting \"headers\": %w", err)
		}
		if !isHeaderValue(text) {
			return fmt.Errorf("setting \"headers\": %s holds a control character", canonical)
		}
		if _, twice := h.headers[canonical]; twice {
			return fmt.Errorf("setting \"headers\": %s is set twice", canonical)
		}
		if h.headers[canonical], err = placeholder.Parse(text); err != nil {
			return fmt.Errorf("setting \"headers\", %s: %w", canonical, err)
		}
	}
	if h.conf.Body != nil {
		if h.body, err = placeholder.ParseValue(h.conf.Body); err != nil {
			return fmt.Errorf("setting \"body\": %w", err)
		}
	}
	for _, name := range h.placeNames() {
		root, _, _ := strings.Cut(name, ".")
		if root != "payload" && !slices.Contains(requestPlaces, name) {
			return fmt.Errorf("there is no ${%s}: there are ${payload}, ${payload.<member>}, ${%s}", name, strings.Join(requestPlaces, "}, ${"))
		}
	}
	return nil
}

// checkHeaderName refuses what is no name of a header, and what the connection
// itself sets.
func checkHeaderName(name string) error {
	canonical := http.CanonicalHeaderKey(name)
	switch {
	case !isHeaderName(name):
		return fmt.Errorf("%q is no name of a header", name)
	case slices.Contains([]string{
		"Host", "Content-Length", "Transfer-Encoding", "Connection", "Proxy-Connection", "Keep-Alive",
		"Upgrade", "Te", "Trailer", "Accept-Encoding", "Expect",
	}, canonical):
		return fmt.Errorf("%s is not to be set", canonical)
	}
	return nil
}

// checkSecrets looks at the settings whose values are in files.
func (h *httpHandler) checkSecrets() error {
	var mistakes []error
	for name := range h.conf.HeadersFile {
		if err := checkHeaderName(name); err != nil {
			mistakes = append(mistakes, fmt.Errorf("setting \"headers_file\": %w", err))
		}
		if _, twice := h.headers[http.CanonicalHeaderKey(name)]; twice {
			mistakes = append(mistakes, fmt.Errorf("setting \"headers_file\": %q is in \"headers\", too: give one of them", name))
		}
	}
	if h.conf.RPC && len(h.conf.QueryFile) > 0 {
		mistakes = append(mistakes, errors.New(`setting "query_file" has no place beside rpc: the payload gives the URL`))
	}
	return errors.Join(append(mistakes, h.conf.HeadersFile.checkPaths("headers", nil), h.conf.QueryFile.checkPaths("query", nil))...)
}

// secretHeaders reads the headers whose values are in files.
func (h *httpHandler) secretHeaders() (map[string]string, error) {
	values, err := h.conf.HeadersFile.read("headers")
	for name, value := range values {
		if !isHeaderValue(value) {
			return nil, fmt.Errorf(`setting "headers_file": the file of %q holds a line end or another control character, which a header must not have`, name)
		}
	}
	return values, err
}

// addSecrets adds what files hold to a call. It is not in the URL that is
// allowed, or told in an error.
func (h *httpHandler) addSecrets(call *httpCall) error {
	headers, err := h.secretHeaders()
	if err != nil {
		return err
	}
	for name, value := range headers {
		call.header.Set(name, value)
	}
	query, err := h.conf.QueryFile.read("query")
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		if call.url.RawQuery != "" {
			call.url.RawQuery += "&"
		}
		call.url.RawQuery += url.QueryEscape(name) + "=" + url.QueryEscape(query[name])
	}
	return nil
}

// requestPlaces are the places besides those of the payload.
var requestPlaces = []string{"attempt", "endpoint", "identifier", "task_id", "type"}

// placeNames gives the names of all places in the settings.
func (h *httpHandler) placeNames() []string {
	names := slices.Clone(h.url.Names())
	for _, text := range h.headers {
		names = append(names, text.Names()...)
	}
	if h.body != nil {
		names = append(names, h.body.Names()...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// requestValues gives the values of the places.
func requestValues(req *Request) placeholder.Values {
	return func(name string) (json.RawMessage, error) {
		switch name {
		case "attempt":
			return json.Marshal(req.Attempt)
		case "endpoint":
			return json.Marshal(req.Endpoint)
		case "identifier":
			return json.Marshal(req.Identifier)
		case "task_id":
			return json.Marshal(req.TaskID)
		case "type":
			return json.Marshal(req.Type)
		case "payload":
			return req.Payload, nil
		}
		path := strings.TrimPrefix(name, "payload.")
		if value, ok := placeholder.Member(req.Payload, strings.Split(path, ".")); ok {
			return value, nil
		}
		return nil, fmt.Errorf("the payload has no %q, which the settings ask for", path)
	}
}

// prepare makes the call for a request. Its errors are final.
func (h *httpHandler) prepare(req *Request) (*httpCall, error) {
	call := &httpCall{method: h.conf.Method, header: http.Header{}, timeout: time.Duration(h.conf.Timeout)}
	values := requestValues(req)
	var err error
	if h.conf.RPC {
		err = call.fromPayload(req.Payload)
	} else {
		err = h.fill(call, req, values)
	}
	if err != nil {
		return nil, err
	}
	target, err := parseTarget(call.url)
	switch {
	case err != nil:
		return nil, err
	case !h.allowed(target):
		return nil, fmt.Errorf("%s is not allowed; see the setting \"allow\"", withoutQuery(call.url))
	}
	call.url.Fragment, call.url.RawFragment = "", ""
	call.header.Set("User-Agent", "tasker")
	if call.body != nil {
		call.header.Set("Content-Type", "application/json")
	}
	if name := h.conf.IdempotencyHeader; name != "" && call.method != http.MethodGet && call.method != http.MethodHead {
		// The same for every attempt; with the identifier, since the numbers
		// of another database are other tasks.
		call.header.Set(name, fmt.Sprintf("%d-%s-%s", req.TaskID, req.Identifier, req.Endpoint))
	}
	for name, text := range h.headers {
		value, err := text.Fill(values, func(_, value string) (string, error) {
			if !isHeaderValue(value) {
				return "", errors.New("holds a line end or another control character, which a header must not have")
			}
			return value, nil
		})
		if err != nil {
			return nil, fmt.Errorf("header %s: %w", name, err)
		}
		call.header.Set(name, value)
	}
	return call, h.addSecrets(call)
}

// fill makes URL and body from the settings.
func (h *httpHandler) fill(call *httpCall, req *Request, values placeholder.Values) error {
	escape := escapeInURL
	if _, whole := h.url.Whole(); whole {
		escape = nil
	}
	text, err := h.url.Fill(values, escape)
	if err != nil {
		return fmt.Errorf("url: %w", err)
	}
	if call.url, err = url.Parse(text); err != nil {
		return fmt.Errorf("url: %w", withoutURL(err))
	}
	switch {
	case h.body != nil:
		if call.body, err = h.body.Fill(values); err != nil {
			return fmt.Errorf("body: %w", err)
		}
	case slices.Contains([]string{http.MethodPost, http.MethodPut, http.MethodPatch}, call.method):
		call.body = orNull(req.Payload)
	}
	return nil
}

func orNull(payload json.RawMessage) json.RawMessage {
	if len(payload) == 0 {
		return json.RawMessage("null")
	}
	return payload
}

// escapeInURL makes a value part of a URL, as fits the place: in the host, the
// path or the query.
func escapeInURL(before, value string) (string, error) {
	switch {
	case strings.Contains(before, "?"):
		return url.QueryEscape(value), nil
	case value == "":
		return "", errors.New("is empty, and would make another URL of it")
	case strings.Contains(afterScheme(before), "/"):
		return url.PathEscape(value), nil
	case strings.ContainsAny(value, ":[]") || !isHost(strings.ToLower(value)):
		return "", fmt.Errorf("is %.100q, which is no part of a host's name", value)
	}
	return value, nil
}

// fromPayload reads the payload of the setting "rpc".
func (c *httpCall) fromPayload(payload json.RawMessage) error {
	var p struct {
		Method     string          `json:"method"`
		URL        string          `json:"url"`
		Args       json.RawMessage `json:"args"`
		MaxRunTime *float64        `json:"max_run_time"`
	}
	dec := json.NewDecoder(bytes.NewReader(payload))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&p); err != nil {
		return fmt.Errorf(`the payload must be an object with "method", "url", and perhaps "args" and "max_run_time": %w`, err)
	}
	c.method = p.Method
	if !slices.Contains(httpMethods, c.method) {
		return fmt.Errorf(`"method" is %.50q: give one of %s`, c.method, strings.Join(httpMethods, ", "))
	}
	var err error
	if c.url, err = url.Parse(p.URL); err != nil {
		return fmt.Errorf(`"url": %w`, withoutURL(err))
	}
	if p.MaxRunTime != nil {
		limit := *p.MaxRunTime
		if limit <= 0 || limit > math.MaxInt64/float64(time.Second)/2 {
			return fmt.Errorf(`"max_run_time" is %v: give a number of seconds above 0`, limit)
		}
		if d := seconds(limit); d < c.timeout {
			c.timeout, c.ownTime = d, true
		}
	}
	return c.setArgs(p.Args)
}

// setArgs puts the arguments into the body, or into the query where the method
// has none. They are a JSON value, or a string that holds one.
func (c *httpCall) setArgs(args json.RawMessage) error {
	var text string
	if json.Unmarshal(args, &text) == nil && len(args) > 0 && args[0] == '"' {
		if args = json.RawMessage(text); text != "" && !json.Valid(args) {
			return fmt.Errorf(`"args" is a string that holds no JSON: %.100q`, text)
		}
	}
	if len(args) == 0 || string(args) == "null" {
		return nil
	}
	if c.method != http.MethodGet && c.method != http.MethodHead {
		c.body = args
		return nil
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(args, &members); err != nil {
		return fmt.Errorf(`"args" becomes the query of a %s, and must be an object: %w`, c.method, err)
	}
	query := url.Values{}
	for name, value := range members {
		if json.Unmarshal(value, &text) != nil || value[0] != '"' {
			text = string(value)
		}
		query.Set(name, text)
	}
	c.url.RawQuery = strings.Trim(c.url.RawQuery+"&"+query.Encode(), "&")
	return nil
}

// payloadSchema is the JSON Schema of the payloads that have all that the
// places ask for; nil where they ask for nothing.
func payloadSchema(names []string) map[string]any {
	var root map[string]any
	for _, name := range names {
		path, ok := strings.CutPrefix(name, "payload.")
		if !ok {
			continue
		}
		if root == nil {
			root = map[string]any{}
		}
		node := root
		for member := range strings.SplitSeq(path, ".") {
			if _, err := strconv.Atoi(member); err == nil {
				break // of a list, or a strange name: for the call to find out
			}
			if node["type"] == nil {
				node["type"], node["required"], node["properties"] = "object", []string{}, map[string]any{}
			}
			properties := node["properties"].(map[string]any)
			if properties[member] == nil {
				properties[member] = map[string]any{}
				node["required"] = append(node["required"].([]string), member)
			}
			node = properties[member].(map[string]any)
		}
	}
	return root
}

func isHeaderName(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~") == ""
}

func isHeaderValue(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) < 0
}

// withoutQuery is a URL as messages show it: a query may hold secrets.
func withoutQuery(u *url.URL) string {
	shown := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}
	return shown.String()
}
