// Package rollout decides how a task goes through a fleet: in waves, or through
// a window of so many endpoints at once, until it is done or too many endpoints
// are bad. It is pure: it has no database, no clock and no goroutine. Its caller
// keeps the [Record] of each rollout and the wave of each endpoint as rows,
// counts the rows into a [View], asks [Decide] what to do, and stores the answer
// by a guarded update. Several callers may do so at once.
//
// # Waves
//
// N is the number of endpoints that the task is for, frozen when it is accepted
// and without duplicates. A list of batches is cumulative: [1, "10%", "100%"]
// is "until 1, until 10 %, until all have been tried". It must rise, and end at
// "100%", or at N or more. A percentage of N is rounded up, so it is at least 1.
// A border that has been passed already adds no wave, so a small N has fewer
// waves. A single batch, 5 or "10%", is the size of every wave. The answer to
// the POST has the resolved [Plan]; that, not the arithmetic, is the contract.
//
// Instead of waves, max_concurrency is a window: as many endpoints are open at
// once. It is rounded as a batch. With ramp, the window begins at 1 and doubles
// as endpoints succeed: it is the largest power of two that is at most one more
// than the number that are DONE.
//
// With splay, each endpoint of a wave begins after a delay of its own, at random
// between 0 and splay; its receive deadline counts from there. With skip_silent,
// endpoints that were not seen for so long are left out when the endpoints are
// frozen, and named.
//
// # Failures
//
// An endpoint is bad if its result is FAILED after the last attempt, TIMED_OUT,
// REJECTED, EXPIRED or LOST; if it is unreached, that is has no result at its
// receive deadline, unless unreached is "ignore"; or if it is late, that is
// unfinished when wave_timeout ended its wave. RETRYING, CANCELED and SUPERSEDED
// are not bad. Bad endpoints are counted from rows each time: a LOST one that
// comes back as DONE no longer counts, and one that is retried counts by its
// latest attempt.
//
// max_failures is how many bad endpoints are tolerated in the whole rollout,
// 0 by default; one more halts it. A percentage of N is rounded down: 10 % of 50
// tolerates 5, and the sixth halts. wave_max_failures is the same for each wave,
// a percentage being one of the wave's size; by default the first wave tolerates
// none, and the others have no limit of their own. The plan has both as halts_at.
// That a wave fails as a whole is nothing special.
//
// # The end of a wave
//
// A wave ends when all its endpoints are settled: finished, LOST or unreached;
// or when proceed_at of them are, a percentage rounded up; or when wave_timeout
// has passed since it opened, or since the rollout was resumed if that was
// later. Its time does not run while the rollout is halted or paused. Then the
// soak begins, which lasts for pause and has no effect after the last wave. An
// endpoint that becomes bad during the soak counts.
// Then the next wave opens, or waits for an approval. An approval is asked for
// between two entries of batch; if entries fall together, it is kept, before the
// next wave that opens.
//
// # Halt, pause, resume
//
// Too many bad endpoints halt the rollout, in every state but CANCELED and DONE.
// From then on no endpoint starts, including those that have received the task
// and wait for a slot. Those that have begun finish, with their automatic
// retries, or are canceled if on_halt is "cancel". So there may be more bad ones
// than tolerated: at most the rest of the wave, and those of earlier waves that
// were not finished. The plan has the number as bad_at_most. A rollout that
// halted stays so although a bad endpoint turns out well.
//
// HALTED is what the rollout did, PAUSED what a person did. Resuming a halted
// rollout forgives the endpoints that are bad now, which is to be shown and
// audited, and counts from zero. A forgiven endpoint that is retried counts
// again; one that was only late and then fails counts, too. Resuming a paused
// one forgives nobody. Resuming with all promotes the rollout: it no longer
// waits for waves to end, and soaks no more; with a window, the ramp ends. Limits
// and approvals stay. Cancel works in every state.
//
// # The end
//
// A rollout is DONE as soon as every endpoint is settled and none is late,
// whatever state it was in: there is nothing left to halt, to approve or to
// resume. So a failure of the very last endpoint ends it, and is told by the
// task's status. CANCELED is a person's.
//
// # Idempotence
//
// The same input has the same decision. A decision has the record to be stored,
// with the version after the one it was made from:
//
//	UPDATE rollouts SET ..., version = :next WHERE task_id = :task AND version = :next - 1
//
// An update that changes no row has been overtaken, which is an ordinary
// outcome: read again. What else a decision demands of the rows (opening waves,
// marking endpoints late, canceling the running ones) belongs to the same
// transaction. Each decision is one step, so that a crash between two steps
// leaves a record from which the next caller goes on.
package rollout
