package dispatch_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/dispatch"
)

// After a failed publish the task stays CREATED, and the relay can claim it after
// a pause.
func TestPublishFails(t *testing.T) {
	f := setUp(t)
	f.broker.publish = func(context.Context) (broker.Receipt, error) { return broker.Receipt{}, errRefused }
	if f.claimable(t) {
		t.Fatal("the relay can claim a task that the API is publishing")
	}
	task, err := f.dispatch(t.Context(), t, dispatch.Config{})
	if !errors.Is(err, errRefused) || task.ID != f.task.ID || task.Status != tasker.Created {
		t.Errorf("got %+v, %v", task, err)
	}
	if f.marked.Load() != 0 || f.stored(t).Status != tasker.Created {
		t.Errorf("the task was marked as sent: %s", f.stored(t).Status)
	}
	if f.claimable(t) {
		t.Error("no pause after the broker refused the task")
	}
	if total, refused, err := f.RefusedTasks(t.Context(), 10); err != nil || total != 1 || refused[0].Reason != errRefused.Error() {
		t.Errorf("refused: %d %+v, %v", total, refused, err)
	}
	*f.clock = 7 * time.Second
	claimed, err := f.ClaimUnsent(t.Context(), 10, time.Minute)
	if err != nil || len(claimed) != 1 {
		t.Fatalf("the relay cannot claim the task: %v, %v", claimed, err)
	}
	// From now on it is published apart, with growing pauses.
	if _, err := f.dispatcher(t, slow).Resume(t.Context(), claimed[0]); !errors.Is(err, errRefused) {
		t.Errorf("got %v", err)
	}
	if p := f.broker.published; len(p) != 2 || p[0].Apart || !p[1].Apart {
		t.Errorf("published %+v", p)
	}
	*f.clock = 7*time.Second + 9*time.Second
	if f.claimable(t) {
		t.Error("the second pause is not longer than the first")
	}
	*f.clock += 5 * time.Second
	if !f.claimable(t) {
		t.Error("the relay cannot claim the task after the second pause")
	}
}

// A publish that takes too long goes on without its caller until the confirm, and
// nobody publishes the task again meanwhile.
func TestPublishTakesTooLong(t *testing.T) {
	f := setUp(t)
	confirm := make(chan struct{})
	f.broker.publish = func(ctx context.Context) (broker.Receipt, error) {
		<-confirm
		return broker.Receipt{}, ctx.Err()
	}
	d := f.dispatcher(t, dispatch.Config{Timeout: time.Millisecond})
	if task, err := d.Dispatch(t.Context(), f.task); !errors.Is(err, dispatch.ErrOutstanding) || task.Status != tasker.Created {
		t.Errorf("got %+v, %v", task, err)
	}
	if f.claimable(t) {
		t.Error("the relay can claim a task that may still be confirmed")
	}
	*f.clock = time.Hour // as if the claim had not been renewed
	claimed, err := f.ClaimUnsent(t.Context(), 10, time.Minute)
	if err != nil || len(claimed) != 1 {
		t.Fatal(claimed, err)
	}
	if _, err := d.Resume(t.Context(), claimed[0]); !errors.Is(err, dispatch.ErrOutstanding) {
		t.Errorf("got %v", err)
	}
	close(confirm)
	for deadline := time.Now().Add(time.Minute); f.stored(t).Status != tasker.Sent; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("task is %s", f.stored(t).Status)
		}
	}
	d.Close()
	if n := len(f.broker.published); n != 1 {
		t.Errorf("task published %d times", n)
	}
}

// Close releases the task to the relay.
func TestCloseEndsAttempts(t *testing.T) {
	f := setUp(t)
	f.broker.publish = func(ctx context.Context) (broker.Receipt, error) {
		<-ctx.Done()
		return broker.Receipt{}, context.Cause(ctx)
	}
	d := f.dispatcher(t, dispatch.Config{Timeout: time.Millisecond})
	if _, err := d.Dispatch(t.Context(), f.task); !errors.Is(err, dispatch.ErrOutstanding) {
		t.Errorf("got %v", err)
	}
	d.Close()
	if f.claimable(t) {
		t.Error("the relay can claim the task without a pause")
	}
	*f.clock = 2 * time.Second
	if !f.claimable(t) {
		t.Error("the relay cannot claim the task")
	}
}

// If the release fails as well, the relay claims the task later; the error
// returned is that of the publish.
func TestReleaseFails(t *testing.T) {
	f := setUp(t)
	f.releaseFails = true
	f.broker.publish = func(context.Context) (broker.Receipt, error) { return broker.Receipt{}, errRefused }
	if _, err := f.dispatch(t.Context(), t, dispatch.Config{}); !errors.Is(err, errRefused) {
		t.Errorf("got %v", err)
	}
	if stored := f.stored(t); stored.Status != tasker.Created {
		t.Errorf("stored task: %s", stored.Status)
	}
}

// A dispatch does not wait for a broker that is not ready.
func TestNotReady(t *testing.T) {
	f := setUp(t)
	f.broker.notReady = broker.ErrNotConnected
	task, err := f.dispatch(t.Context(), t, dispatch.Config{})
	if !errors.Is(err, broker.ErrNotConnected) || task.Status != tasker.Created {
		t.Errorf("got %+v, %v", task, err)
	}
	if len(f.broker.published) != 0 {
		t.Error("published to a broker that is not ready")
	}
	if !f.claimable(t) {
		t.Error("the relay cannot claim the task")
	}
}

// If marking the task as sent fails, it stays CREATED, and the relay publishes its
// message again with the same id.
func TestMarkSentFails(t *testing.T) {
	f := setUp(t)
	f.markFails = true
	task, err := f.dispatch(t.Context(), t, slow)
	if tasker.CodeOf(err) != tasker.Unavailable || task.ID != f.task.ID {
		t.Errorf("got %+v, %v", task, err)
	}
	if stored := f.stored(t); stored.Status != tasker.Created || stored.SentTime != nil {
		t.Errorf("stored task: %+v", stored)
	}
	if n := f.marked.Load(); n < 2 {
		t.Errorf("tried to mark the task %d times before publishing it again", n)
	}
	f.markFails = false
	if task, err = f.dispatch(t.Context(), t, dispatch.Config{}); err != nil || task.Status != tasker.Sent {
		t.Errorf("the second time: %+v, %v", task, err)
	}
	if p := f.broker.published; len(p) != 2 || p[0].MessageID != p[1].MessageID || !slices.Equal(p[0].Body, p[1].Body) {
		t.Errorf("published %+v", p)
	}
}
