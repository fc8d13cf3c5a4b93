package app

import (
	"context"
	"log/slog"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/api"
	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/internal/broker/local"
	"github.com/taskerhq/tasker/internal/dispatch"
	"github.com/taskerhq/tasker/internal/store"
)

// DeadLetter is a dead letter as the API shows it.
type DeadLetter = api.DeadLetter

// DeadLetters are the dead letters of the configured database, for commands:
// the API need not run. Close it after use.
type DeadLetters struct {
	services
	requeuer  *dispatch.Requeuer
	ownBroker bool
}

// OpenDeadLetters checks that the database is one that this program can work
// with. RabbitMQ is needed, and connected to, by Requeue alone.
func OpenDeadLetters(ctx context.Context, cfg config.Config, log *slog.Logger) (*DeadLetters, error) {
	s, err := openFor(cfg, log)
	if err != nil {
		return nil, err
	}
	if err := s.store.CheckSchema(ctx); err != nil {
		s.close(ctx)
		return nil, err
	}
	return &DeadLetters{s, dispatch.NewRequeuer(dispatch.Config{Timeout: cfg.PublishTimeout}, s.store, s.broker), ownBroker(cfg)}, nil
}

// Close ends the connections.
func (d *DeadLetters) Close(ctx context.Context) { d.close(ctx) }

// List gives up to limit letters, newest first, each with the beginning of its
// body: of all, or of those with a smaller id than before.
func (d *DeadLetters) List(ctx context.Context, before int64, limit int) ([]DeadLetter, error) {
	letters, err := d.store.ListDeadLetters(ctx, tasker.DeadLetterQuery{Before: before, Limit: limit})
	if err != nil {
		return nil, err
	}
	views := make([]DeadLetter, len(letters))
	for i, l := range letters {
		views[i] = api.ViewDeadLetter(l)
	}
	return views, nil
}

// Find gives a letter with its whole body, or a [tasker.NotFound] error.
func (d *DeadLetters) Find(ctx context.Context, id int64) (DeadLetter, error) {
	letter, err := d.store.FindDeadLetter(ctx, id)
	if err != nil {
		return DeadLetter{}, err
	}
	return api.ViewDeadLetter(letter), nil
}

// openFor prepares the services, without a broker for the data of "tasker dev".
func openFor(cfg config.Config, log *slog.Logger) (services, error) {
	if !ownBroker(cfg) {
		return open(cfg, "tasker dead-letters", log)
	}
	s, err := store.Open(cfg.Store, log)
	if err != nil {
		return services{}, err
	}
	return services{s, local.New(log), log}, nil
}

// Requeue sends a letter back; see [dispatch.Requeuer].
func (d *DeadLetters) Requeue(ctx context.Context, id int64) error {
	if d.ownBroker {
		return tasker.Errorf(tasker.Unavailable, "the broker is inside of the process of tasker dev, which alone can requeue: POST /v1/dead-letters/%d/requeue to its API", id)
	}
	return d.requeuer.Requeue(ctx, id)
}

// Discard deletes a letter for good, or gives a [tasker.NotFound] error.
func (d *DeadLetters) Discard(ctx context.Context, id int64) error {
	return d.store.DeleteDeadLetter(ctx, id)
}
