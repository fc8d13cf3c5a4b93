package tasker

import (
	"errors"
	"fmt"
)

// Code classifies an [Error]. The API maps each code to one HTTP status, and
// the client maps it back, so that both sides see the same error.
type Code string

// The codes, and what a caller can do about each.
const (
	Invalid         Code = "invalid"          // the input breaks a rule: correct it
	Malformed       Code = "malformed"        // the input cannot be parsed: correct it
	NotFound        Code = "not_found"        // it does not exist
	Conflict        Code = "conflict"         // the name exists, is held by somebody else, or its state does not allow it
	TooLarge        Code = "too_large"        // the input exceeds a limit
	UnsupportedType Code = "unsupported_type" // unexpected content type
	Unauthorized    Code = "unauthorized"     // no valid credentials
	Forbidden       Code = "forbidden"        // the credentials are valid, and do not allow it
	Overloaded      Code = "overloaded"       // too many requests: try again in a moment
	Unavailable     Code = "unavailable"      // the database or broker is down: try again later
	Internal        Code = "internal"         // a bug in tasker
)

// Error is the error type with a code. Its message is for the person who caused
// it or must fix it: what was wrong, and what to do.
type Error struct {
	Code    Code
	Message string
	// Field is a JSON pointer (RFC 6901) to the wrong part of the input, such
	// as "/endpoints/1"; empty if there is none.
	Field string
	// Err is the cause, or nil. It is for logs, not for clients.
	Err error
}

// Error returns the message followed by the cause.
func (e *Error) Error() string {
	if e.Err != nil {
		return e.Message + ": " + e.Err.Error()
	}
	return e.Message
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf returns an Error without a cause; see [WrapError] for one with.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// FieldErrorf returns an [Invalid] error about the part of the input at the
// JSON pointer field.
func FieldErrorf(field, format string, args ...any) *Error {
	e := Errorf(Invalid, format, args...)
	e.Field = field
	return e
}

// WrapError returns an Error with err as its cause.
func WrapError(code Code, err error, message string) *Error {
	return &Error{Code: code, Message: message, Err: err}
}

// CodeOf returns the code of the first Error in err's chain: "" for nil, and
// [Internal] if there is no Error.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return Internal
}
