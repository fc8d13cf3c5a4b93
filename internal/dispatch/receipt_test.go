package dispatch_test

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// receive records a task at an endpoint.
func (f fixture) receive(t *testing.T, endpoint string) {
	t.Helper()
	got, err := f.ReceiveResults(t.Context(), []ledger.Incoming{{
		ResultKey: tasker.ResultKey{TaskID: f.task.ID, Endpoint: endpoint}, Manager: "01AAAAAAAAAAAAAAAAAAAAAAAA",
		Identifier: f.task.Identifier, Type: f.task.Type, State: tasker.Received,
	}})
	if err != nil || got[0].Outcome != ledger.Recorded {
		t.Fatal(got, err)
	}
}

// A task for all is sent when an endpoint has received it, however long the confirm
// for all queues takes. If that does not come, the message is published again.
func TestSentWhenReceived(t *testing.T) {
	for name, cut := range map[string]error{"confirmed late": nil, "cut": broker.ErrUnconfirmed} {
		t.Run(name, func(t *testing.T) {
			f := setUp(t)
			f.register(t, "console1", "console2")
			end := make(chan struct{})
			f.broker.publish = func(ctx context.Context) (broker.Receipt, error) {
				select {
				case <-end:
				case <-ctx.Done():
				}
				if f.broker.count() > 1 {
					return broker.Receipt{}, nil
				}
				return broker.Receipt{}, cut
			}
			d := f.dispatcher(t, slow)
			answered := make(chan tasker.Task, 1)
			go func() {
				sent, err := d.Dispatch(t.Context(), f.task)
				if err != nil {
					t.Error(err)
				}
				answered <- sent
			}()
			f.receive(t, "console1")
			if sent := <-answered; sent.Status != tasker.Sent || f.stored(t).Status != tasker.Sent {
				t.Errorf("answered %+v", sent)
			}
			close(end)
			want := 1
			if cut != nil {
				want = 2
			}
			deadline := time.Now().Add(time.Minute)
			for f.broker.count() < want && time.Now().Before(deadline) {
				runtime.Gosched()
			}
			d.Close()
			if n := f.broker.count(); n != want || f.broker.twice {
				t.Errorf("published %d times, want %d; again before its confirm: %t", n, want, f.broker.twice)
			}
		})
	}
}
