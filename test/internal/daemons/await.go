package daemons

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/store"
)

// Migrate creates the tables of a database.
func Migrate(ctx context.Context, uri string) (err error) {
	st, err := store.Open(store.Config{URI: uri}, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	_, _, err = st.Schema.Migrate(ctx)
	return err
}

// Poll calls ask until it returns true or an error.
func Poll(ctx context.Context, pause time.Duration, ask func() (bool, error)) error {
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for {
		if ok, err := ask(); ok || err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// AwaitAPI waits until an API is ready.
func AwaitAPI(ctx context.Context, url string) error {
	return Poll(ctx, 20*time.Millisecond, func() (bool, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/readyz", http.NoBody)
		if err != nil {
			return false, err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false, nil //nolint:nilerr // not ready yet
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode == http.StatusOK, resp.Body.Close()
	})
}

// AwaitConsumers waits until the queues of the endpoints have consumers.
func AwaitConsumers(ctx context.Context, uri, taskType string, endpoints []string) (err error) {
	conn, err := amqp.Dial(uri)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	for _, endpoint := range endpoints {
		queue := broker.Queue{TaskType: taskType, Endpoint: endpoint}.Name()
		err := Poll(ctx, 50*time.Millisecond, func() (bool, error) {
			ch, err := conn.Channel() // a missing queue closes the channel
			if err != nil {
				return false, err
			}
			q, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
			if err != nil {
				return false, nil //nolint:nilerr // no queue yet
			}
			return q.Consumers > 0, ch.Close()
		})
		if err != nil {
			return fmt.Errorf("wait for a consumer of %s: %w", queue, err)
		}
	}
	return nil
}
