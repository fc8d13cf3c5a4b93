package web_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/internal/app"
	"github.com/taskerhq/tasker/internal/x/certfile"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// types are those of the tests: quick ones, one that fails, and one that runs for as
// long as it is told.
const types = `TASKER_TASK_TYPES=[{name: worker, description: works, settings: {duration: 10ms}}, {name: backup, settings: {duration: 10ms}}, sleep]`

// browser is a browser without JavaScript, at a running tasker.
type browser struct {
	t       *testing.T
	base    string // of the dashboard, with a slash at the end
	client  http.Client
	api     *client.Client
	headers map[string]string // of every request
}

// open starts "tasker dev", and returns a browser at its dashboard.
func open(t *testing.T, environ ...string) *browser {
	t.Helper()
	if !slices.ContainsFunc(environ, func(s string) bool { return strings.HasPrefix(s, "TASKER_TASK_TYPES=") }) {
		environ = append(environ, types)
	}
	cfg, err := config.Load(config.Options{Environ: append(environ, "TASKER_API_PORT=0")})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan string, 1), make(chan error, 1)
	opts := app.DevOptions{Ephemeral: true, Version: "v-test", Ready: func(addr string) { ready <- addr }}
	go func() { done <- app.RunDev(ctx, cfg, opts, slog.New(slog.NewTextHandler(t.Output(), nil))) }()
	var address string
	select {
	case address = <-ready:
	case err := <-done:
		cancel()
		t.Fatalf("tasker dev ended: %v", err)
	}
	api := cfg.API.TLS.Scheme() + "://" + address
	b := &browser{t: t, base: api + "/ui/", headers: map[string]string{}}
	transport := &http.Transport{}
	if cfg.API.TLS.On() {
		own, err := certfile.Pool(cfg.API.TLS.CertFile)
		if err != nil {
			t.Fatal(err)
		}
		transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: own}
	}
	b.client = http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	if b.api, err = client.New(api, cfg.API.Token, client.WithRoundTripper(transport)); err != nil {
		t.Fatal(err)
	}
	return b
}

// answer is an answer, read to its end.
type answer struct {
	status int
	header http.Header
	body   string
	url    *url.URL
}

// get asks for a page of the dashboard.
func (b *browser) get(page string) answer {
	b.t.Helper()
	return b.send(http.MethodGet, page, nil)
}

// post sends a form.
func (b *browser) post(page string, form url.Values) answer {
	b.t.Helper()
	return b.send(http.MethodPost, page, form)
}

func (b *browser) send(method, page string, form url.Values) answer {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.base+page, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for name, value := range b.headers {
		if name == "Host" {
			req.Host = value
		} else {
			req.Header.Set(name, value)
		}
	}
	resp, err := b.client.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(body), req.URL}
}

// want checks the status of an answer and, if it is a page, its form.
func (b *browser) want(a answer, status int, texts ...string) answer {
	b.t.Helper()
	if a.status != status {
		b.t.Errorf("%s: status %d, want %d\n%s", a.url, a.status, status, clip(a.body))
	}
	for _, text := range texts {
		if !strings.Contains(a.body, text) {
			b.t.Errorf("%s does not contain %q:\n%s", a.url, text, clip(a.body))
		}
	}
	if strings.HasPrefix(a.header.Get("Content-Type"), "text/html") {
		checkPage(b.t, a)
	}
	return a
}

// follow gets the page that an answer redirects to.
func (b *browser) follow(a answer) answer {
	b.t.Helper()
	if a.status != http.StatusSeeOther {
		b.t.Fatalf("%s: status %d, want a redirect\n%s", a.url, a.status, clip(a.body))
	}
	to, err := a.url.Parse(a.header.Get("Location"))
	if err != nil || !strings.HasPrefix(to.String(), b.base) {
		b.t.Fatalf("%s redirects to %q", a.url, a.header.Get("Location"))
	}
	return b.get(strings.TrimPrefix(to.String(), b.base))
}

// until asks the API for a task until its status is as wanted.
func (b *browser) until(taskType, identifier string, status tasker.TaskStatus) {
	b.t.Helper()
	for {
		got, err := b.api.Summary(b.t.Context(), taskType, identifier)
		if err != nil {
			b.t.Fatal(err)
		}
		if got.Task.Status == status {
			return
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-b.t.Context().Done():
			b.t.Fatalf("%s/%s is %s", taskType, identifier, got.Task.Status)
		}
	}
}

func clip(s string) string { return s[:min(len(s), 4000)] }

// element is an element of a page.
type element struct {
	name  string
	attrs map[string]string
}

// elementsOf returns the elements of a page.
func elementsOf(t testing.TB, body string) (elements []element) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(body))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return elements
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, clip(body))
		}
		start, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		e := element{start.Name.Local, map[string]string{}}
		for _, a := range start.Attr {
			e.attrs[a.Name.Local] = a.Value
		}
		elements = append(elements, e)
	}
}

// checkPage checks what holds for every page.
func checkPage(t testing.TB, a answer) {
	t.Helper()
	wrong := func(format string, args ...any) { t.Errorf("%s: %s", a.url, fmt.Sprintf(format, args...)) }
	policy := a.header.Get("Content-Security-Policy")
	for _, part := range []string{"default-src 'self'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'", "form-action 'self'", "base-uri 'self'"} {
		if !strings.Contains(policy, part) {
			wrong("the policy %q lacks %q", policy, part)
		}
	}
	if strings.Contains(policy, "unsafe") || a.header.Get("X-Content-Type-Options") != "nosniff" || a.header.Get("Cache-Control") != "no-store" {
		wrong("headers: %v", a.header)
	}
	ids, count := map[string]bool{}, map[string]int{}
	var labels []string
	for _, e := range elementsOf(t, a.body) {
		count[e.name]++
		if id, ok := e.attrs["id"]; ok && ids[id] {
			wrong("two elements have the id %q", id)
		} else if ok {
			ids[id] = true
		}
		for name := range e.attrs {
			if name == "style" || strings.HasPrefix(name, "on") {
				wrong("<%s> has the attribute %s", e.name, name)
			}
		}
		switch e.name {
		case "style":
			wrong("an inline style")
		case "script":
			if e.attrs["src"] == "" {
				wrong("an inline script")
			}
		case "label":
			labels = append(labels, e.attrs["for"])
		case "base":
			if !strings.HasPrefix(e.attrs["href"], ".") {
				wrong("base %q", e.attrs["href"])
			}
		}
	}
	for _, id := range labels {
		if !ids[id] {
			wrong("a label for %q, which does not exist", id)
		}
	}
	if count["h1"] != 1 || count["main"] != 1 || count["title"] != 1 {
		wrong("%d h1, %d main, %d title", count["h1"], count["main"], count["title"])
	}
	if i := bytes.IndexFunc([]byte(a.body), func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' || r == 0x7f || r == 0x9b || r == 0x202e }); i >= 0 {
		wrong("a control character at byte %d", i)
	}
}

// fields returns the fields of the form that is sent to a page.
func (b *browser) fields(a answer, action string) url.Values {
	b.t.Helper()
	form := url.Values{}
	inside, found := false, false
	for _, e := range elementsOf(b.t, a.body) {
		switch e.name {
		case "form":
			inside = e.attrs["action"] == action
			found = found || inside
		case "input":
			_, checked := e.attrs["checked"]
			if inside && e.attrs["name"] != "" && (e.attrs["type"] != "radio" && e.attrs["type"] != "checkbox" || checked) {
				form.Set(e.attrs["name"], e.attrs["value"])
			}
		}
	}
	if !found {
		b.t.Fatalf("%s has no form for %q\n%s", a.url, action, clip(a.body))
	}
	return form
}

// links returns what a page links to, resolved, within the dashboard and without
// fragments.
func (b *browser) links(a answer) (links []string) {
	b.t.Helper()
	base := a.url
	for _, e := range elementsOf(b.t, a.body) {
		to := e.attrs["href"]
		if e.name == "script" {
			to = e.attrs["src"]
		}
		if e.name == "form" && !strings.EqualFold(e.attrs["method"], "post") {
			to = e.attrs["action"]
		}
		if to == "" {
			continue
		}
		u, err := base.Parse(to)
		if err != nil {
			b.t.Fatalf("%s: link %q: %v", a.url, to, err)
		}
		if e.name == "base" {
			base = u
			continue
		}
		u.Fragment = ""
		page, ok := strings.CutPrefix(u.String(), b.base)
		if !ok {
			b.t.Errorf("%s: a link out of the dashboard: %q", a.url, to)
			continue
		}
		if !slices.Contains(links, page) {
			links = append(links, page)
		}
	}
	return links
}
