package handlers

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/taskerhq/tasker"
)

// The causes of the end of a handler's context, for context.Cause.
var (
	ErrTimeout  = errors.New("the task ran longer than its task type allows")
	ErrCanceled = errors.New("the task was canceled")
	ErrShutdown = errors.New("the manager is stopping")
)

// ErrContinueAfterReboot is the error, wrapped or not, of a handler that has asked the
// machine to reboot and wants to continue afterwards. The result stays RUNNING,
// and the manager that starts after the reboot calls the handler again: as the
// next [Request.Step] of the same attempt. If the machine does not reboot within
// the run limit, the result is TIMED_OUT.
var ErrContinueAfterReboot = errors.New("the attempt continues after a reboot")

type rebootError struct {
	reboot func(context.Context) error
}

func (*rebootError) Error() string        { return ErrContinueAfterReboot.Error() }
func (*rebootError) Is(target error) bool { return target == ErrContinueAfterReboot }

// RebootAndContinue returns an [ErrContinueAfterReboot] for a handler that does not
// reboot the machine itself: reboot is called once it is stored that the attempt
// continues. If reboot fails, so does the attempt.
func RebootAndContinue(reboot func(ctx context.Context) error) error {
	return &rebootError{reboot}
}

// Reboot calls the function that was passed to [RebootAndContinue]. For any other error
// it does nothing.
func Reboot(ctx context.Context, err error) error {
	if r, ok := errors.AsType[*rebootError](err); ok && r.reboot != nil {
		return r.reboot(ctx)
	}
	return nil
}

type timedOutError struct{ err error }

func (e *timedOutError) Error() string      { return e.err.Error() }
func (e *timedOutError) Unwrap() error      { return e.err }
func (*timedOutError) Is(target error) bool { return target == ErrTimeout }

// TimedOut marks err as an [ErrTimeout] because a limit that the handler itself has
// set, such as one in the payload, has expired. The result is TIMED_OUT. Unlike
// one whose task type's run limit has expired, it may be retried. TimedOut(nil)
// is nil.
func TimedOut(err error) error {
	if err == nil {
		return nil
	}
	return &timedOutError{err}
}

type permanentError struct{ err error }

func (e *permanentError) Error() string { return e.err.Error() }
func (e *permanentError) Unwrap() error { return e.err }

// Permanent marks err so that the run is not retried. Permanent(nil) is nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanentError{err}
}

// IsPermanent reports whether err, or an error it wraps, is marked [Permanent].
func IsPermanent(err error) bool {
	_, ok := errors.AsType[*permanentError](err)
	return ok
}

type retryAfterError struct {
	err   error
	delay time.Duration
}

func (e *retryAfterError) Error() string { return e.err.Error() }
func (e *retryAfterError) Unwrap() error { return e.err }

const (
	// MaxAskedAttempts bounds the attempts of a task whose handler asks for them
	// with [RetryAfter], if its type has no retry policy.
	MaxAskedAttempts = 10
	// MaxAskedDelay bounds the delay that a handler may ask for; a longer one is
	// reduced to it.
	MaxAskedDelay = 30 * 24 * time.Hour
)

// RetryAfter asks for a next run after delay. If the task type has a retry policy, the
// policy decides whether there is a next run, and delay replaces its pause;
// otherwise there are at most [MaxAskedAttempts]. RetryAfter(d, nil) is nil.
func RetryAfter(delay time.Duration, err error) error {
	if err == nil {
		return nil
	}
	return &retryAfterError{err, delay}
}

// RetryDelay returns the delay that err, or an error it wraps, asks for with
// [RetryAfter].
func RetryDelay(err error) (delay time.Duration, ok bool) {
	if r, ok := errors.AsType[*retryAfterError](err); ok {
		return r.delay, true
	}
	return 0, false
}

type codedError struct {
	err   error
	errnr int
}

func (e *codedError) Error() string { return e.err.Error() }
func (e *codedError) Unwrap() error { return e.err }

// WithCode adds the error number of the task's result to err. It must be positive,
// since negative ones are tasker's own, and fit into 32 bits. WithCode(n, nil) is
// nil.
func WithCode(errnr int, err error) error {
	if err == nil {
		return nil
	}
	return &codedError{err, errnr}
}

// Errnr returns the error number of a handler's error: 0 for nil, the number of
// [WithCode] if it is valid, otherwise [tasker.ErrnrHandler].
func Errnr(err error) int {
	if err == nil {
		return 0
	}
	if c, ok := errors.AsType[*codedError](err); ok && c.errnr > 0 && c.errnr <= math.MaxInt32 {
		return c.errnr
	}
	return tasker.ErrnrHandler
}
