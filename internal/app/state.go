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
// each time that the process gets SIGUSR1, until ctx ends.
func tellState(ctx context.Context, log *slog.Logger) {
	asked := make(chan os.Signal, 1)
	// For as long as the process lives: without it the signal would end a
	// process that is about to stop.
	signal.Notify(asked, syscall.SIGUSR1)
	for {
		select {
		case <-asked:
			var memory runtime.MemStats
			runtime.ReadMemStats(&memory)
			log.InfoContext(ctx, "state of the process", "goroutines", runtime.NumGoroutine(),
				"heap_bytes", memory.HeapAlloc, "from_system_bytes", memory.Sys)
		case <-ctx.Done():
			return
		}
	}
}
