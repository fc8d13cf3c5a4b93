// Package signal wakes a goroutine that waits for something to change.
package signal

// Signal tells one receiver that something has changed since it last looked.
// Several calls of Raise before the receiver looks count as one. It is safe for
// concurrent use. Make one with [New].
type Signal chan struct{}

// New returns a signal that is not raised.
func New() Signal { return make(Signal, 1) }

// Raise wakes the receiver, now or when it next receives from the channel. It
// never blocks.
func (s Signal) Raise() {
	select {
	case s <- struct{}{}:
	default: // raised already
	}
}
