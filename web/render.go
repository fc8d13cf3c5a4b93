package web

import (
	"bytes"
	"cmp"
	"errors"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/internal/problem"
)

// page is what the frame of every page needs.
type page struct {
	Title   string
	Section string // the entry of the navigation that it belongs to; empty for none
	Status  string // a task status, shown in the title; empty for none
	Root    string // see visit
	Self    string
	Token   bool // the browser has a token
	// Events is the stream that says when the page is out of date; empty for none. If
	// there is a Stamp, that is when the numbers of an event make another one; if there
	// is an Endpoint, when an event names it; else with every event.
	Events, Stamp, Endpoint string
	Poll                    int    // after so many seconds it may be out of date without an event; 0 for never
	Large                   bool   // it costs a lot to make
	Say                     string // for those who cannot see it change
	Body                    any
}

// parsePages returns the template of every page. The panics cannot happen in a program
// that was ever started.
func parsePages(a assets) map[string]*template.Template {
	frame := template.Must(template.New("").Funcs(functions(a)).ParseFS(files, "templates/frame/*.html"))
	pages := map[string]*template.Template{}
	entries, err := files.ReadDir("templates")
	if err != nil {
		panic(err)
	}
	for _, entry := range entries {
		if name, ok := strings.CutSuffix(entry.Name(), ".html"); ok {
			pages[name] = template.Must(template.Must(frame.Clone()).ParseFS(files, "templates/"+entry.Name()))
		}
	}
	return pages
}

// show answers with a page.
func (v *visit) show(status int, name string, p page) error {
	p.Root, p.Self, p.Token = v.root, v.self, v.token != ""
	var out bytes.Buffer
	if err := v.pages[name].ExecuteTemplate(&out, "frame", p); err != nil {
		return err
	}
	v.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	v.w.WriteHeader(status)
	_, _ = v.w.Write(out.Bytes()) // an error means that the browser is gone
	return nil
}

// failure is the page of an error.
type failure struct {
	Title     string
	Detail    string
	Errors    []client.FieldError
	RequestID string
	Soon      bool // the same request may succeed in a moment
}

// failureOf returns what to say about an error, and the status of the answer. Only what
// the API wrote for its clients, or this package for people, is told.
func failureOf(err error) (failure, int) {
	code := tasker.CodeOf(err)
	kind, known := problem.KindOf(code)
	if !known {
		kind, _ = problem.KindOf(tasker.Internal)
	}
	f := failure{Title: kind.Title, Soon: code == tasker.Unavailable || code == tasker.Overloaded}
	status := kind.Status
	if e, ok := errors.AsType[*tasker.Error](err); ok && known {
		f.Detail = e.Message
	}
	if p, ok := errors.AsType[*client.Problem](err); ok {
		f.Detail, f.Errors, f.RequestID = p.Detail, p.Errors, p.RequestID
		f.Title = cmp.Or(p.Title, f.Title)
		if p.Status >= http.StatusBadRequest && p.Status <= 599 {
			status = p.Status
		}
	}
	if len(f.Errors) < 2 {
		f.Errors = nil // the detail says it
	}
	return f, status
}

// fail answers with an error.
func (v *visit) fail(err error) {
	if tasker.CodeOf(err) == tasker.Unauthorized {
		v.askToken()
		return
	}
	f, status := failureOf(err)
	if f.Detail == "" {
		f.Detail = "internal error: see the log of the API"
	}
	if status == http.StatusInternalServerError {
		v.log.ErrorContext(v.ctx(), "page failed", "err", err, "path", v.r.URL.Path)
	}
	if f.Soon {
		v.w.Header().Set("Retry-After", "5")
	}
	if err := v.show(status, "failure", page{Title: f.Title, Body: f}); err != nil {
		v.log.ErrorContext(v.ctx(), "page of an error failed", "err", err)
		http.Error(v.w, "internal error", http.StatusInternalServerError)
	}
}

// refused reports whether an error is about what a person has entered, so that the
// form is shown again with it.
func refused(err error) bool {
	switch tasker.CodeOf(err) {
	case tasker.Invalid, tasker.Malformed, tasker.Conflict, tasker.TooLarge:
		return true
	}
	return false
}

// now is the time against which pages show how long ago something was. It may differ
// from the database's by what the clocks of the two hosts differ.
func now() time.Time { return time.Now() }
