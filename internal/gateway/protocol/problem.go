package protocol

import "github.com/taskerhq/tasker"

// Problem is the answer to a request that failed (RFC 9457).
type Problem struct {
	Type      string       `json:"type"`
	Title     string       `json:"title"`
	Status    int          `json:"status"`
	Detail    string       `json:"detail"`
	Instance  string       `json:"instance"`
	Code      tasker.Code  `json:"code"`
	RequestID string       `json:"request_id,omitempty"` // of the gateway's log
	Errors    []FieldError `json:"errors,omitempty"`
	// Unanswered is true if the gateway lost the connection to the database over
	// the request, so that it is unknown what became of it.
	Unanswered bool `json:"unanswered,omitempty"`
}

// FieldError is a broken rule. Field is a JSON pointer into the body.
type FieldError struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}
