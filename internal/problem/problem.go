// Package problem has the one table from the codes of errors to HTTP, for all
// servers of tasker.
package problem

import (
	"net/http"

	"github.com/taskerhq/tasker"
)

// MediaType is the content type of a problem (RFC 9457).
const MediaType = "application/problem+json"

// Codes that only HTTP knows, beside those of the domain.
const (
	MethodNotAllowed tasker.Code = "method_not_allowed"
	Misdirected      tasker.Code = "misdirected_request"
)

// Kind is how HTTP shows a code.
type Kind struct {
	Status int
	Title  string
}

// KindOf returns the kind of a code, and reports whether there is one.
func KindOf(code tasker.Code) (Kind, bool) {
	kind, ok := map[tasker.Code]Kind{
		tasker.Malformed:       {http.StatusBadRequest, "Malformed request"},
		tasker.Unauthorized:    {http.StatusUnauthorized, "Missing or invalid credentials"},
		tasker.Forbidden:       {http.StatusForbidden, "Not allowed"},
		tasker.NotFound:        {http.StatusNotFound, "Not found"},
		MethodNotAllowed:       {http.StatusMethodNotAllowed, "Method not allowed"},
		tasker.Conflict:        {http.StatusConflict, "Conflicts with the existing resource"},
		tasker.TooLarge:        {http.StatusRequestEntityTooLarge, "Request too large"},
		tasker.UnsupportedType: {http.StatusUnsupportedMediaType, "Unsupported content type"},
		Misdirected:            {http.StatusMisdirectedRequest, "Request for another host"},
		tasker.Invalid:         {http.StatusUnprocessableEntity, "Invalid request"},
		tasker.Internal:        {http.StatusInternalServerError, "Internal error"},
		tasker.Overloaded:      {http.StatusServiceUnavailable, "Overloaded"},
		tasker.Unavailable:     {http.StatusServiceUnavailable, "Unavailable"},
	}[code]
	return kind, ok
}
