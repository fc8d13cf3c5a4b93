package app

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/internal/broker/rabbit"
	"github.com/taskerhq/tasker/internal/dispatch"
	"github.com/taskerhq/tasker/internal/observe"
	"github.com/taskerhq/tasker/internal/store"
	"github.com/taskerhq/tasker/internal/testservices"
)

var (
	dueTasks  = flag.Int("due", 1000, "number of tasks of BenchmarkDue")
	dueWithin = flag.Duration("due-within", 0, "time over which they are spread")
	dueAPIs   = flag.Int("due-apis", 1, "number of reconcilers that start them")
)

// BenchmarkDue measures how late tasks are sent that are due together: the time from
// start_time to sent_time, and the processor time of this process.
func BenchmarkDue(b *testing.B) {
	log := slog.New(slog.DiscardHandler)
	ctx, stop := context.WithCancel(b.Context())
	var running sync.WaitGroup
	defer stop()
	uri, amqp := testservices.MySQL(b), testservices.RabbitMQ(b)
	var stores []*store.Store
	for range *dueAPIs {
		st, err := store.Open(store.Config{URI: uri}, log)
		if err != nil {
			b.Fatal(err)
		}
		if _, _, err := st.Schema.Migrate(ctx); err != nil {
			b.Fatal(err)
		}
		stores = append(stores, st)
	}
	_, err := stores[0].Endpoints.AcquireEndpoint(ctx, tasker.Endpoint{
		Name: "web1", Manager: "01AAAAAAAAAAAAAAAAAAAAAAAA", TaskTypes: []string{"worker"}, Host: "h",
	}, time.Hour)
	if err != nil {
		b.Fatal(err)
	}
	// Long enough to store all of them before.
	due := time.Now().Add(5*time.Second + time.Duration(*dueTasks)*time.Millisecond/2)
	for at := 0; at < *dueTasks; {
		var batch []tasker.Task
		for ; len(batch) < 100 && at < *dueTasks; at++ {
			spread := *dueWithin * time.Duration(at) / time.Duration(*dueTasks)
			batch = append(batch, tasker.Task{
				Type: "worker", Identifier: fmt.Sprint("t", at), Payload: []byte(`{"foo":"bar"}`),
				Status: tasker.Scheduled, Start: tasker.Start{At: due.Add(spread)},
			})
		}
		if _, err := stores[0].Tasks.CreateTasks(ctx, batch); err != nil {
			b.Fatal(err)
		}
	}
	if time.Now().After(due) {
		b.Fatal("storing the tasks took too long")
	}
	for _, st := range stores {
		rabbitmq, err := rabbit.New(rabbit.Config{URIs: []string{amqp}}, log)
		if err != nil {
			b.Fatal(err)
		}
		s := services{store: st, broker: rabbitmq, metrics: observe.NewRegistry(""), log: log}
		defer s.close(ctx)
		taking := s.startIntake(ctx)
		defer taking.stop()
		dispatcher := dispatch.New(dispatch.Config{}, taking.outbox(), rabbitmq, log)
		defer dispatcher.Close()
		running.Go(func() {
			s.newReconciler(config.Config{}, dispatcher, s.newConductor(config.Config{}, dispatcher)).Run(ctx)
		})
	}
	defer running.Wait()
	defer stop()
	time.Sleep(time.Until(due))
	before := processorTime(b)
	b.ResetTimer()
	count := func(where string) (n int) {
		if err := stores[0].Pool().QueryRowContext(ctx, "SELECT COUNT(*) FROM tasks WHERE "+where).Scan(&n); err != nil {
			b.Fatal(err)
		}
		return n
	}
	for count("status = 'SCHEDULED'") > 0 || count("status = 'CREATED'") > 0 {
		time.Sleep(200 * time.Millisecond)
	}
	b.StopTimer()
	b.ReportMetric((processorTime(b) - before).Seconds(), "cpu-s")
	rows, err := stores[0].Pool().QueryContext(ctx, "SELECT TIMESTAMPDIFF(MICROSECOND, start_time, sent_time) FROM tasks")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	var late []time.Duration
	for rows.Next() {
		var us int64
		if err := rows.Scan(&us); err != nil {
			b.Fatal(err)
		}
		late = append(late, time.Duration(us)*time.Microsecond)
	}
	if err := rows.Err(); err != nil || len(late) != *dueTasks {
		b.Fatal(len(late), err)
	}
	slices.Sort(late)
	milliseconds := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	b.ReportMetric(milliseconds(late[0]), "first-ms")
	b.ReportMetric(milliseconds(late[len(late)/2]), "p50-ms")
	b.ReportMetric(milliseconds(late[len(late)*99/100]), "p99-ms")
	b.ReportMetric(milliseconds(late[len(late)-1]), "last-ms")
	b.ReportMetric(float64(len(late))/b.Elapsed().Seconds(), "tasks/s")
}

func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
