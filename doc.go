// Package tasker is the domain of tasker, a RabbitMQ fan-out task distributor:
// tasks, the result that each endpoint records for a task, their states, the
// summary computed from them, and the errors that all layers share.
//
// A [Task] is one POST: a task type, the customer's identifier, a payload and,
// optionally, the endpoints that must perform it. It is copied to every
// expected endpoint, and the manager there keeps one [TaskResult] for it. The
// status of a task is computed from these results by [Summarize] and
// [NextStatus], and stored only along the legal moves of
// [TaskStatus.CanMoveTo].
//
// The package imports only the standard library: storage, messages and HTTP are
// details of other packages.
package tasker
