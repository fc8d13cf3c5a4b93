package gateway

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/gateway/protocol"
	"github.com/taskerhq/tasker/internal/problem"
	"github.com/taskerhq/tasker/internal/x/batch"
	"github.com/taskerhq/tasker/internal/x/jsonx"
)

// retryAfter is the Retry-After, in seconds, of what may work again soon.
const retryAfter = "1"

// internalDetail is all that an endpoint sees of an internal error.
const internalDetail = "internal error: see the log of the gateway for this request id"

// fail answers a request with the problem of err, and logs what the endpoint must
// not see.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	code := tasker.CodeOf(err)
	if code == tasker.Internal && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)) {
		code = tasker.Unavailable
	}
	kind, known := problem.KindOf(code)
	if !known {
		code = tasker.Internal
		kind, _ = problem.KindOf(code)
	}
	document := protocol.Problem{
		Type: "urn:tasker:problem:" + string(code), Title: kind.Title, Status: kind.Status, Code: code,
		Instance: r.URL.EscapedPath(), Detail: internalDetail, RequestID: requestID(),
	}
	if e, ok := errors.AsType[*tasker.Error](err); ok && code != tasker.Internal {
		document.Detail = e.Message
		if e.Field != "" {
			document.Errors = []protocol.FieldError{{Field: e.Field, Message: e.Message}}
		}
	}
	switch code {
	case tasker.Internal:
		s.log.ErrorContext(r.Context(), "request failed", "err", err, "request_id", document.RequestID)
	case tasker.Unavailable:
		document.Unanswered = !s.database.Answered(err) && !errors.Is(err, batch.ErrEnded)
		s.log.DebugContext(r.Context(), "request failed: dependency unavailable", "err", err, "request_id", document.RequestID)
		w.Header().Set("Retry-After", retryAfter)
	case tasker.Overloaded:
		w.Header().Set("Retry-After", retryAfter)
	case tasker.Unauthorized:
		w.Header().Set("WWW-Authenticate", `Bearer realm="tasker gateway"`)
	case problem.MethodNotAllowed:
		w.Header().Set("Allow", http.MethodPost)
	}
	s.write(w, problem.MediaType, kind.Status, document)
}

// write writes an answer. It is encoded before anything is written, so that it is
// complete or not there.
func (s *Server) write(w http.ResponseWriter, contentType string, status int, answer any) {
	body, err := jsonx.Encode(answer)
	if err != nil {
		s.log.Error("encode answer failed", "err", err)
		status, body = http.StatusInternalServerError, []byte("{}")
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // an error means that the client disconnected
}

// clip shortens a name for a message.
func clip(name string) string {
	if len(name) <= tasker.MaxName {
		return name
	}
	return strings.ToValidUTF8(name[:tasker.MaxName], "") + "..."
}
