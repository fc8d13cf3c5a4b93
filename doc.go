// Package tasker is the domain of tasker, a RabbitMQ fan-out task distributor:
// tasks, the result that each endpoint records for a task, the states both go
// through, the summary computed from them, and the errors that every layer
// shares.
//
// A [Task] is one POST: a task type, the customer's identifier, a payload and,
// optionally, the endpoints that shall perform it. It is copied to every
// expected endpoint, and the manager there keeps one [TaskResult] for it. The
// task's status is never remembered, it is computed from those rows by
// [Summarize] and [NextStatus], and stored only along the legal moves of
// [TaskStatus.CanMoveTo].
//
// The package imports the standard library only and nothing else of tasker:
// storage, messages and HTTP are details of other packages.
package tasker
