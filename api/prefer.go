package api

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/x/netlimit"
)

const (
	// maxPreferredWait is the longest time that a request waits for the end of a
	// task, whatever it prefers.
	maxPreferredWait = 30 * time.Second
	// firstPause is the minimum time between the first two reads of such a request:
	// brief tasks have ended by then. It doubles from read to read.
	firstPause = 10 * time.Millisecond
)

// preferredWait returns how long a client prefers to wait for the end of a task: the
// preference "wait" of its Prefer headers, in whole seconds (RFC 7240, section 4.3),
// at most maxPreferredWait, and 0 without one. Other preferences are ignored, as the
// RFC demands, and of several the first one counts.
func preferredWait(header http.Header) (time.Duration, error) {
	for _, line := range header.Values("Prefer") {
		for preference := range strings.SplitSeq(line, ",") {
			preference, _, _ = strings.Cut(preference, ";") // from its parameters
			name, value, _ := strings.Cut(preference, "=")
			if !strings.EqualFold(strings.TrimSpace(name), "wait") {
				continue
			}
			value = strings.Trim(strings.TrimSpace(value), `"`)
			seconds, err := strconv.ParseUint(value, 10, 32)
			if err != nil {
				return 0, tasker.Errorf(tasker.Malformed,
					"invalid Prefer header: wait must be a whole number of seconds, such as wait=20, not %q", clip(value, tasker.MaxName))
			}
			return min(time.Duration(seconds)*time.Second, maxPreferredWait), nil
		}
	}
	return 0, nil
}

// waiter has requests wait for the end of a task. A waiting request counts as an
// event stream: it neither holds up others nor the stop of the server, and their
// number is limited.
type waiter struct {
	reader  *taskReader
	streams *streams
	log     *slog.Logger
}

// wait waits until the task has ended or waits for a person, for the preferred time at most, and reports
// whether it waited at all: too many others may do so. Then the response says that
// the preference was applied. The error is [tasker.NotFound] if there is no such task.
func (wt *waiter) wait(w http.ResponseWriter, r *http.Request, taskType, identifier string) (waited bool, err error) {
	limit, err := preferredWait(r.Header)
	if err != nil || limit == 0 {
		return false, err
	}
	release, err := wt.streams.acquire(netlimit.Host(r.RemoteAddr))
	if err != nil {
		return false, nil //nolint:nilerr // the task is returned as it is
	}
	defer release()
	ctx, cancel := context.WithTimeout(r.Context(), limit)
	defer cancel()
	hints, leave := wt.streams.hub.followTask(taskKey{taskType, identifier}, 0) //nolint:contextcheck // the subscription is shared
	defer leave()
	if err := wt.until(ctx, hints.wake, taskType, identifier); err != nil {
		return false, err
	}
	w.Header().Set("Preference-Applied", "wait="+strconv.Itoa(int(limit/time.Second)))
	return true, nil
}

// acquire waits like wait, and then takes a slot for the response.
func (wt *waiter) acquire(w http.ResponseWriter, r *http.Request, taskType, identifier string, slots *limiter) (release func(), err error) {
	if _, err := wt.wait(w, r, taskType, identifier); err != nil {
		return nil, err
	}
	return slots.acquire(r.Context())
}

// awaitPosted waits like wait, and returns the task as it is then, or as it was: it
// is accepted, whatever happens meanwhile.
func (wt *waiter) awaitPosted(w http.ResponseWriter, r *http.Request, task tasker.Task) tasker.Task {
	waited, err := wt.wait(w, r, task.Type, task.Identifier)
	if !waited || err != nil {
		return task
	}
	now, _, err := wt.reader.summary(r.Context(), task.Type, task.Identifier)
	if err != nil || now.ID != task.ID {
		return task
	}
	now.Payload, now.PayloadSize = task.Payload, task.PayloadSize
	return now
}

// until returns once the task has ended or waits for a person, ctx has ended, or the server stops; or with an
// error if there is no such task.
func (wt *waiter) until(ctx context.Context, wake <-chan struct{}, taskType, identifier string) error {
	reads := newPace(wt.streams.poll)
	defer reads.stop()
	for pause := firstPause; ; pause = min(2*pause, wt.streams.pause) {
		select {
		case <-ctx.Done():
			return nil
		case <-wt.streams.stopped:
			return nil
		case <-wake:
			reads.hint()
		case <-reads.due():
			begun := time.Now()
			ended, err := wt.ended(ctx, taskType, identifier)
			switch {
			case ended:
				return nil
			case tasker.CodeOf(err) == tasker.NotFound:
				return err
			case err != nil && ctx.Err() == nil:
				wt.log.WarnContext(ctx, "look at an awaited task failed", "err", err, "request_id", contextInfo(ctx).id)
			}
			reads.done(begun, pause)
		}
	}
}

// ended reports whether the task has ended, or its rollout waits for a person.
func (wt *waiter) ended(ctx context.Context, taskType, identifier string) (ended bool, err error) {
	err = wt.streams.read(ctx, func(ctx context.Context) error {
		task, _, err := wt.reader.summary(ctx, taskType, identifier)
		ended = task.Status.Final() || waitsForPerson(task.Rollout)
		return err
	})
	return ended, err
}
