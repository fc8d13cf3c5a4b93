package local

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/taskerhq/tasker/internal/broker"
)

// listenBuffer limits the events waiting for a slow listener; those beyond it
// are lost.
const listenBuffer = 1024

// listener is a running call of Listen or ListenControl.
type listener struct {
	pattern string // of events
	wants   func(key string) bool
	events  chan event
	lost    bool // an event was lost, and it was logged
}

type event struct {
	key  string
	body []byte
}

// Notify implements [broker.Broker].
func (b *Broker) Notify(ctx context.Context, key string, body []byte) error {
	if err := b.usable(ctx); err != nil {
		return fmt.Errorf("event %s: %w", key, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, l := range tell(b.listeners, event{key, bytes.Clone(body)}) {
		if !l.lost {
			l.lost = true
			b.log.WarnContext(ctx, "listener too slow: events are lost", "pattern", l.pattern)
		}
	}
	return nil
}

// tell passes an event to those who want it, and returns those who are too slow for
// it. The caller holds the lock.
func tell(listeners map[*listener]bool, e event) (slow []*listener) {
	for l := range listeners {
		if !l.wants(e.key) {
			continue
		}
		select {
		case l.events <- e:
		default:
			slow = append(slow, l)
		}
	}
	return slow
}

// Listen implements [broker.Broker].
func (b *Broker) Listen(ctx context.Context, pattern string, handle func(key string, body []byte)) error {
	words := strings.Split(pattern, ".")
	wants := func(key string) bool { return matches(words, strings.Split(key, ".")) }
	if err := b.listen(ctx, b.listeners, &listener{pattern: pattern, wants: wants}, handle); err != nil {
		return fmt.Errorf("listen to events %s: %w", pattern, err)
	}
	return nil
}

// listen adds l to the listeners until ctx ends, or the broker is closed.
func (b *Broker) listen(
	ctx context.Context, listeners map[*listener]bool, l *listener, handle func(key string, body []byte),
) error {
	if err := b.Ready(); err != nil {
		return err
	}
	l.events = make(chan event, listenBuffer)
	b.mu.Lock()
	listeners[l] = true
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(listeners, l)
	}()
	for ctx.Err() == nil {
		select {
		case e := <-l.events:
			handle(e.key, e.body)
		case <-ctx.Done():
		case <-b.closed:
			return broker.ErrClosed
		}
	}
	return nil
}

// matches reports whether the words of a key match those of a topic pattern, in
// which "*" is one word and "#" any number of words.
func matches(pattern, words []string) bool {
	if len(pattern) == 0 {
		return len(words) == 0
	}
	if pattern[0] == "#" {
		for i := range len(words) + 1 {
			if matches(pattern[1:], words[i:]) {
				return true
			}
		}
		return false
	}
	return len(words) > 0 && (pattern[0] == "*" || pattern[0] == words[0]) && matches(pattern[1:], words[1:])
}
