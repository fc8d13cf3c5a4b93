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
	// errUnsent is the outcome of a message that was not written, since its
	// channel had ended.
	errUnsent = errors.New("the channel ended before the message was written")
	// errLost is the outcome of a message whose connection ended before its
	// confirm: it may or may not have been taken.
	errLost = broker.ErrUnconfirmed
	// errSuspect is the outcome of a message without a confirm on a channel that
	// RabbitMQ closed for a message that it refuses: this one, or another.
	errSuspect = errors.New("RabbitMQ refused this message or another one")
	errNack    = errors.New("the broker could not take the message")
	// errDropped is the outcome of what was not sent, as its caller had left.
	errDropped = errors.New("the caller has left")
)

// job is one message on its way to an exchange, once with each of its keys.
type job struct {
	ctx      context.Context // it is a request: the publisher drops it when its caller is gone
	exchange string
	keys     []string
	needs    []object // declared before the first publish of a session
	anew     bool     // declare them even if this session has done so
	bare     bool     // there is no message, only what is declared
	once     bool     // see [broker.Publication]
	apart    bool     // see [broker.Publication]
	message  amqp.Publishing

	mu       sync.Mutex
	open     int      // keys without an outcome
	returned []string // keys that no queue took
	unsent   []string // keys to publish again
	lost     []string // keys without a confirm
	suspect  []string // keys to publish again, apart from others
	nacked   []string // keys that the broker could not take
	err      error    // the first outcome that is none of these
	done     chan struct{}
}

func newJob(ctx context.Context, exchange string, keys []string, message amqp.Publishing, needs ...object) *job {
	return &job{
		ctx: ctx, exchange: exchange, keys: keys, needs: needs, message: message,
		open: len(keys), done: make(chan struct{}),
	}
}

// again returns the job of the keys to publish again; nil where there is none.
// A message under suspicion is published apart, behind a declaration of what
// it needs: that may have been deleted.
func (j *job) again() *job {
	keys := slices.Concat(j.unsent, j.lost, j.suspect, j.nacked)
	if len(keys) == 0 {
		return nil
	}
	next := newJob(j.ctx, j.exchange, keys, j.message, j.needs...)
	next.bare, next.once = j.bare, j.once
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

// fail gives the keys from the i-th on the same outcome.
func (j *job) fail(i int, err error) {
	for _, key := range j.keys[i:] {
		j.settle(key, false, err)
	}
}
