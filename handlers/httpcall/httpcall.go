// Package httpcall is the handler "http", which calls a web API.
package httpcall

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/internal/check"
	"github.com/taskerhq/tasker/handlers/internal/placeholder"
	"github.com/taskerhq/tasker/handlers/internal/secretfiles"
	"github.com/taskerhq/tasker/internal/x/trust"
)

// settings are described in docs/handlers.md.
type settings struct {
	Method            string            `json:"method"`
	URL               string            `json:"url"`
	Headers           map[string]string `json:"headers"`
	HeadersFile       secretfiles.Files `json:"headers_file"` // headers whose values are in files
	QueryFile         secretfiles.Files `json:"query_file"`   // the same for parameters of the query
	Body              json.RawMessage   `json:"body"`
	Allow             []string          `json:"allow"`
	RPC               bool              `json:"rpc"`
	MaxRedirects      int               `json:"max_redirects"`
	AllowPrivate      bool              `json:"allow_private"`
	Timeout           handlers.Duration `json:"timeout"`
	MaxResponse       handlers.Size     `json:"max_response"`
	Result            string            `json:"result"`
	CAFile            string            `json:"ca_file"`
	IdempotencyHeader string            `json:"idempotency_header"`
	Proxy             bool              `json:"proxy"`
}

// maxMaxResponse bounds max_response: the body is held in memory.
const maxMaxResponse = 64 << 20

var methods = []string{
	http.MethodDelete, http.MethodGet, http.MethodHead, http.MethodPatch, http.MethodPost, http.MethodPut,
}

// handler is safe for concurrent use.
type handler struct {
	conf      settings
	url       placeholder.Text
	headers   map[string]placeholder.Text
	body      *placeholder.Value // nil for the payload, or no body
	allow     []urlPrefix
	transport *http.Transport
	resolver  *net.Resolver // nil for the system's

	environment func(*http.Request) (*url.URL, error) // returns the proxy for a request, if any
	proxies     sync.Map                              // the addresses of the proxies that it has returned
}

var (
	_ handlers.Handler   = (*handler)(nil)
	_ handlers.Checker   = (*handler)(nil)
	_ handlers.Describer = (*handler)(nil)
	_ handlers.Limiter   = (*handler)(nil)
)

// New returns the handler that calls a web API: a method, a URL, headers and a JSON
// body, filled in from the request, or with the setting "rpc" those that the
// payload names. It calls only what the setting "allow" allows, also when it is
// redirected, and no address that cannot be an API.
//
// A response of 2xx is a success, and its body the result. Any other fails, with
// the status as errnr: 408, 425, 429 and 5xx may be retried, after the time that
// Retry-After says; the rest are permanent.
func New(s handlers.Settings) (handlers.Handler, error) {
	h := &handler{conf: settings{
		Method: http.MethodPost, MaxRedirects: 5, Timeout: handlers.Duration(30 * time.Second), MaxResponse: 512 << 10,
		Result: "auto", IdempotencyHeader: "Idempotency-Key",
	}}
	if err := s.Decode(&h.conf); err != nil {
		return nil, err
	}
	if err := h.conf.checkPlain(s); err != nil {
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
		// A reused connection may turn out to be closed, and the request would
		// then be sent a second time.
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

// checkPlain checks the settings that are not templates.
func (s *settings) checkPlain(given handlers.Settings) error {
	var c check.Settings
	c.OneOf("method", s.Method, methods...)
	c.OneOf("result", s.Result, "auto", "json", "text", "none")
	c.Want(s.MaxRedirects >= 0 && s.MaxRedirects <= 20, "max_redirects", "must be 0 to 20, got %d", s.MaxRedirects)
	c.Want(s.Timeout > 0, "timeout", "must be more than 0")
	c.Want(s.MaxResponse <= maxMaxResponse, "max_response", "must be at most 64MiB, got %d", s.MaxResponse)
	c.Want(s.IdempotencyHeader == "" || isHeaderName(s.IdempotencyHeader), "idempotency_header",
		"must be the name of a header, got %q", s.IdempotencyHeader)
	c.Want(s.RPC || s.URL != "", "url", "is required, such as https://api.example.com/v1/hosts, unless rpc is true")
	for _, name := range []string{"method", "url", "body"} {
		_, set := given[name]
		c.Want(!s.RPC || !set, name, "must not be set with rpc: the payload has it")
	}
	return c.Err()
}

// ResultLimit returns the setting that bounds results, and its value.
func (h *handler) ResultLimit() (setting string, limit int64) {
	return "max_response", int64(h.conf.MaxResponse)
}

// Check reports whether the files with certificates and secrets can be read.
func (h *handler) Check() error {
	_, err := h.conf.roots()
	_, headers := h.conf.secretHeaders()
	_, query := h.conf.QueryFile.Read("query")
	return errors.Join(err, headers, query)
}

// roots reads the certificates to trust; nil means those of the system.
func (s *settings) roots() (*x509.CertPool, error) {
	if s.CAFile == "" {
		return nil, nil
	}
	content, err := os.ReadFile(s.CAFile)
	if err != nil {
		return nil, fmt.Errorf("setting \"ca_file\": %w", err)
	}
	if err := trust.Check(s.CAFile); err != nil {
		return nil, fmt.Errorf("setting \"ca_file\": not trusted: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(content) {
		return nil, fmt.Errorf("setting \"ca_file\": no certificate in %s", s.CAFile)
	}
	return pool, nil
}

// Describe names the URL.
func (h *handler) Describe() handlers.Description {
	if h.conf.RPC {
		return handlers.Description{
			Description: "Calls the web API that the payload names",
			Usage: "url must begin with one of " + strings.Join(h.conf.Allow, ", ") +
				"; args is the JSON body, or the query of GET and HEAD",
			Schema: json.RawMessage(`{"type":"object","additionalProperties":false,"required":["method","url"],"properties":{` +
				`"method":{"enum":["DELETE","GET","HEAD","PATCH","POST","PUT"]},"url":{"type":"string"},"args":{},` +
				`"max_run_time":{"type":"number","exclusiveMinimum":0,"maximum":4611686018}}}`),
			Example: json.RawMessage(`{"method":"POST","url":"http://127.0.0.1:1323/sum","args":{"a":132,"b":75},"max_run_time":10}`),
		}
	}
	shown, _, _ := strings.Cut(h.conf.URL, "?") // a query may contain secrets
	d := handlers.Description{Description: fmt.Sprintf("Calls %s %s", h.conf.Method, shown)}
	if schema := payloadSchema(h.placeholders()); schema != nil {
		d.Usage = "the payload is an object with the members that the call needs"
		d.Schema, _ = json.Marshal(schema)
	}
	return d
}

// Handle makes the call.
func (h *handler) Handle(ctx context.Context, req *handlers.Request) (handlers.Result, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	c, err := h.prepare(req)
	if err != nil {
		return nil, handlers.Permanent(err)
	}
	late := c.timedOut()
	limited, cancel := context.WithTimeoutCause(ctx, c.timeout, late)
	defer cancel()
	transport := h.transport
	if h.conf.CAFile != "" {
		// Read for each call, so that a renewed file takes effect at once.
		roots, err := h.conf.roots()
		if err != nil {
			return nil, err
		}
		transport = transportWith(transport, roots)
		defer transport.CloseIdleConnections()
	}
	out, err := c.request(limited)
	if err != nil {
		return nil, handlers.Permanent(err)
	}
	resp, result, err := h.do(out, transport, req.Logger()) //nolint:bodyclose // do closes it
	answered := resp != nil && !isSuccess(resp)             // then err is the server's answer
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil && !answered && errors.Is(context.Cause(limited), late):
		err = late
	case errors.Is(err, errAddress):
		err = handlers.Permanent(withoutURL(err))
	case !answered:
		err = withoutURL(err)
	}
	if err != nil {
		return result, fmt.Errorf("%s %s: %w", out.Method, withoutQuery(out.URL), err)
	}
	req.Logger().InfoContext(ctx, "answered", "status", resp.StatusCode, "bytes", len(result))
	return result, nil
}

// do sends a request and makes a result of the response, which is nil if there was
// none.
func (h *handler) do(out *http.Request, transport *http.Transport, log *slog.Logger) (*http.Response, handlers.Result, error) {
	var refusal error // of a redirect
	client := &http.Client{Transport: transport, CheckRedirect: func(next *http.Request, via []*http.Request) error {
		if refusal = h.checkRedirect(next, via); refusal != nil {
			return http.ErrUseLastResponse
		}
		log.InfoContext(next.Context(), "redirected", "to", withoutQuery(next.URL))
		return nil
	}}
	resp, err := client.Do(out)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	result, err := h.judge(resp, refusal)
	return resp, result, err
}

// checkRedirect returns why a redirect is not followed, or nil if it is. Headers of the
// settings are not sent to another origin.
func (h *handler) checkRedirect(next *http.Request, via []*http.Request) error {
	first, last := via[0], via[len(via)-1]
	target, err := parseTarget(next.URL)
	switch {
	case len(via) > h.conf.MaxRedirects:
		return fmt.Errorf("more than %d redirects", h.conf.MaxRedirects)
	case err != nil:
		return fmt.Errorf("redirect to %s: %w", withoutQuery(next.URL), err)
	case !h.allowed(target):
		return fmt.Errorf("redirect to %s, which is not allowed", withoutQuery(next.URL))
	case next.Method != last.Method && next.Response.StatusCode != http.StatusSeeOther:
		return fmt.Errorf("redirect to %s would turn %s into GET: use the new URL", withoutQuery(next.URL), last.Method)
	}
	if origin, err := parseTarget(first.URL); err != nil || origin.origin() != target.origin() {
		harmless := []string{"Accept", "Content-Type", "User-Agent", http.CanonicalHeaderKey(h.conf.IdempotencyHeader)}
		maps.DeleteFunc(next.Header, func(name string, _ []string) bool { return !slices.Contains(harmless, name) })
	}
	return nil
}
