package cli

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Interrupted is the cause of the end of a context that a signal has ended.
type Interrupted struct{ Signal os.Signal }

// Error names the signal.
func (i *Interrupted) Error() string { return "interrupted by signal: " + i.Signal.String() }

// code returns the exit code of a program that the signal ends: 128 and its number.
func (i *Interrupted) code() int {
	const base = 128
	if number, ok := i.Signal.(syscall.Signal); ok {
		return base + int(number)
	}
	return ExitFailure
}

// interruption returns the signal that ended a context, or nil.
func interruption(ctx context.Context) *Interrupted {
	i, _ := errors.AsType[*Interrupted](context.Cause(ctx))
	return i
}

// signalsTogether is how long further signals count as the first one: timeout(1) sends
// it to the process and then to its group, a terminal and a supervisor may both send one.
const signalsTogether = 100 * time.Millisecond

// untilSignal returns a context that the first INT or TERM ends, with an
// [*Interrupted] as its cause. Another one that comes later than together ends the
// process at once.
func untilSignal(together time.Duration) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case s := <-signals:
			time.AfterFunc(together, func() { signal.Stop(signals) })
			cancel(&Interrupted{s})
		case <-ctx.Done():
			signal.Stop(signals)
		}
	}()
	return ctx, func() { cancel(context.Canceled) }
}
