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

type listener struct {
	pattern []string
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
	words := strings.Split(key, ".")
	e := event{key, bytes.Clone(body)}
	b.mu.Lock()
	defer b.mu.Unlock()
	for l := range b.listeners {
		if !matches(l.pattern, words) {
			continue
		}
		select {
		case l.events <- e:
		default:
			if !l.lost {
				l.lost = true
				b.log.WarnContext(ctx, "listener too slow: events are lost", "pattern", strings.Join(l.pattern, "."))
			}
		}
	}
	return nil
}

// Listen implements [broker.Broker].
func (b *Broker) Listen(ctx context.Context, pattern string, handle func(key string, body []byte)) error {
	if err := b.Ready(); err != nil {
		return fmt.Errorf("listen to events %s: %w", pattern, err)
	}
	l := &listener{pattern: strings.Split(pattern, "."), events: make(chan event, listenBuffer)}
	b.mu.Lock()
	b.listeners[l] = true
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.listeners, l)
	}()
	for ctx.Err() == nil {
		select {
		case e := <-l.events:
			handle(e.key, e.body)
		case <-ctx.Done():
		case <-b.closed:
			return fmt.Errorf("listen to events %s: %w", pattern, broker.ErrClosed)
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
