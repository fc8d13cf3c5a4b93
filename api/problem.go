package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/internal/problem"
)

// retryAfter is the value of Retry-After, in seconds, while the database or the
// broker cannot be reached: tasker reconnects to both within seconds.
const retryAfter = "5"

// maxFieldErrors bounds the list of a problem.
const maxFieldErrors = 20

// inputErrors are all the rules that a request breaks.
type inputErrors struct {
	errs []error
	more int // those over maxFieldErrors
}

func (e *inputErrors) add(field, format string, args ...any) {
	if len(e.errs) == maxFieldErrors {
		e.more++
		return
	}
	e.errs = append(e.errs, tasker.FieldErrorf(field, format, args...))
}

// err returns e, or nil if no rule is broken.
func (e *inputErrors) err() error {
	if len(e.errs) == 0 {
		return nil
	}
	return e
}

// Error returns the first broken rule and the number of the others.
func (e *inputErrors) Error() string {
	others := len(e.errs) - 1 + e.more
	switch {
	case others == 0:
		return e.errs[0].Error()
	case e.more > 0:
		return fmt.Sprintf("%v (and %d more; the first %d are listed)", e.errs[0], others, len(e.errs)-1)
	}
	return fmt.Sprintf("%v (and %d more)", e.errs[0], others)
}

// Unwrap returns the errors, so that [tasker.CodeOf] finds their code.
func (e *inputErrors) Unwrap() []error { return e.errs }

// fieldErrorsOf returns the broken rules in err that name a field.
func fieldErrorsOf(err error) []client.FieldError {
	errs := []error{err}
	if input, ok := errors.AsType[*inputErrors](err); ok {
		errs = input.errs
	}
	var fields []client.FieldError
	for _, err := range errs {
		if e, ok := errors.AsType[*tasker.Error](err); ok && e.Field != "" {
			fields = append(fields, client.FieldError{Field: e.Field, Message: e.Message})
		}
	}
	return fields
}

// problems answers requests that failed.
type problems struct{ log *slog.Logger }

// fail writes the problem of err, and logs what the client must not see.
func (p problems) fail(w http.ResponseWriter, r *http.Request, err error) {
	code := tasker.CodeOf(err)
	if _, known := problem.KindOf(code); !known {
		code = tasker.Internal
	}
	id := requestInfoOf(r).id
	switch {
	case code == tasker.Internal && ended(r, err):
		// The client disconnected, or something hung until requestTimeout.
		p.log.WarnContext(r.Context(), "request timed out", "err", err, "request_id", id)
		p.write(w, r, tasker.Unavailable, "request timed out: retry later", nil)
		return
	case code == tasker.Internal:
		p.log.ErrorContext(r.Context(), "request failed", "err", err, "request_id", id)
		p.write(w, r, code, internalDetail, nil)
		return
	case code == tasker.Unavailable:
		p.log.WarnContext(r.Context(), "request failed: dependency unavailable", "err", err, "request_id", id)
	}
	p.write(w, r, code, messageOf(err), fieldErrorsOf(err))
}

// internalDetail is all that a client sees of an internal error.
const internalDetail = "internal error: see the log of the API for this request id"

// write writes a problem.
func (p problems) write(w http.ResponseWriter, r *http.Request, code tasker.Code, detail string, fields []client.FieldError) {
	kind, _ := problem.KindOf(code)
	header := w.Header()
	switch code {
	case tasker.Unauthorized:
		header.Set("WWW-Authenticate", `Bearer realm="tasker"`)
	case tasker.Overloaded:
		header.Set("Retry-After", overloadRetryAfter())
	case tasker.Unavailable:
		header.Set("Retry-After", retryAfter)
	}
	body := client.Problem{
		Type: "urn:tasker:problem:" + string(code), Title: kind.Title, Status: kind.Status,
		Detail: detail, Instance: r.URL.EscapedPath(), Code: code,
		RequestID: requestInfoOf(r).id, Errors: fields,
	}
	if err := writeAs(w, problem.MediaType, kind.Status, body); err != nil {
		p.log.ErrorContext(r.Context(), "write problem failed", "err", err, "request_id", requestInfoOf(r).id)
	}
}

// ended reports whether err means that the request's context ended.
func ended(r *http.Request, err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) && r.Context().Err() != nil
}

// messageOf returns the part of an error that is meant for clients: the cause
// stays in the log.
func messageOf(err error) string {
	if input, ok := errors.AsType[*inputErrors](err); ok {
		return input.Error()
	}
	if e, ok := errors.AsType[*tasker.Error](err); ok {
		return e.Message
	}
	return internalDetail
}

// writeJSON writes v as the response.
func writeJSON(w http.ResponseWriter, status int, v any) error {
	return writeAs(w, "application/json", status, v)
}

// writeAs encodes v before it writes anything, so that an error can still become
// a problem. Payloads keep their '<', '>' and '&'.
func writeAs(w http.ResponseWriter, contentType string, status int, v any) error {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return fmt.Errorf("encode the response: %w", err)
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", fmt.Sprint(body.Len()))
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes()) // an error means that the client disconnected
	return nil
}
