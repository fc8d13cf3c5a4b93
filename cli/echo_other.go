//go:build !linux

package cli

import (
	"errors"
	"os"
)

// hideInput keeps a terminal from showing what is typed, until restore is called.
func hideInput(*os.File) (restore func(), err error) {
	return nil, errors.New("not supported on this system")
}
