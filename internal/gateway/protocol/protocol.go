// Package protocol has the requests and answers between endpoints and the
// gateway: JSON over HTTP, one endpoint per request. docs/gateway.md describes
// it.
//
// # Revisions
//
// Both sides say in a header which revision they speak. A field that is added to
// a request must be safe to ignore: a server ignores unknown fields of a client
// with a later revision than its own, and refuses those of any other. Clients
// ignore unknown fields of answers. What an older side must not ignore is a new
// operation, or a new path.
//
// # Values
//
// Payloads and partial results are JSON texts in strings: so they arrive byte
// for byte, and no reader rounds their numbers. Ids of tasks are 64-bit integers.
// Times are RFC 3339 in UTC, by the database's clock. Durations are in
// milliseconds, rounded up.
package protocol

import "time"

// Prefix is the beginning of the path of every operation, before its name. All
// operations are POSTs, also those that only read: then one decoder reads all of
// them, no name of an endpoint or task is in the access logs of proxies, and
// nobody answers from a cache.
const Prefix = "/gateway/v1/"

// Revision is the revision of the protocol that this package speaks.
const Revision = 1

// Headers.
const (
	// HeaderRevision has the sender's [Revision].
	HeaderRevision = "Tasker-Gateway"
	// HeaderTime has the time of an answer by the database's clock, as the
	// server knows it.
	HeaderTime = "Tasker-Time"
	// HeaderTook has the time, in microseconds, from the arrival of a request to
	// its answer.
	HeaderTook = "Tasker-Took"
)

// The names of the operations.
const (
	OpRegister    = "register"
	OpHeartbeat   = "heartbeat"
	OpRelease     = "release"
	OpForget      = "forget"
	OpReturn      = "return"
	OpHolds       = "holds"
	OpReceive     = "receive"
	OpUnreceived  = "unreceived"
	OpTake        = "take"
	OpPayload     = "payload"
	OpStart       = "start"
	OpGiveBack    = "give-back"
	OpFinish      = "finish"
	OpAttempts    = "attempts"
	OpAwaitReboot = "await-reboot"
	OpResume      = "resume"
	OpUnfinished  = "unfinished"
	OpInterrupted = "interrupted"
	OpCanceled    = "canceled"
	OpWaiting     = "waiting"
	OpDue         = "due"
	OpNextRetry   = "next-retry"
	OpLive        = "live"
)

const (
	// MaxItems bounds the messages, starts, ends and updates of one request.
	MaxItems = 100
	// MaxLimit bounds the limit of a read.
	MaxLimit = 10_000
)

// Scope is in every request: the one endpoint that it is about. Nothing else in
// a request names an endpoint, and the server refuses it if the token is
// another's.
type Scope struct {
	Endpoint string `json:"endpoint"`
}

// Named returns the endpoint.
func (s *Scope) Named() string { return s.Endpoint }

// Request is a request.
type Request interface {
	// Named returns the endpoint that the request is about.
	Named() string
	// Validate returns what is wrong with the request, as a [tasker.Invalid] with
	// the field.
	Validate() error
}

// Milliseconds returns a duration as it is sent.
func Milliseconds(d time.Duration) int64 {
	return int64((d + time.Millisecond - 1) / time.Millisecond)
}

// Duration returns the duration that was sent as ms. What is beyond a century is
// taken for a century.
func Duration(ms int64) time.Duration {
	const century = 100 * 365 * 24 * time.Hour
	return time.Duration(min(max(ms, 0), century.Milliseconds())) * time.Millisecond
}
