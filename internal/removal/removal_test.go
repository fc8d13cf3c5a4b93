package removal

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker"
)

// world is a store and a broker with at most one open removal.
type world struct {
	now     time.Time
	current bool
	ended   bool
	away    error // of the broker
	inUse   error // of the deletion of a queue
	deleted []string
}

var removed = tasker.Removal{Endpoint: "a", TaskTypes: []string{"backup", "worker"}, Time: time.Date(2026, 5, 6, 1, 14, 24, 0, time.UTC)}

func (w *world) RemoveEndpoint(context.Context, string) (tasker.Removal, error) {
	w.current = true
	return removed, nil
}
func (w *world) DetachEndpoint(context.Context, tasker.Removal) (int, error)  { return 2, nil }
func (w *world) RemovalCurrent(context.Context, tasker.Removal) (bool, error) { return w.current, nil }

func (w *world) EndRemoval(context.Context, tasker.Removal) error {
	w.ended = true
	return nil
}

func (w *world) Removals(context.Context, int) ([]tasker.Removal, error) {
	return []tasker.Removal{removed}, nil
}
func (w *world) Now() time.Time { return w.now }
func (w *world) Ready() error   { return w.away }
func (w *world) DeleteQueue(_ context.Context, q broker.Queue) error {
	if w.inUse == nil {
		w.deleted = append(w.deleted, q.Name())
	}
	return w.inUse
}

func newWorld() (*world, *Remover) {
	w := &world{now: removed.Time.Add(time.Second)}
	return w, New(w, w, slog.New(slog.DiscardHandler))
}

var queues = []string{"tasker.backup.a", "tasker.worker.a"}

func TestRemove(t *testing.T) {
	for name, test := range map[string]struct {
		away, inUse error
		deleted     []string
	}{
		"all at once":          {nil, nil, queues},
		"no broker":            {broker.ErrNotConnected, nil, nil},
		"queue has a consumer": {nil, broker.ErrInUse, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w, r := newWorld()
			w.away, w.inUse = test.away, test.inUse
			_, tasks, left, err := r.Remove(t.Context(), "a")
			if err != nil || tasks != 2 || left != (test.deleted == nil) || !slices.Equal(w.deleted, test.deleted) {
				t.Errorf("%d tasks, queues left %v, deleted %v, %v", tasks, left, w.deleted, err)
			}
		})
	}
}

// A removal stays open until its queues are deleted, and at least for the grace
// period.
func TestCarryOn(t *testing.T) {
	w, r := newWorld()
	w.current, w.away = true, broker.ErrNotConnected
	w.now = removed.Time.Add(time.Hour)
	if err := r.runOnce(t.Context()); !errors.Is(err, broker.ErrNotConnected) || w.ended {
		t.Errorf("without the broker: ended %v, %v", w.ended, err)
	}
	w.away, w.now = nil, removed.Time.Add(grace/2)
	if err := r.runOnce(t.Context()); err != nil || w.ended || !slices.Equal(w.deleted, queues) {
		t.Errorf("soon after: ended %v, deleted %v, %v", w.ended, w.deleted, err)
	}
	w.now = removed.Time.Add(grace)
	if err := r.runOnce(t.Context()); err != nil || !w.ended {
		t.Errorf("later: ended %v, %v", w.ended, err)
	}
}

// The queues of an endpoint that registered again are not deleted.
func TestRegisteredAnew(t *testing.T) {
	w, r := newWorld()
	if err := r.runOnce(t.Context()); err != nil || len(w.deleted) > 0 {
		t.Errorf("deleted %v, %v", w.deleted, err)
	}
}
