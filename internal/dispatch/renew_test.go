package dispatch_test

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/dispatch"
)

// renewals is a store that counts them.
type renewals struct {
	dispatch.Store // panics where it is used
	count          atomic.Int32
}

func (r *renewals) RenewUnsent(context.Context, int64, int, time.Duration) error {
	r.count.Add(1)
	return nil
}

func (r *renewals) RegisteredEndpoints(context.Context, string, []string) ([]string, error) {
	return []string{"a"}, nil
}

func (r *renewals) OldestProtocol(context.Context, string, time.Duration) (int, error) { return 0, nil }

func (r *renewals) MarkSent(_ context.Context, task tasker.Task, _ []string) (tasker.Task, error) {
	return task, nil
}

// The claim on a task is renewed before it ends, as long as the broker has not
// confirmed the message, and not after that.
func TestClaimIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &renewals{}
		confirmed := make(chan struct{})
		b := &fakeBroker{publish: func(context.Context) (broker.Receipt, error) {
			<-confirmed
			return broker.Receipt{}, nil
		}}
		d := dispatch.New(dispatch.Config{Timeout: time.Second}, s, b, slog.New(slog.DiscardHandler))
		task := tasker.Task{ID: 1, Type: "job", Identifier: "one", Endpoints: []string{"a"}}
		if _, err := d.Dispatch(t.Context(), task); err == nil {
			t.Error("the dispatch has ended before the confirm")
		}
		time.Sleep(dispatch.Lease - 2*time.Second)
		if n := s.count.Load(); n < 2 {
			t.Errorf("renewed %d times before the claim ends, want 2", n)
		}
		close(confirmed)
		synctest.Wait()
		n := s.count.Load()
		time.Sleep(2 * dispatch.Lease)
		if now := s.count.Load(); now != n {
			t.Errorf("renewed %d times after the confirm, want none", now-n)
		}
		d.Close()
	})
}
