package local

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/taskerhq/tasker/internal/broker"
)

// SendControl implements [broker.Broker].
func (b *Broker) SendControl(ctx context.Context, endpoints []string, body []byte) error {
	if err := b.usable(ctx); err != nil {
		return fmt.Errorf("hint to managers: %w", err)
	}
	body = bytes.Clone(body)
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, key := range broker.ControlKeys(endpoints) {
		_ = tell(b.controls, event{key, body}) // hints may be lost
	}
	return nil
}

// ListenControl implements [broker.Broker].
func (b *Broker) ListenControl(ctx context.Context, endpoints []string, handle func(body []byte)) error {
	keys := append([]string{broker.KeyAll}, broker.ControlKeys(endpoints)...)
	wants := func(key string) bool { return slices.Contains(keys, key) }
	if err := b.listen(ctx, b.controls, &listener{wants: wants}, func(_ string, body []byte) { handle(body) }); err != nil {
		return fmt.Errorf("listen to hints: %w", err)
	}
	return nil
}
