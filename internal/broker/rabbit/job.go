package rabbit

import (
	"context"
	"errors"
	"sync"

	amqp "github.com/rabbitmq/amqp091-go"
)

var (
	// errLost is the outcome of a message whose channel or connection ended
	// before its confirm: it may or may not have been taken.
	errLost = errors.New("the connection was lost before the broker confirmed the message")
	errNack = errors.New("the broker could not take the message")
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
	message  amqp.Publishing

	mu       sync.Mutex
	open     int      // keys without an outcome
	returned []string // keys that no queue took
	lost     []string // keys to publish again
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

// again is the job of the keys that were lost.
func (j *job) again() *job {
	next := newJob(j.ctx, j.exchange, j.lost, j.message, j.needs...)
	next.anew, next.bare = j.anew, j.bare
	return next
}

// settle records the outcome of a key; when all have one, done is closed and
// the results belong to whoever waits for it.
func (j *job) settle(key string, returned bool, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
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
