package e2e

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// A daemon survives the loss of its log's reader, as when journald or
// supervisord restarts, and interrupts nothing. Handlers' programs still have
// the default SIGPIPE action.
func TestLogReaderGone(t *testing.T) {
	t.Parallel()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	cmd := exec.Command(program, "dev", "--ephemeral", "--port", port, "--log-level", "debug")
	cmd.Dir = t.TempDir()
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "TMPDIR=" + cmd.Dir,
		`TASKER_TASK_TYPES=[{name: signals, handler: exec, settings: {command: [grep, SigIgn, /proc/self/status]}}]`,
	}
	cmd.Stdout, cmd.Stderr = writer, writer
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = writer.Close()
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })

	lines := bufio.NewScanner(reader)
	for lines.Scan() && !strings.Contains(lines.Text(), "Try it") {
		t.Log(lines.Text())
	}
	_ = reader.Close()

	base := "http://127.0.0.1:" + port
	var a answer
	until(t, "tasks to be done without a log", func() bool {
		select {
		case err := <-exited:
			t.Fatalf("the process ended: %v", err)
		default:
		}
		code, _, err := request(t, base, http.MethodPost, "/signals", `{"identifier":"first","payload":{},"endpoints":["console1"]}`, nil)
		if err != nil || code >= http.StatusBadRequest {
			return false
		}
		_, _, err = request(t, base, http.MethodGet, "/signals/first", "", &a)
		return err == nil && a.Task.Status == "DONE"
	})
	_, mask, _ := strings.Cut(fmt.Sprint(a.TaskResponseList[0].Payload), "SigIgn:\t")
	ignored, err := strconv.ParseUint(mask[:16], 16, 64)
	if err != nil {
		t.Fatalf("%s: %v", a.TaskResponseList[0].Payload, err)
	}
	const sigpipe = 13
	if ignored&(1<<(sigpipe-1)) != 0 {
		t.Errorf("the program of a handler ignores SIGPIPE: %s", mask)
	}
	_ = cmd.Process.Signal(os.Interrupt)
	if err := <-exited; err != nil {
		t.Errorf("the process ended: %v", err)
	}
}
