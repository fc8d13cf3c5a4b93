package cli

import (
	"math"

	"golang.org/x/sys/unix"
)

// keepToOurselves sees to it that programs which handlers start do not get the
// descriptors that this process was started with, of a shell for example. What
// Go opens itself they do not get anyway. Kernels before 5.11 cannot.
func keepToOurselves() {
	_ = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
}
