package httpcall

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/internal/payload"
	"github.com/taskerhq/tasker/handlers/internal/placeholder"
)

// call is one call, with everything filled in.
type call struct {
	method  string
	url     *url.URL
	header  http.Header
	body    []byte // nil for none
	timeout time.Duration
	ownTime bool // the payload gave the timeout
}

func (c *call) request(ctx context.Context) (*http.Request, error) {
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

// timedOut returns the error of a call that takes too long.
func (c *call) timedOut() error {
	limit := `the setting "timeout"`
	if c.ownTime {
		limit = "its max_run_time"
	}
	return handlers.TimedOut(fmt.Errorf("no complete response within %v (%s)", c.timeout, limit))
}

// parseTemplates parses the settings with placeholders, and refuses unknown ones.
func (h *handler) parseTemplates() error {
	var err error
	if h.url, err = placeholder.Parse(h.conf.URL); err != nil {
		return fmt.Errorf("setting \"url\": %w", err)
	}
	_, whole := h.url.Whole()
	switch {
	case whole || h.conf.RPC:
	case !strings.Contains(h.url.Literal(), "://"):
		return errors.New(`setting "url": must begin with http:// or https://, or be one placeholder such as ${payload.url}`)
	case strings.Contains(h.conf.URL, "#"):
		return errors.New(`setting "url": must not have a fragment, which is never sent`)
	}
	h.headers = map[string]placeholder.Text{}
	for name, text := range h.conf.Headers {
		canonical := http.CanonicalHeaderKey(name)
		if err := checkHeaderName(name); err != nil {
			return fmt.Errorf("setting \"headers\": %w", err)
		}
		if !isHeaderValue(text) {
			return fmt.Errorf("setting \"headers\": %s must not contain control characters", canonical)
		}
		if _, twice := h.headers[canonical]; twice {
			return fmt.Errorf("setting \"headers\": %s is set twice", canonical)
		}
		if h.headers[canonical], err = placeholder.Parse(text); err != nil {
			return fmt.Errorf("setting \"headers\": %s: %w", canonical, err)
		}
	}
	if h.conf.Body != nil {
		if h.body, err = placeholder.ParseValue(h.conf.Body); err != nil {
			return fmt.Errorf("setting \"body\": %w", err)
		}
	}
	for _, name := range h.placeholders() {
		root, _, _ := strings.Cut(name, ".")
		if root != "payload" && !slices.Contains(requestValues, name) {
			return fmt.Errorf("unknown placeholder ${%s}: must be ${payload}, ${payload.<member>}, ${%s}",
				name, strings.Join(requestValues, "}, ${"))
		}
	}
	return nil
}

// checkHeaderName refuses what is not the name of a header, and what the connection
// sets.
func checkHeaderName(name string) error {
	canonical := http.CanonicalHeaderKey(name)
	switch {
	case !isHeaderName(name):
		return fmt.Errorf("%q is not the name of a header", name)
	case slices.Contains([]string{
		"Host", "Content-Length", "Transfer-Encoding", "Connection", "Proxy-Connection", "Keep-Alive",
		"Upgrade", "Te", "Trailer", "Accept-Encoding", "Expect",
	}, canonical):
		return fmt.Errorf("%s must not be set", canonical)
	}
	return nil
}

// checkSecrets checks the settings whose values are in files.
func (h *handler) checkSecrets() error {
	var mistakes []error
	for name := range h.conf.HeadersFile {
		if err := checkHeaderName(name); err != nil {
			mistakes = append(mistakes, fmt.Errorf("setting \"headers_file\": %w", err))
		}
		if _, twice := h.headers[http.CanonicalHeaderKey(name)]; twice {
			mistakes = append(mistakes, fmt.Errorf("setting \"headers_file\": %q is set in \"headers\" as well", name))
		}
	}
	if h.conf.RPC && len(h.conf.QueryFile) > 0 {
		mistakes = append(mistakes, errors.New(`setting "query_file": must not be set with rpc: the payload has the URL`))
	}
	return errors.Join(append(mistakes, h.conf.HeadersFile.Check("headers", nil), h.conf.QueryFile.Check("query", nil))...)
}

// secretHeaders reads the headers whose values are in files.
func (s *settings) secretHeaders() (map[string]string, error) {
	values, err := s.HeadersFile.Read("headers")
	for name, value := range values {
		if !isHeaderValue(value) {
			return nil, fmt.Errorf(`setting "headers_file": the file of %q must not contain control characters such as line ends`, name)
		}
	}
	return values, err
}

// addSecrets adds the values in files to a call. They are in no URL that is compared
// with "allow" or shown in an error.
func (s *settings) addSecrets(c *call) error {
	headers, err := s.secretHeaders()
	if err != nil {
		return err
	}
	for name, value := range headers {
		c.header.Set(name, value)
	}
	query, err := s.QueryFile.Read("query")
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		if c.url.RawQuery != "" {
			c.url.RawQuery += "&"
		}
		c.url.RawQuery += url.QueryEscape(name) + "=" + url.QueryEscape(query[name])
	}
	return nil
}

// requestValues are the placeholders that do not refer to the payload.
var requestValues = []string{"attempt", "endpoint", "identifier", "task_id", "type"}

// placeholders returns the names of all placeholders in the settings.
func (h *handler) placeholders() []string {
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

// valuesOf returns the values of the placeholders.
func valuesOf(req *handlers.Request) placeholder.Values {
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
		return nil, fmt.Errorf("missing %q in the payload", path)
	}
}

// prepare makes the call for a request. Its errors are permanent.
func (h *handler) prepare(req *handlers.Request) (*call, error) {
	c := &call{method: h.conf.Method, header: http.Header{}, timeout: time.Duration(h.conf.Timeout)}
	values := valuesOf(req)
	var err error
	if h.conf.RPC {
		err = c.fromPayload(req.Payload)
	} else {
		err = h.fill(c, req, values)
	}
	if err != nil {
		return nil, err
	}
	target, err := parseTarget(c.url)
	switch {
	case err != nil:
		return nil, err
	case !h.allowed(target):
		return nil, fmt.Errorf("%s is not allowed by the setting \"allow\"", withoutQuery(c.url))
	}
	c.url.Fragment, c.url.RawFragment = "", ""
	c.header.Set("User-Agent", "tasker")
	if c.body != nil {
		c.header.Set("Content-Type", "application/json")
	}
	if name := h.conf.IdempotencyHeader; name != "" && c.method != http.MethodGet && c.method != http.MethodHead {
		// The same for each attempt. It has the identifier since the ids of another
		// database are those of other tasks.
		c.header.Set(name, fmt.Sprintf("%d-%s-%s", req.TaskID, req.Identifier, req.Endpoint))
	}
	for name, text := range h.headers {
		value, err := text.Fill(values, func(_, value string) (string, error) {
			if !isHeaderValue(value) {
				return "", errors.New("must not contain control characters such as line ends")
			}
			return value, nil
		})
		if err != nil {
			return nil, fmt.Errorf("header %s: %w", name, err)
		}
		c.header.Set(name, value)
	}
	return c, h.conf.addSecrets(c)
}

// fill makes the URL and the body from the settings.
func (h *handler) fill(c *call, req *handlers.Request, values placeholder.Values) error {
	escape := escapeInURL
	if _, whole := h.url.Whole(); whole {
		escape = nil
	}
	text, err := h.url.Fill(values, escape)
	if err != nil {
		return fmt.Errorf("url: %w", err)
	}
	if c.url, err = url.Parse(text); err != nil {
		return fmt.Errorf("url: %w", withoutURL(err))
	}
	switch {
	case h.body != nil:
		if c.body, err = h.body.Fill(values); err != nil {
			return fmt.Errorf("body: %w", err)
		}
	case slices.Contains([]string{http.MethodPost, http.MethodPut, http.MethodPatch}, c.method):
		c.body = payload.OrNull(req.Payload)
	}
	return nil
}

// escapeInURL escapes a value for its place in a URL: the host, the path or the query.
func escapeInURL(before, value string) (string, error) {
	switch {
	case strings.Contains(before, "?"):
		return url.QueryEscape(value), nil
	case value == "":
		return "", errors.New("must not be empty, which would change the URL")
	case strings.Contains(afterScheme(before), "/"):
		return url.PathEscape(value), nil
	case strings.ContainsAny(value, ":[]") || !isHost(strings.ToLower(value)):
		return "", fmt.Errorf("must be part of a host name, got %.100q", value)
	}
	return value, nil
}

// fromPayload reads the payload if "rpc" is set.
func (c *call) fromPayload(raw json.RawMessage) error {
	var p struct {
		Method     string          `json:"method"`
		URL        string          `json:"url"`
		Args       json.RawMessage `json:"args"`
		MaxRunTime *float64        `json:"max_run_time"`
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&p); err != nil {
		return fmt.Errorf(`invalid payload: must be an object with "method", "url", and optionally "args" and "max_run_time": %w`, err)
	}
	c.method = p.Method
	if !slices.Contains(methods, c.method) {
		return fmt.Errorf(`invalid "method" %.50q: must be one of %s`, c.method, strings.Join(methods, ", "))
	}
	var err error
	if c.url, err = url.Parse(p.URL); err != nil {
		return fmt.Errorf(`invalid "url": %w`, withoutURL(err))
	}
	if p.MaxRunTime != nil {
		limit, err := payload.MaxRunTime(*p.MaxRunTime)
		if err != nil {
			return err
		}
		if limit < c.timeout {
			c.timeout, c.ownTime = limit, true
		}
	}
	return c.setArgs(p.Args)
}

// setArgs puts the arguments into the body, or into the query of a method without one.
// They are a JSON value, or a string with one.
func (c *call) setArgs(args json.RawMessage) error {
	var text string
	if json.Unmarshal(args, &text) == nil && len(args) > 0 && args[0] == '"' {
		if args = json.RawMessage(text); text != "" && !json.Valid(args) {
			return fmt.Errorf(`invalid "args" %.100q: a string must contain JSON`, text)
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
		return fmt.Errorf(`invalid "args": the query of a %s must be an object: %w`, c.method, err)
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

// payloadSchema returns the JSON Schema of payloads with all members that the
// placeholders need, or nil if they need none.
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
				break // an index, or an odd name: the call checks it
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

// withoutQuery returns a URL for messages: a query may contain secrets.
func withoutQuery(u *url.URL) string {
	shown := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}
	return shown.String()
}
