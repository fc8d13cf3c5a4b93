package web

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/internal/x/text"
)

// site is what all requests share.
type site struct {
	api    http.Handler
	log    *slog.Logger
	assets assets
	pages  map[string]*template.Template
}

// visit is one request of a browser.
type visit struct {
	*site
	w     http.ResponseWriter
	r     *http.Request
	api   *client.Client // sends what this visit asks, as the browser's principal
	token string         // the browser's; empty if it has none
	root  string         // relative path from this page to the first one
	self  string         // this page, relative to the first one, with its query
}

func (s *site) visit(w http.ResponseWriter, r *http.Request) (*visit, error) {
	v := &visit{site: s, w: w, r: r, root: "./", token: tokenOf(r)}
	if depth := strings.Count(strings.TrimPrefix(r.URL.Path, "/"), "/"); depth > 0 {
		v.root = strings.Repeat("../", depth)
	}
	v.self = "./" + strings.TrimPrefix(r.URL.RequestURI(), "/") // what comes first must not look like a scheme
	if r.Method == http.MethodPost {
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	}
	var err error
	// Nothing goes over the network, and dress adds the token.
	v.api, err = client.New("http://api", "", client.WithTries(1), client.WithRoundTripper(inProcess{v}))
	return v, err
}

func (v *visit) ctx() context.Context { return v.r.Context() }

// get asks the API for a path.
func get[T any](v *visit, query url.Values, path ...string) (answer T, err error) {
	err = v.api.Get(v.ctx(), query, &answer, path...)
	return answer, err
}

// task returns the names of the task in the path of the page.
func (v *visit) task() (taskType, identifier string, err error) {
	taskType, identifier = v.r.PathValue("type"), v.r.PathValue("identifier")
	if tasker.ValidateTaskType(taskType) != nil || tasker.ValidateIdentifier(identifier) != nil {
		return "", "", tasker.Errorf(tasker.NotFound, "task not found")
	}
	return taskType, identifier, nil
}

// param returns a parameter of the page's URL, in a form that can be shown.
func (v *visit) param(name string) string { return text.Visible(v.r.URL.Query().Get(name)) }

// redirect sends the browser to a page, given relative to the first one. Its URL is
// relative: only the browser knows the prefix that a proxy has put before it.
func (v *visit) redirect(page string) error {
	v.w.Header().Set("Location", v.root+page)
	v.w.WriteHeader(http.StatusSeeOther)
	return nil
}

// inProcess sends requests to the API for a visit.
type inProcess struct{ *visit }

// RoundTrip implements [http.RoundTripper]. The API sees the browser's address and the
// name that it used for this host, so that its own checks apply.
func (p inProcess) RoundTrip(req *http.Request) (answer *http.Response, err error) {
	in := req.Clone(req.Context())
	in.URL = &url.URL{Path: req.URL.Path, RawQuery: req.URL.RawQuery}
	p.dress(in)
	if in.Body == nil {
		in.Body = http.NoBody
	}
	out := &buffer{header: http.Header{}}
	defer func() {
		if broken := recover(); broken != nil {
			answer, err = nil, fmt.Errorf("api: answer aborted: %v", broken)
		}
	}()
	p.site.api.ServeHTTP(out, in)
	if out.status == 0 {
		out.status = http.StatusOK
	}
	return &http.Response{
		Status: http.StatusText(out.status), StatusCode: out.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: out.header, Body: io.NopCloser(&out.body), ContentLength: int64(out.body.Len()), Request: req,
	}, nil
}

// dress makes a request of the API one of the browser.
func (v *visit) dress(in *http.Request) {
	in.Host, in.RemoteAddr, in.RequestURI = v.r.Host, v.r.RemoteAddr, in.URL.RequestURI()
	in.Header.Del("Cookie")
	in.Header.Del("Authorization")
	if v.token != "" {
		in.Header.Set("Authorization", "Bearer "+v.token)
	}
	if id := v.w.Header().Get("X-Request-Id"); id != "" {
		in.Header.Set("X-Request-Id", id)
	}
}

// pass answers with what the API answers for a path.
func (v *visit) pass(query url.Values, path ...string) {
	in := v.r.Clone(v.ctx())
	in.URL = &url.URL{Path: "/" + strings.Join(path, "/"), RawQuery: query.Encode()}
	v.dress(in)
	v.site.api.ServeHTTP(v.w, in)
}

// maxBuffer bounds the answer of the API to one request of a page, in bytes.
const maxBuffer = 64 << 20

// buffer collects the answer of the API.
type buffer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (b *buffer) Header() http.Header { return b.header }

func (b *buffer) WriteHeader(status int) {
	if b.status == 0 {
		b.status = status
	}
}

func (b *buffer) Write(p []byte) (int, error) {
	b.WriteHeader(http.StatusOK)
	if b.body.Len()+len(p) > maxBuffer {
		return 0, errors.New("answer too large for a page")
	}
	return b.body.Write(p)
}

// secure reports whether the browser reached this page over TLS, as far as that can be
// known: a proxy may have ended it. It is false only where the page is known to come
// from a server on the same machine, without TLS.
func secure(r *http.Request) bool {
	if r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https" {
		return true
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return !strings.EqualFold(host, "localhost") && (err != nil || !addr.Unmap().IsLoopback())
}

// cookie returns the cookie that holds a token. With the prefix no other host, and
// nothing but TLS, can set it.
func cookie(r *http.Request, token string) *http.Cookie {
	c := &http.Cookie{
		Name: "tasker", Value: base64.RawURLEncoding.EncodeToString([]byte(token)), Path: "/",
		HttpOnly: true, SameSite: http.SameSiteStrictMode,
	}
	if secure(r) {
		c.Name, c.Secure = "__Host-"+c.Name, true
	}
	return c
}

// tokenOf returns the token of a browser, or nothing.
func tokenOf(r *http.Request) string {
	c, err := r.Cookie(cookie(r, "").Name)
	if err != nil {
		return ""
	}
	token, err := base64.RawURLEncoding.DecodeString(c.Value)
	if err != nil || !validToken(string(token)) {
		return ""
	}
	return string(token)
}

// validToken reports whether a token can be in a header.
func validToken(token string) bool {
	return token != "" && !strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' })
}
