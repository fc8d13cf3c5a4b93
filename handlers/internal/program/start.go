package program

import (
	"errors"
	"fmt"

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/internal/proc"
)

// The error numbers of a program that did not start, as shells use them.
const (
	ErrnrNotFound  = 127
	ErrnrNotUsable = 126
)

// StartError returns an error of [proc.Start], or of what is made for it, as the
// error of a handler.
func StartError(err error) error {
	reason, ok := errors.AsType[*proc.StartError](err)
	if !ok {
		return err // the context's cause, or the system's error
	}
	err = fmt.Errorf("the program could not be started: %w", err)
	switch {
	case reason.TooLong: // it would be again
		return handlers.Permanent(handlers.WithCode(ErrnrNotUsable, err))
	case reason.NotFound:
		return handlers.WithCode(ErrnrNotFound, err)
	}
	return handlers.WithCode(ErrnrNotUsable, err)
}
