package dispatch_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/dispatch"
	"github.com/taskerhq/tasker/internal/store/storetest"
)

// undeletable is a store that fails to delete a dead letter once.
type undeletable struct {
	*storetest.Flat
	fails bool
}

func (u *undeletable) DeleteDeadLetter(ctx context.Context, id int64) error {
	if u.fails {
		u.fails = false
		return errAway
	}
	return u.Flat.DeleteDeadLetter(ctx, id)
}

// store stores a dead letter of a queue.
func (f fixture) store(t *testing.T, queue string) (id int64) {
	t.Helper()
	if _, err := f.StoreDeadLetter(t.Context(), tasker.DeadLetter{
		Key: queue, Queue: queue, MessageID: "task-1",
		Body: []byte("\xff body"),
	}); err != nil {
		t.Fatal(err)
	}
	letters, err := f.ListDeadLetters(t.Context(), tasker.DeadLetterQuery{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	return letters[0].ID
}

// kept reports whether a letter is still stored.
func (f fixture) kept(t *testing.T, id int64) bool {
	t.Helper()
	_, err := f.FindDeadLetter(t.Context(), id)
	if err != nil && tasker.CodeOf(err) != tasker.NotFound {
		t.Fatal(err)
	}
	return err == nil
}

func TestRequeue(t *testing.T) {
	f := setUp(t)
	r := dispatch.NewRequeuer(dispatch.Config{}, f.Flat, f.broker)
	for i, target := range []broker.Target{broker.To("console1.example.com"), broker.ToAny()} {
		id := f.store(t, []string{"tasker.worker.console1.example.com", "tasker.worker.any"}[i])
		if err := r.Requeue(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		p := f.broker.published[i]
		if p.TaskType != "worker" || p.Target.Any() != target.Any() || !slices.Equal(p.Target.Endpoints(), target.Endpoints()) ||
			p.MessageID != "task-1" || string(p.Body) != "\xff body" {
			t.Errorf("published %+v", p)
		}
		if f.kept(t, id) {
			t.Error("the requeued letter was not deleted")
		}
		if err := r.Requeue(t.Context(), id); tasker.CodeOf(err) != tasker.NotFound {
			t.Errorf("once more: %v", err)
		}
	}
}

// A letter that cannot be requeued stays stored.
func TestRequeueFails(t *testing.T) {
	f := setUp(t)
	r := dispatch.NewRequeuer(dispatch.Config{}, f.Flat, f.broker)
	unserved := func(context.Context) (broker.Receipt, error) {
		return broker.Receipt{Unserved: []string{"console1"}}, nil
	}
	refused := func(context.Context) (broker.Receipt, error) { return broker.Receipt{}, errRefused }
	for queue, c := range map[string]struct {
		publish func(context.Context) (broker.Receipt, error)
		code    tasker.Code
		text    string
	}{
		"":                       {nil, tasker.Conflict, "it can only be discarded"},
		"amq.gen-x":              {nil, tasker.Conflict, "it came from amq.gen-x"},
		"tasker.worker.console1": {unserved, tasker.Conflict, "endpoint console1 has no queue for task type worker"},
		"tasker.worker.console2": {refused, tasker.Unavailable, "not confirmed"},
	} {
		f.broker.published, f.broker.publish = nil, c.publish
		id := f.store(t, queue)
		err := r.Requeue(t.Context(), id)
		if tasker.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%q: got %v, want %s with %q", queue, err, c.code, c.text)
		}
		if !f.kept(t, id) {
			t.Errorf("%q: the letter is gone", queue)
		}
		if (c.publish == nil) != (len(f.broker.published) == 0) {
			t.Errorf("%q: published %d times", queue, len(f.broker.published))
		}
	}
}

// After a crash between the confirm and the deletion, the letter can be requeued
// again.
func TestRequeueCrash(t *testing.T) {
	f := setUp(t)
	r := dispatch.NewRequeuer(dispatch.Config{}, &undeletable{Flat: f.Flat, fails: true}, f.broker)
	id := f.store(t, "tasker.worker.console1")
	if err := r.Requeue(t.Context(), id); !errors.Is(err, errAway) || !f.kept(t, id) {
		t.Errorf("got %v, kept: %t", err, f.kept(t, id))
	}
	if err := r.Requeue(t.Context(), id); err != nil || f.kept(t, id) || len(f.broker.published) != 2 {
		t.Errorf("got %v, kept: %t, published %d times", err, f.kept(t, id), len(f.broker.published))
	}
}
