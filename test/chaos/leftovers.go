package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/taskerhq/tasker/test/chaos/work"
	"github.com/taskerhq/tasker/test/promises"
)

// endingTimeout is how long what programs have started may outlive the last manager.
const endingTimeout = 10 * time.Second

// programsLeft waits until nothing runs that a program of a run has started, and returns
// what still does. All managers must have ended.
func programsLeft(ctx context.Context, journal string) (found []promises.Violation) {
	ctx, cancel := context.WithTimeout(ctx, endingTimeout)
	defer cancel()
	for {
		found = nil
		environs, _ := filepath.Glob("/proc/[0-9]*/environ")
		for _, path := range environs {
			environ, err := os.ReadFile(path)
			if err != nil || !bytes.Contains(environ, []byte(work.JournalVariable+"="+journal+"\x00")) {
				continue // has ended, or is not of this run
			}
			command, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
			detail := fmt.Sprintf("process %s runs %q after all managers have ended", filepath.Base(filepath.Dir(path)),
				bytes.ReplaceAll(command, []byte{0}, []byte{' '}))
			found = append(found, promises.Violation{Promise: 2, Rule: "program-left", Detail: detail})
		}
		if len(found) == 0 || !sleep(ctx, 100*time.Millisecond) {
			return found
		}
	}
}
