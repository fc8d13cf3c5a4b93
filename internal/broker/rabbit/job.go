package rabbit

import (
	"context"
	"errors"
	"slices"
	"sync"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/taskerhq/tasker/internal/broker"
)

var (
	// errUnsent is the outcome of a message that was not written because its
	// channel had ended.
	errUnsent = errors.New("channel ended before the message was written")
	// errLost is the outcome of a message whose connection was lost before its
	// confirm: the broker may have taken it or not.
	errLost = broker.ErrUnconfirmed
	// errSuspect is the outcome of an unconfirmed message on a channel that
	// RabbitMQ closed because it refuses a message: this one or another.
	errSuspect = errors.New("RabbitMQ refused this message or another one")
	errNack    = errors.New("broker could not take the message")
	// errDropped is the outcome of a message not sent because its caller had
	// left.
	errDropped = errors.New("caller has left")
)

// job is one message to an exchange, once with each of its keys.
type job struct {
	ctx      context.Context //nolint:containedctx // the caller's, as in a http.Request: the publisher drops the job when it ends
	exchange string
	keys     []string
	needs    []object // to declare before the first publish of a session
	anew     bool     // declare even if this session has done so
	bare     bool     // there is no message, only declarations
	once     bool     // see [broker.Publication]
	apart    bool     // see [broker.Publication]
	copies   int64    // of the message with each key, that the broker puts into queues
	message  amqp.Publishing

	mu       sync.Mutex
	open     int      // keys without an outcome
	returned []string // keys that no queue took
	unsent   []string // keys to publish again
	lost     []string // unconfirmed keys
	suspect  []string // keys to publish again, separately
	nacked   []string // keys that the broker could not take
	err      error    // the first other outcome
	done     chan struct{}
}

func newJob(ctx context.Context, exchange string, keys []string, message amqp.Publishing, needs ...object) *job {
	return &job{
		ctx: ctx, exchange: exchange, keys: keys, needs: needs, message: message,
		open: len(keys), done: make(chan struct{}),
	}
}

// next returns the job with the keys to publish again, or nil. A suspect
// message is published separately, after a declaration of what it needs: that
// may have been deleted.
func (j *job) next() *job {
	keys := slices.Concat(j.unsent, j.lost, j.suspect, j.nacked)
	if len(keys) == 0 {
		return nil
	}
	next := newJob(j.ctx, j.exchange, keys, j.message, j.needs...)
	next.bare, next.once, next.copies = j.bare, j.once, j.copies
	suspect := len(j.suspect) > 0
	next.anew, next.apart = j.anew || suspect, j.apart || suspect
	return next
}

// settle records the outcome of a key; when all have one, done is closed and
// the results belong to whoever waits for it.
func (j *job) settle(key string, returned bool, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case errors.Is(err, errUnsent):
		j.unsent = append(j.unsent, key)
	case errors.Is(err, errSuspect):
		j.suspect = append(j.suspect, key)
	case errors.Is(err, errLost):
		j.lost = append(j.lost, key)
	case errors.Is(err, errNack):
		j.nacked = append(j.nacked, key)
	case err != nil:
		if j.err == nil {
			j.err = err
		}
	case returned:
		j.returned = append(j.returned, key)
	}
	if j.open--; j.open == 0 {
		close(j.done)
	}
}

// fail records the same outcome for the keys from the i-th on.
func (j *job) fail(i int, err error) {
	for _, key := range j.keys[i:] {
		j.settle(key, false, err)
	}
}
