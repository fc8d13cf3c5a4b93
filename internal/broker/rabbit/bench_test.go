package rabbit_test

import (
	"bytes"
	"sync/atomic"
	"testing"

	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/broker/rabbit"
	"github.com/taskerhq/tasker/internal/testservices"
)

// BenchmarkPublishConfirm publishes persistent messages of 1 KB to one queue
// that a consumer empties, each confirmed: by one caller who waits for each,
// and by many at once.
func BenchmarkPublishConfirm(b *testing.B) {
	run := func(b *testing.B, publish func(b *testing.B, one func() error)) {
		broke := newBroker(b, rabbit.Config{URIs: []string{testservices.RabbitMQ(b)}})
		ready, done := make(chan bool, 10), make(chan error, 1)
		go func() {
			done <- broke.Consume(b.Context(), broker.Subscription{
				Queue: queue, Prefetch: 256, Ready: func(r bool) { ready <- r },
				Deliver: func(d broker.Delivery) { _ = d.Ack() },
			})
		}()
		b.Cleanup(func() {
			if err := <-done; err != nil {
				b.Error(err)
			}
		})
		<-ready
		p := broker.Publication{TaskType: "worker", MessageID: "m", Body: bytes.Repeat([]byte{'x'}, 1024)}
		b.ReportAllocs()
		b.ResetTimer()
		publish(b, func() error {
			_, err := broke.Publish(b.Context(), p)
			return err
		})
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
	}
	b.Run("serial", func(b *testing.B) {
		run(b, func(b *testing.B, one func() error) {
			for b.Loop() {
				if err := one(); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
	b.Run("parallel", func(b *testing.B) {
		run(b, func(b *testing.B, one func() error) {
			var failed atomic.Pointer[error]
			b.SetParallelism(128) // callers for each processor
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := one(); err != nil {
						failed.Store(&err)
						return
					}
				}
			})
			if err := failed.Load(); err != nil {
				b.Fatal(*err)
			}
		})
	})
}
