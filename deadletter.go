package tasker

import "time"

// DeadLetterPreview is how many bytes of their bodies the dead letters of a
// list have.
const DeadLetterPreview = 1024

// DeadLetter is a message that was no task to the endpoint it reached, or that
// the broker itself gave up. It is kept until somebody requeues or discards
// it.
type DeadLetter struct {
	ID int64 // given by the database
	// Key tells the letter from all others, however often it comes. Storing
	// two letters that are equal in all but the key gives two.
	Key string
	// Reason is why, for people, or the broker's own word (expired, maxlen,
	// rejected, delivery_limit); empty where nobody gave one.
	Reason string
	Queue  string // the one that it came from; empty where that is not known
	// MessageID is the message's id; empty where it had none.
	MessageID string
	// Body is what was sent, byte for byte. Lists have its beginning only, and
	// so has a letter that was too large to be kept whole: there Size is more.
	Body []byte
	Size int64     // of the whole body, in bytes
	Time time.Time // when it became a dead letter, as far as that is known
}
