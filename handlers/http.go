package handlers

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/taskerhq/tasker/handlers/internal/placeholder"
	"github.com/taskerhq/tasker/internal/x/trust"
)

// httpSettings are the settings of the handler "http"; docs/handlers.md tells
// of each.
type httpSettings struct {
	Method            string            `json:"method"`
	URL               string            `json:"url"`
	Headers           map[string]string `json:"headers"`
	HeadersFile       secretFiles       `json:"headers_file"` // headers whose values are in files
	QueryFile         secretFiles       `json:"query_file"`   // parameters of the query, the same
	Body              json.RawMessage   `json:"body"`
	Allow             []string          `json:"allow"`
	RPC               bool              `json:"rpc"`
	MaxRedirects      int               `json:"max_redirects"`
	AllowPrivate      bool              `json:"allow_private"`
	Timeout           Duration          `json:"timeout"`
	MaxResponse       Size              `json:"max_response"`
	Result            string            `json:"result"`
	CAFile            string            `json:"ca_file"`
	IdempotencyHeader string            `json:"idempotency_header"`
	Proxy             bool              `json:"proxy"`
}

// maxHTTPResponse bounds what max_response may be: the body is held in memory.
const maxHTTPResponse = 64 << 20

var httpMethods = []string{
	http.MethodDelete, http.MethodGet, http.MethodHead, http.MethodPatch, http.MethodPost, http.MethodPut,
}

// httpHandler calls a web API. It is safe for concurrent use.
type httpHandler struct {
	conf      httpSettings
	url       placeholder.Text
	headers   map[string]placeholder.Text
	body      *placeholder.Value // nil for the payload, or none
	allow     []urlPrefix
	transport *http.Transport
	resolver  *net.Resolver // nil for the system's; tests have another

	environment func(*http.Request) (*url.URL, error) // tells the proxy of a request, if any
	proxies     sync.Map                              // the addresses of proxies that it has told
}

var (
	_ Handler   = (*httpHandler)(nil)
	_ Checker   = (*httpHandler)(nil)
	_ Describer = (*httpHandler)(nil)
)

// NewHTTP makes the handler that calls a web API: a method, a URL, headers and
// a JSON body, filled from the request, or with the setting "rpc" those that
// the payload names. It calls only what the setting "allow" allows, also when
// it is redirected, and no addresses that are nobody's API.
//
// An answer of 2xx is a run that ended well, its body the result. Others fail,
// with the status as errnr: 408, 425, 429 and 5xx may be tried again, after
// the time that Retry-After says, and the rest not.
func NewHTTP(settings Settings) (Handler, error) {
	h := &httpHandler{conf: httpSettings{
		Method: http.MethodPost, MaxRedirects: 5, Timeout: Duration(30 * time.Second), MaxResponse: 512 << 10,
		Result: "auto", IdempotencyHeader: "Idempotency-Key",
	}}
	if err := settings.Decode(&h.conf); err != nil {
		return nil, err
	}
	if err := h.checkPlain(settings); err != nil {
		return nil, err
	}
	if err := h.parseTemplates(); err != nil {
		return nil, err
	}
	if err := errors.Join(h.parseAllow(), h.checkSecrets()); err != nil {
		return nil, err
	}
	h.transport = &http.Transport{
		DialContext: h.dial,
		// A connection that is used again may turn out to be closed, and the
		// request would then be sent a second time.
		DisableKeepAlives:      true,
		ForceAttemptHTTP2:      true,
		TLSHandshakeTimeout:    10 * time.Second,
		MaxResponseHeaderBytes: 256 << 10,
	}
	if h.conf.Proxy {
		h.environment = http.ProxyFromEnvironment
		h.transport.Proxy = h.proxyOf
	}
	return h, nil
}

// checkPlain looks at what is no template, and is not held against another
// setting.
func (h *httpHandler) checkPlain(settings Settings) error {
	var mistakes []error
	wrong := func(is bool, format string, args ...any) {
		if is {
			mistakes = append(mistakes, fmt.Errorf(format, args...))
		}
	}
	c := &h.conf
	wrong(!slices.Contains(httpMethods, c.Method), "setting \"method\" is %q: give one of %s", c.Method, strings.Join(httpMethods, ", "))
	wrong(!slices.Contains([]string{"auto", "json", "text", "none"}, c.Result), "setting \"result\" is %q: give auto, json, text or none", c.Result)
	wrong(c.MaxRedirects < 0 || c.MaxRedirects > 20, "setting \"max_redirects\" is %d: give 0 to 20", c.MaxRedirects)
	wrong(c.Timeout <= 0, `setting "timeout" is 0: give a duration above it`)
	wrong(c.MaxResponse > maxHTTPResponse, "setting \"max_response\" is %d: give at most 64MiB", c.MaxResponse)
	wrong(c.IdempotencyHeader != "" && !isHeaderName(c.IdempotencyHeader), "setting \"idempotency_header\" is %q, which is no name of a header", c.IdempotencyHeader)
	wrong(!c.RPC && c.URL == "", `setting "url" is missing: give what is to be called, such as https://api.example.com/v1/hosts, or rpc: true`)
	for _, name := range []string{"method", "url", "body"} {
		_, given := settings[name]
		wrong(c.RPC && given, "setting %q has no place beside rpc: the payload gives it", name)
	}
	return errors.Join(mistakes...)
}

// Check tells whether the files of certificates and secrets can be read.
func (h *httpHandler) Check() error {
	_, err := h.roots()
	_, headers := h.secretHeaders()
	_, query := h.conf.QueryFile.read("query")
	return errors.Join(err, headers, query)
}

// roots reads the certificates to trust; nil means the system's.
func (h *httpHandler) roots() (*x509.CertPool, error) {
	if h.conf.CAFile == "" {
		return nil, nil
	}
	content, err := os.ReadFile(h.conf.CAFile)
	if err != nil {
		return nil, fmt.Errorf("setting \"ca_file\": %w", err)
	}
	if err := trust.Check(h.conf.CAFile); err != nil {
		return nil, fmt.Errorf("setting \"ca_file\": it is not to be believed: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(content) {
		return nil, fmt.Errorf("setting \"ca_file\": there is no certificate in %s", h.conf.CAFile)
	}
	return pool, nil
}

// Describe tells what is called.
func (h *httpHandler) Describe() Description {
	if h.conf.RPC {
		return Description{
			Description: "Calls the web API that the payload names",
			Usage:       "url must begin with one of: " + strings.Join(h.conf.Allow, ", ") + "; args is the JSON body, or the query of GET and HEAD",
			Schema: json.RawMessage(`{"type":"object","additionalProperties":false,"required":["method","url"],"properties":{` +
				`"method":{"enum":["DELETE","GET","HEAD","PATCH","POST","PUT"]},"url":{"type":"string"},"args":{},` +
				`"max_run_time":{"type":"number","exclusiveMinimum":0,"maximum":4611686018}}}`),
			Example: json.RawMessage(`{"method":"POST","url":"http://127.0.0.1:1323/sum","args":{"a":132,"b":75},"max_run_time":10}`),
		}
	}
	shown, _, _ := strings.Cut(h.conf.URL, "?") // a query may hold secrets
	d := Description{Description: fmt.Sprintf("Calls %s %s", h.conf.Method, shown)}
	if schema := payloadSchema(h.placeNames()); schema != nil {
		d.Usage = "the payload is an object with the members that the call needs"
		d.Schema, _ = json.Marshal(schema)
	}
	return d
}

// Handle makes the call.
func (h *httpHandler) Handle(ctx context.Context, req *Request) (Result, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	call, err := h.prepare(req)
	if err != nil {
		return nil, Permanent(err)
	}
	late := call.outOfTime()
	limited, cancel := context.WithTimeoutCause(ctx, call.timeout, late)
	defer cancel()
	transport := h.transport
	if h.conf.CAFile != "" {
		// Read for each call, so that a renewed file counts at once.
		roots, err := h.roots()
		if err != nil {
			return nil, err
		}
		transport = transportWith(transport, roots)
		defer transport.CloseIdleConnections()
	}
	var refusal error // of a redirect
	client := &http.Client{Transport: transport, CheckRedirect: func(next *http.Request, via []*http.Request) error {
		if refusal = h.checkRedirect(next, via); refusal != nil {
			return http.ErrUseLastResponse
		}
		logger(req).InfoContext(ctx, "redirected", "to", withoutQuery(next.URL))
		return nil
	}}
	out, err := call.request(limited)
	if err != nil {
		return nil, Permanent(err)
	}
	resp, err := client.Do(out)
	var result Result
	failed := err != nil // as opposed to an answer of failure
	if err == nil {
		defer func() { _ = resp.Body.Close() }()
		result, err = h.judge(resp, refusal)
		failed = err != nil && isWell(resp)
	}
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case failed && errors.Is(context.Cause(limited), late):
		err = late
	case errors.Is(err, errAddress):
		err = Permanent(withoutURL(err))
	case failed:
		err = withoutURL(err)
	}
	if err != nil {
		return result, fmt.Errorf("%s %s: %w", out.Method, withoutQuery(out.URL), err)
	}
	logger(req).InfoContext(ctx, "answered", "status", resp.StatusCode, "bytes", len(result))
	return result, nil
}

// checkRedirect tells why a redirect is not followed, nil where it is. What
// the settings put into the headers stays with the origin that it is for.
func (h *httpHandler) checkRedirect(next *http.Request, via []*http.Request) error {
	first, last := via[0], via[len(via)-1]
	target, err := parseTarget(next.URL)
	switch {
	case len(via) > h.conf.MaxRedirects:
		return fmt.Errorf("there are more than %d redirects", h.conf.MaxRedirects)
	case err != nil:
		return fmt.Errorf("it redirects to %s: %w", withoutQuery(next.URL), err)
	case !h.allowed(target):
		return fmt.Errorf("it redirects to %s, which is not allowed", withoutQuery(next.URL))
	case next.Method != last.Method && next.Response.StatusCode != http.StatusSeeOther:
		return fmt.Errorf("it redirects to %s, where a %s would become a GET: give the new URL", withoutQuery(next.URL), last.Method)
	}
	if origin, err := parseTarget(first.URL); err != nil || origin.origin() != target.origin() {
		harmless := []string{"Accept", "Content-Type", "User-Agent", http.CanonicalHeaderKey(h.conf.IdempotencyHeader)}
		maps.DeleteFunc(next.Header, func(name string, _ []string) bool { return !slices.Contains(harmless, name) })
	}
	return nil
}
