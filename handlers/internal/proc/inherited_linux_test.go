package proc

import (
	"bytes"
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// TestInheritsNoDescriptors: a descriptor that this process has without close-on-exec does
// not reach the program, even if it is opened between two starts.
func TestInheritsNoDescriptors(t *testing.T) {
	for range 2 {
		inherited, err := unix.Open(os.DevNull, unix.O_RDONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(inherited) //nolint:errcheck // only opened
		var stdout bytes.Buffer
		run(t, sh(`if [ -e "/proc/$$/fd/$1" ]; then readlink "/proc/$$/fd/$1"; fi`, &stdout, strconv.Itoa(inherited)))
		if stdout.Len() > 0 {
			t.Errorf("the program has descriptor %d, %q", inherited, &stdout)
		}
	}
}
