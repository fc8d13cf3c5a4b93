package tasker

import "time"

// DeadLetterPreview is how many bytes of its body a dead letter has in a list.
const DeadLetterPreview = 1024

// DeadLetter is a message that was not a task for the endpoint it reached, or
// that the broker itself dropped. It is kept until somebody requeues or
// discards it.
type DeadLetter struct {
	ID int64 // assigned by the database
	// Key identifies the letter, however often it comes. Two letters that are
	// equal except for the key are two letters.
	Key string
	// Reason is why, for people, or the broker's own word (expired, maxlen,
	// rejected, delivery_limit); empty if there is none.
	Reason string
	Queue  string // where it came from; empty if unknown
	// MessageID is the message's id; empty if it had none.
	MessageID string
	// Body is the message, byte for byte. In lists, and if the letter was too
	// large to be kept whole, it is only the beginning: Size is then larger.
	Body []byte
	Size int64     // of the whole body, in bytes
	Time time.Time // when it became a dead letter, if known
}
