//go:build unix

package cli

import (
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"
)

// A second signal that comes together with the first one is no second request: the
// process, which is this test's binary started again, ends in order.
func TestSignalsTogether(t *testing.T) {
	t.Parallel()
	const asked = "TASKER_TEST_SIGNALS"
	if os.Getenv(asked) == "" {
		program, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), program, "-test.run", "^TestSignalsTogether$")
		cmd.Env = append(os.Environ(), asked+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		return
	}
	ctx, stop := untilSignal(time.Hour)
	defer stop()
	for range 2 {
		if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		<-ctx.Done()
	}
	// Both have been delivered before a third kind is.
	third := make(chan os.Signal, 1)
	signal.Notify(third, syscall.SIGUSR2)
	if err := syscall.Kill(os.Getpid(), syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	<-third
	if interruption(ctx) == nil {
		t.Error("not interrupted")
	}
}
