package app

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"syscall"
)

// tellState logs how many goroutines there are and how much memory they hold,
// each time that the process gets SIGUSR1, until stop is called, and returns
// once it listens: a process that still waits for its database, or is about
// to stop, tells it, too.
func tellState(ctx context.Context, log *slog.Logger) (stop func()) {
	asked := make(chan os.Signal, 1)
	// For as long as the process lives: without it the signal would end it.
	signal.Notify(asked, syscall.SIGUSR1)
	ending, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-asked:
				var memory runtime.MemStats
				runtime.ReadMemStats(&memory)
				log.InfoContext(ctx, "state of the process", "goroutines", runtime.NumGoroutine(),
					"heap_bytes", memory.HeapAlloc, "from_system_bytes", memory.Sys)
			case <-ending:
				return
			}
		}
	}()
	return func() {
		close(ending)
		<-ended
	}
}
