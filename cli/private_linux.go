package cli

import (
	"fmt"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// keepPrivate makes the process not dumpable: other processes of its user, such
// as the programs of handlers, cannot read its memory and its environment
// (/proc/PID/mem, /proc/PID/environ) or trace it, and it leaves no core file.
// It is for daemons, before they read their secrets. It does not stop root, and
// does not change who may read the files of the secrets.
func keepPrivate(*cobra.Command, []string) error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("keep the memory private: %w", err)
	}
	return nil
}
