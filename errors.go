package tasker

import (
	"errors"
	"fmt"
)

// Code classifies an [Error]. The API maps each code to one HTTP status, the
// client maps it back, so that the same error is seen on both sides.
type Code string

// The codes, and what a caller can do about each.
const (
	Invalid         Code = "invalid"          // the input breaks a rule: correct it
	Malformed       Code = "malformed"        // the input cannot be read at all: correct it
	NotFound        Code = "not_found"        // there is no such thing
	Conflict        Code = "conflict"         // something else of that name exists, is held by somebody else, or does not allow it
	TooLarge        Code = "too_large"        // the input is over a limit
	UnsupportedType Code = "unsupported_type" // the content type is not the expected one
	Unauthorized    Code = "unauthorized"     // no valid credentials
	Overloaded      Code = "overloaded"       // too much is asked at once: try again in a moment
	Unavailable     Code = "unavailable"      // the database or broker cannot be reached: try again later
	Internal        Code = "internal"         // a fault of tasker
)

// Error is the one error type with a code. Its message is written for the
// person who caused or must mend it: it names what was wrong and what to do.
type Error struct {
	Code    Code
	Message string
	// Field points at the offending part of the input, as a JSON pointer
	// (RFC 6901) such as "/endpoints/1"; empty where there is none.
	Field string
	// Err is the cause; it may be nil. It is for logs, not for clients.
	Err error
}

// Error gives the message followed by the cause.
func (e *Error) Error() string {
	if e.Err != nil {
		return e.Message + ": " + e.Err.Error()
	}
	return e.Message
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error of a code without a cause; see [WrapError] for one with.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// FieldErrorf makes an [Invalid] error about the part of the input that the
// JSON pointer field names.
func FieldErrorf(field, format string, args ...any) *Error {
	e := Errorf(Invalid, format, args...)
	e.Field = field
	return e
}

// WrapError gives err a code and a message in front; err stays its cause.
func WrapError(code Code, err error, message string) *Error {
	return &Error{Code: code, Message: message, Err: err}
}

// CodeOf gives the code of the first Error in err's chain: "" for nil, and
// [Internal] where there is no Error.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return Internal
}
