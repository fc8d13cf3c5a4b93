package dispatch_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/dispatch"
	"github.com/taskerhq/tasker/internal/store"
	"github.com/taskerhq/tasker/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	errRefused = errors.New("the broker refused it")
	errAway    = tasker.Errorf(tasker.Unavailable, "the database is away")
)

// fakeBroker records what is published, and answers what the test says.
type fakeBroker struct {
	notReady  error
	publish   func(ctx context.Context) (broker.Receipt, error)
	published []broker.Publication
}

func (f *fakeBroker) Ready() error { return f.notReady }

func (f *fakeBroker) Publish(ctx context.Context, p broker.Publication) (broker.Receipt, error) {
	f.published = append(f.published, p)
	if f.publish == nil {
		return broker.Receipt{}, ctx.Err()
	}
	return f.publish(ctx)
}

// faultyStore fails where the test says so.
type faultyStore struct {
	*store.Store
	markFails, releaseFails bool
	marked                  int
}

func (f *faultyStore) MarkSent(ctx context.Context, task tasker.Task, unserved []string, seenWithin time.Duration) (tasker.Task, error) {
	f.marked++
	if f.markFails {
		return task, errAway
	}
	return f.Store.MarkSent(ctx, task, unserved, seenWithin)
}

func (f *faultyStore) ReleaseTask(ctx context.Context, taskID int64, after time.Duration) error {
	if f.releaseFails {
		return errAway
	}
	return f.Store.ReleaseTask(ctx, taskID, after)
}

// fixture is a stored task and what it is dispatched with.
type fixture struct {
	*faultyStore
	broker *fakeBroker
	task   tasker.Task
	clock  *time.Duration // how far it is ahead
}

func setUp(t *testing.T, endpoints ...string) fixture {
	t.Helper()
	t.Parallel()
	ahead := new(time.Duration)
	s, err := store.Open(store.Config{URI: "sqlite://" + filepath.Join(t.TempDir(), "tasker.db")}, slog.New(slog.DiscardHandler),
		store.WithClock(func() time.Time { return time.Now().Add(*ahead) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, _, err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	task, _, err := s.CreateTask(t.Context(), tasker.Task{
		Type: "worker", Identifier: "one", Payload: []byte(`{"foo":"bar"}`), Endpoints: endpoints,
	})
	if err != nil {
		t.Fatal(err)
	}
	return fixture{&faultyStore{Store: s}, &fakeBroker{}, task, ahead}
}

func (f fixture) dispatch(ctx context.Context, t *testing.T, cfg dispatch.Config) (tasker.Task, error) {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	return dispatch.New(cfg, f.faultyStore, f.broker, log).Dispatch(ctx, f.task)
}

func (f fixture) stored(t *testing.T) tasker.Task {
	t.Helper()
	task, err := f.FindTask(t.Context(), "worker", "one")
	if err != nil {
		t.Fatal(err)
	}
	return task
}

// claimable tells whether the relay gets the task now.
func (f fixture) claimable(t *testing.T) bool {
	t.Helper()
	claimed, err := f.ClaimUnsent(t.Context(), 10, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return len(claimed) == 1
}

func TestDispatch(t *testing.T) {
	for name, test := range map[string]struct {
		endpoints []string
		target    broker.Target
	}{
		"to all":          {nil, broker.ToAll()},
		"to those listed": {[]string{"console1", "console2"}, broker.To("console1", "console2")},
	} {
		t.Run(name, func(t *testing.T) {
			f := setUp(t, test.endpoints...)
			sent, err := f.dispatch(t.Context(), t, dispatch.Config{})
			if err != nil || sent.Status != tasker.Sent || sent.SentTime == nil {
				t.Fatalf("got %+v, %v", sent, err)
			}
			if stored := f.stored(t); stored.Status != tasker.Sent {
				t.Errorf("the stored task is %s", stored.Status)
			}
			if f.claimable(t) {
				t.Error("the relay gets a task that was sent")
			}
			body, err := wire.EncodeTask(f.task)
			if err != nil {
				t.Fatal(err)
			}
			want := []broker.Publication{{TaskType: "worker", Target: test.target, MessageID: wire.MessageID(f.task.ID), Body: body}}
			if !reflect.DeepEqual(f.broker.published, want) {
				t.Errorf("published %+v, want %+v", f.broker.published, want)
			}
		})
	}
}

// A task of which all listed endpoints were removed is for nobody, not for all.
func TestDispatchToNobody(t *testing.T) {
	f := setUp(t, "console1", "console2")
	f.task.RemovedEndpoints = []string{"console1", "console2"}
	if sent, err := f.dispatch(t.Context(), t, dispatch.Config{}); err != nil || sent.Status != tasker.Sent {
		t.Fatalf("got %+v, %v", sent, err)
	}
	if len(f.broker.published) > 0 {
		t.Errorf("published %+v", f.broker.published)
	}
}

// TestPublishFails leaves the task CREATED. The relay gets it after a pause, in
// which others have their turn.
func TestPublishFails(t *testing.T) {
	f := setUp(t)
	f.broker.publish = func(context.Context) (broker.Receipt, error) { return broker.Receipt{}, errRefused }
	if f.claimable(t) {
		t.Fatal("the relay gets a task that its API is publishing")
	}
	task, err := f.dispatch(t.Context(), t, dispatch.Config{})
	if !errors.Is(err, errRefused) || task.ID != f.task.ID || task.Status != tasker.Created {
		t.Errorf("got %+v, %v", task, err)
	}
	if f.marked != 0 || f.stored(t).Status != tasker.Created {
		t.Errorf("the task was marked as sent: %s", f.stored(t).Status)
	}
	if f.claimable(t) {
		t.Error("the relay gets a task at once that the broker refused")
	}
	*f.clock = 6 * time.Second
	if !f.claimable(t) {
		t.Error("the relay does not get the task")
	}
}

// TestPublishTakesTooLong ends within the time configured, and releases the
// task all the same.
func TestPublishTakesTooLong(t *testing.T) {
	f := setUp(t)
	f.broker.publish = func(ctx context.Context) (broker.Receipt, error) {
		<-ctx.Done()
		return broker.Receipt{}, context.Cause(ctx)
	}
	if _, err := f.dispatch(t.Context(), t, dispatch.Config{Timeout: time.Millisecond}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if !f.claimable(t) {
		t.Error("the relay does not get the task")
	}
}

// TestReleaseFails too: the relay takes the task later, and the error is that
// of the publish.
func TestReleaseFails(t *testing.T) {
	f := setUp(t)
	f.releaseFails = true
	f.broker.publish = func(context.Context) (broker.Receipt, error) { return broker.Receipt{}, errRefused }
	if _, err := f.dispatch(t.Context(), t, dispatch.Config{}); !errors.Is(err, errRefused) {
		t.Errorf("got %v", err)
	}
	if stored := f.stored(t); stored.Status != tasker.Created {
		t.Errorf("the stored task is %s", stored.Status)
	}
}

// TestNotReady does not wait for a broker that is away.
func TestNotReady(t *testing.T) {
	f := setUp(t)
	f.broker.notReady = broker.ErrNotConnected
	task, err := f.dispatch(t.Context(), t, dispatch.Config{})
	if !errors.Is(err, broker.ErrNotConnected) || task.Status != tasker.Created {
		t.Errorf("got %+v, %v", task, err)
	}
	if len(f.broker.published) != 0 {
		t.Error("it was published to a broker that is not ready")
	}
	if !f.claimable(t) {
		t.Error("the relay does not get the task")
	}
}

// TestMarkSentFails after the publish: the task stays CREATED, for the relay,
// and its message goes out twice, with the same id.
func TestMarkSentFails(t *testing.T) {
	f := setUp(t)
	f.markFails = true
	task, err := f.dispatch(t.Context(), t, dispatch.Config{})
	if tasker.CodeOf(err) != tasker.Unavailable || task.ID != f.task.ID {
		t.Errorf("got %+v, %v", task, err)
	}
	if stored := f.stored(t); stored.Status != tasker.Created || stored.SentTime != nil {
		t.Errorf("the stored task is %+v", stored)
	}
	f.markFails = false
	if task, err = f.dispatch(t.Context(), t, dispatch.Config{}); err != nil || task.Status != tasker.Sent {
		t.Errorf("the second time: %+v, %v", task, err)
	}
	if p := f.broker.published; len(p) != 2 || p[0].MessageID != p[1].MessageID || !slices.Equal(p[0].Body, p[1].Body) {
		t.Errorf("published %+v", p)
	}
}

// TestUnserved records the listed endpoints that have no queue. They stay
// expected.
func TestUnserved(t *testing.T) {
	f := setUp(t, "console1", "console2")
	f.broker.publish = func(context.Context) (broker.Receipt, error) {
		return broker.Receipt{Unserved: []string{"console2"}}, nil
	}
	if _, err := f.dispatch(t.Context(), t, dispatch.Config{}); err != nil {
		t.Fatal(err)
	}
	stored := f.stored(t)
	if stored.Status != tasker.Sent || !slices.Equal(stored.Unserved, []string{"console2"}) ||
		!slices.Equal(stored.Expected, []string{"console1", "console2"}) {
		t.Errorf("the stored task is %+v", stored)
	}
}

// TestUnrouted is no error: a task for all that nobody has subscribed to is
// sent, and INCOMPLETE later.
func TestUnrouted(t *testing.T) {
	f := setUp(t)
	f.broker.publish = func(context.Context) (broker.Receipt, error) { return broker.Receipt{Unrouted: true}, nil }
	if task, err := f.dispatch(t.Context(), t, dispatch.Config{}); err != nil || task.Status != tasker.Sent {
		t.Errorf("got %+v, %v", task, err)
	}
}

// TestCallerLeaves does not stop a dispatch, neither before nor during it.
func TestCallerLeaves(t *testing.T) {
	f := setUp(t)
	ctx, leave := context.WithCancel(t.Context())
	f.broker.publish = func(ctx context.Context) (broker.Receipt, error) {
		leave()
		return broker.Receipt{}, ctx.Err()
	}
	for range 2 {
		if task, err := f.dispatch(ctx, t, dispatch.Config{}); err != nil || task.Status != tasker.Sent {
			t.Errorf("got %+v, %v", task, err)
		}
	}
}
