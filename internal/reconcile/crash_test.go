package reconcile

import (
	"testing"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/wire"
)

// TestCrashBeforeSent: the API process died after it had published a task,
// before or after the confirm, and before it was marked as sent. The endpoints
// may have finished it by then. It stays CREATED until the relay has sent it
// once more; then its status follows from the results.
func TestCrashBeforeSent(t *testing.T) {
	for name, early := range map[string][]string{
		"nobody has received it": nil,
		"one is through":         {"console1"},
		"all are through":        {"console1", "console2"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			all := []string{"console1", "console2"}
			w.register(all...)
			task := w.create("one")
			body, err := wire.EncodeTask(task)
			if err != nil {
				t.Fatal(err)
			}
			published := broker.Publication{TaskType: task.Type, Target: broker.ToAll(), MessageID: wire.MessageID(task.ID), Body: body}
			if _, err := w.broker.Publish(t.Context(), published); err != nil {
				t.Fatal(err)
			}
			// Here it died.
			if len(early) > 0 {
				w.receive(task, early...)
				w.finish(task, tasker.ResultDone, early...)
			}
			a, i, r := w.aggregate(), w.incomplete(), w.relay()
			for range 2 {
				w.run(a.runOnce)
				w.run(i.runOnce)
				w.run(r.runOnce)
				w.expect(tasker.Created, task)
			}
			w.clock.advance(grace)
			w.run(w.relay().runOnce)
			if n := w.broker.published[wire.MessageID(task.ID)]; n != 2 {
				t.Errorf("it was published %d times, want 2", n)
			}
			if summary := w.summary(task); summary.Expected != len(all) || summary.Finished != len(early) {
				t.Errorf("sent, it has the summary %+v", summary)
			}
			// The second message reaches each of them.
			messages := make([]ledger.Incoming, len(all))
			for i, endpoint := range all {
				messages[i] = ledger.Incoming{
					ResultKey:  tasker.ResultKey{TaskID: task.ID, Endpoint: endpoint},
					Identifier: task.Identifier, Type: task.Type, State: tasker.Running, Manager: manager,
				}
			}
			recordings, err := w.ReceiveResults(t.Context(), messages)
			if err != nil {
				t.Fatal(err)
			}
			for i, recording := range recordings {
				want := ledger.Recorded
				if i < len(early) {
					want = ledger.Duplicate
				}
				if recording.Outcome != want {
					t.Errorf("%s: %+v, want verdict %v", all[i], recording, want)
				}
			}
			if late := all[len(early):]; len(late) > 0 {
				w.run(a.runOnce)
				w.expect(tasker.Sent, task)
				w.finish(task, tasker.ResultDone, late...)
			}
			w.run(a.runOnce)
			w.expect(tasker.Done, task)
		})
	}
}
