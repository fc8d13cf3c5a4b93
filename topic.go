package tasker

import "time"

// Tasks of one type with the same topic are about the same thing, so that an endpoint
// needs the newest only. Which is the newest is decided when they start.

// OnConflict says what happens when a task starts while an older one of its topic has
// not ended.
type OnConflict string

const (
	// ConflictRefuse refuses the task: nothing of the older one changes. It is the default.
	ConflictRefuse OnConflict = "refuse"
	// ConflictSupersede lets the task replace the older one at its endpoints: what has
	// not started there is SUPERSEDED, and never starts. What runs goes on.
	ConflictSupersede OnConflict = "supersede"
)

// OnConflicts returns all values.
func OnConflicts() []OnConflict { return []OnConflict{ConflictRefuse, ConflictSupersede} }

// ValidateTopic checks the topic of a task: [A-Za-z0-9][A-Za-z0-9._-]{0,63}.
func ValidateTopic(topic string) error {
	if !validName(topic, true) {
		return invalidName("topic", topic, "digits, '.', '_' or '-'")
	}
	return nil
}

// Supersession says which newer task of its topic has replaced a task, at some
// endpoints or at all; the last one if there were several.
type Supersession struct {
	By string    `json:"by"` // its identifier
	At time.Time `json:"at"` // when it started
}

// SupersededErrmsg returns the message of a result that was superseded by the task with
// an identifier, or by one that was deleted if that is empty.
func SupersededErrmsg(identifier string) string {
	if identifier == "" {
		return "superseded by a newer task of its topic before it ran"
	}
	return "superseded by task " + identifier + " of its topic before it ran"
}
