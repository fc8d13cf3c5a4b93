package app

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"syscall"
)

// logState logs the number of goroutines and the memory in use on each SIGUSR1, until
// stop is called. It returns once it handles the signal, so that a process that
// waits for its database, or is about to stop, does it, too.
func logState(ctx context.Context, log *slog.Logger) (stop func()) {
	asked := make(chan os.Signal, 1)
	// For the life of the process: otherwise the signal would end it.
	signal.Notify(asked, syscall.SIGUSR1)
	ending, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-asked:
				var memory runtime.MemStats
				runtime.ReadMemStats(&memory)
				log.InfoContext(ctx, "process state", "goroutines", runtime.NumGoroutine(),
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
