package local

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/taskerhq/tasker/internal/broker"
)

// controlled is a running call of ListenControl.
type controlled struct {
	keys  []string
	hints chan []byte
}

// SendControl implements [broker.Broker].
func (b *Broker) SendControl(ctx context.Context, endpoints []string, body []byte) error {
	if err := b.usable(ctx); err != nil {
		return fmt.Errorf("hint to managers: %w", err)
	}
	body = bytes.Clone(body)
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, key := range broker.ControlKeys(endpoints) {
		for c := range b.controls {
			if !slices.Contains(c.keys, key) {
				continue
			}
			select {
			case c.hints <- body:
			default: // hints may be lost
			}
		}
	}
	return nil
}

// ListenControl implements [broker.Broker].
func (b *Broker) ListenControl(ctx context.Context, endpoints []string, handle func(body []byte)) error {
	if err := b.Ready(); err != nil {
		return fmt.Errorf("listen to hints: %w", err)
	}
	c := &controlled{keys: append([]string{broker.KeyAll}, broker.ControlKeys(endpoints)...), hints: make(chan []byte, listenBuffer)}
	b.mu.Lock()
	b.controls[c] = true
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.controls, c)
	}()
	for ctx.Err() == nil {
		select {
		case body := <-c.hints:
			handle(body)
		case <-ctx.Done():
		case <-b.closed:
			return fmt.Errorf("listen to hints: %w", broker.ErrClosed)
		}
	}
	return nil
}
