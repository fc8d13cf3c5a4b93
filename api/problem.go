package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/taskerhq/tasker"
)

// Codes that only HTTP knows, beside those of the domain.
const (
	methodNotAllowed tasker.Code = "method_not_allowed"
	misdirected      tasker.Code = "misdirected_request"
)

// retryAfter is the value of Retry-After, in seconds, when the database or the
// broker is away: both are looked for again within seconds.
const retryAfter = "5"

// maxFieldErrors bounds the list of a problem, whatever the input was.
const maxFieldErrors = 20

// problemKind is how a code looks in HTTP.
type problemKind struct {
	status int
	title  string
}

// kindOf is the one table from codes to HTTP.
func kindOf(code tasker.Code) (problemKind, bool) {
	kind, ok := map[tasker.Code]problemKind{
		tasker.Malformed:       {http.StatusBadRequest, "The request cannot be read"},
		tasker.Unauthorized:    {http.StatusUnauthorized, "Credentials are needed"},
		tasker.NotFound:        {http.StatusNotFound, "There is no such thing"},
		methodNotAllowed:       {http.StatusMethodNotAllowed, "The method is not allowed here"},
		tasker.Conflict:        {http.StatusConflict, "It does not go with what is there"},
		tasker.TooLarge:        {http.StatusRequestEntityTooLarge, "The request is too large"},
		tasker.UnsupportedType: {http.StatusUnsupportedMediaType, "The content type is not supported"},
		misdirected:            {http.StatusMisdirectedRequest, "The request was meant for another host"},
		tasker.Invalid:         {http.StatusUnprocessableEntity, "The request breaks a rule"},
		tasker.Internal:        {http.StatusInternalServerError, "tasker failed"},
		tasker.Overloaded:      {http.StatusServiceUnavailable, "tasker has too much to do"},
		tasker.Unavailable:     {http.StatusServiceUnavailable, "A part of tasker is away"},
	}[code]
	return kind, ok
}

// problem is the body of every error (RFC 9457).
type problem struct {
	Type      string       `json:"type"`
	Title     string       `json:"title"`
	Status    int          `json:"status"`
	Detail    string       `json:"detail"`
	Instance  string       `json:"instance"`
	Code      tasker.Code  `json:"code"`
	RequestID string       `json:"request_id"`
	Errors    []fieldError `json:"errors,omitempty"`
}

// fieldError is one broken rule. Field is a JSON pointer into the body, or
// "?name" for a query parameter.
type fieldError struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

// inputErrors are all the rules that one request breaks.
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

// err gives e, or nil where no rule is broken.
func (e *inputErrors) err() error {
	if len(e.errs) == 0 {
		return nil
	}
	return e
}

// Error gives the first broken rule and the number of the others.
func (e *inputErrors) Error() string {
	others := len(e.errs) - 1 + e.more
	switch {
	case others == 0:
		return e.errs[0].Error()
	case e.more > 0:
		return fmt.Sprintf("%v (and %d more, of which the first %d are listed)", e.errs[0], others, len(e.errs)-1)
	}
	return fmt.Sprintf("%v (and %d more)", e.errs[0], others)
}

// Unwrap gives the errors, so that [tasker.CodeOf] finds their code.
func (e *inputErrors) Unwrap() []error { return e.errs }

// fieldErrorsOf lists the broken rules of which err names the field.
func fieldErrorsOf(err error) []fieldError {
	errs := []error{err}
	if input, ok := errors.AsType[*inputErrors](err); ok {
		errs = input.errs
	}
	var fields []fieldError
	for _, err := range errs {
		if e, ok := errors.AsType[*tasker.Error](err); ok && e.Field != "" {
			fields = append(fields, fieldError{Field: e.Field, Message: e.Message})
		}
	}
	return fields
}

// fail answers a request with the problem that err is, and logs what the
// client must not see.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	code := tasker.CodeOf(err)
	if _, known := kindOf(code); !known {
		code = tasker.Internal
	}
	id := requestInfoOf(r).id
	switch {
	case code == tasker.Internal && ended(r, err):
		// The client went away, or something hung until requestTimeout.
		s.log.WarnContext(r.Context(), "a request was not answered in time", "err", err, "request_id", id)
		s.problem(w, r, tasker.Unavailable, "the answer took too long: try again later", nil)
		return
	case code == tasker.Internal:
		s.log.ErrorContext(r.Context(), "a request failed", "err", err, "request_id", id)
		s.problem(w, r, code, internalDetail, nil)
		return
	case code == tasker.Unavailable:
		s.log.WarnContext(r.Context(), "a request could not be served", "err", err, "request_id", id)
	}
	s.problem(w, r, code, messageOf(err), fieldErrorsOf(err))
}

// internalDetail is all that a client is told of a fault of tasker.
const internalDetail = "an unexpected error happened; the log of the API has it under this request id"

// problem writes a problem.
func (s *Server) problem(w http.ResponseWriter, r *http.Request, code tasker.Code, detail string, fields []fieldError) {
	kind, _ := kindOf(code)
	header := w.Header()
	switch code {
	case tasker.Unauthorized:
		header.Set("WWW-Authenticate", `Bearer realm="tasker"`)
	case tasker.Overloaded:
		header.Set("Retry-After", overloadRetryAfter())
	case tasker.Unavailable:
		header.Set("Retry-After", retryAfter)
	}
	p := problem{
		Type: "urn:tasker:problem:" + string(code), Title: kind.title, Status: kind.status,
		Detail: detail, Instance: r.URL.EscapedPath(), Code: code,
		RequestID: requestInfoOf(r).id, Errors: fields,
	}
	if err := writeAs(w, "application/problem+json", kind.status, p); err != nil {
		s.log.ErrorContext(r.Context(), "a problem could not be written", "err", err, "request_id", requestInfoOf(r).id)
	}
}

// ended tells whether err is the end of the request's context.
func ended(r *http.Request, err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) && r.Context().Err() != nil
}

// messageOf gives the part of an error that is meant for clients: the cause
// stays in the log.
func messageOf(err error) string {
	if input, ok := errors.AsType[*inputErrors](err); ok {
		return input.Error()
	}
	if e, ok := errors.AsType[*tasker.Error](err); ok {
		return e.Message
	}
	return "an unexpected error happened"
}

// writeJSON answers with v.
func writeJSON(w http.ResponseWriter, status int, v any) error {
	return writeAs(w, "application/json", status, v)
}

// writeAs encodes v before it writes anything, so that an error can still be
// answered. Payloads keep their '<', '>' and '&'.
func writeAs(w http.ResponseWriter, contentType string, status int, v any) error {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", fmt.Sprint(body.Len()))
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes()) // an error means that the client is gone
	return nil
}
