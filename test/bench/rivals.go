package main

import (
	"context"
	"errors"
	"hash/maphash"
	"sync"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/taskerhq/tasker/internal/x/batch"
)

// rival is what a program without tasker's promises needs for the same results.
type rival struct {
	Results float64 `json:"results_per_s"`
	Latency latency `json:"all_results_stored"` // one message at a time
	Cost    cost    `json:"per_result"`
}

// measureNaive measures the program that one would write first: consume, insert
// the row, acknowledge, update the row, one by one, without an API or task rows.
func measureNaive(ctx context.Context, s *services, opts options, endpoints int) (rival, error) {
	return measureRival(ctx, s, opts, endpoints, databaseConnections, func(r *rows) (takeFunc, func()) {
		return each(func(endpoint string, d amqp.Delivery) error {
			taskID, err := taskOf(d)
			if err != nil {
				return err
			}
			if err := r.insertOne(ctx, taskID, endpoint); err != nil {
				return err
			}
			if err := d.Ack(false); err != nil {
				return err
			}
			return r.updateOne(ctx, taskID, endpoint)
		}), func() {}
	})
}

// measurePrototype measures the least that stores each result before its message is
// acknowledged: what has come in at all endpoints while one statement ran is stored
// by the next, a row for each, and acknowledged together. It has no API and no task
// rows, and writes a result once, where tasker writes its start and its end.
func measurePrototype(ctx context.Context, s *services, opts options, endpoints int) (rival, error) {
	return measureRival(ctx, s, opts, endpoints, prototypeWriters, func(r *rows) (takeFunc, func()) {
		p := newPrototype(ctx, r)
		return p.take, p.close
	})
}

// measureRival measures the program whose part at the endpoints prepare returns,
// with a function that ends it.
func measureRival(
	ctx context.Context, s *services, opts options, endpoints, connections int, prepare func(*rows) (takeFunc, func()),
) (rv rival, err error) {
	seconds := max(opts.duration.Seconds(), 0.5)
	results := opts.results(endpoints)
	r, err := openRows(ctx, s.mysql, results, connections, int64(20_000*seconds)/int64(results)+1000)
	if err != nil {
		return rv, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	m, err := newMeter(s, nil)
	if err != nil {
		return rv, err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	take, end := prepare(r)
	defer end()
	f, err := openFanout(ctx, s.rabbit, opts, endpoints, take)
	if err != nil {
		return rv, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	if _, _, err := f.throughput(ctx, opts.duration/16, opts.inFlight); err != nil {
		return rv, err
	}
	if rv.Latency, err = f.latency(ctx, opts.samples, opts.duration/8); err != nil {
		return rv, err
	}
	rv.Cost, err = m.during(ctx, func() (int64, error) {
		results, took, err := f.throughput(ctx, opts.duration, opts.inFlight)
		rv.Results = rate(results, took)
		return results, err
	})
	return rv, err
}

const (
	prototypeWriters = 2
	prototypeRows    = 500 // a statement
)

// prototype stores results by group commits.
type prototype struct {
	ctx     context.Context //nolint:containedctx // of its writers
	rows    *rows
	seed    maphash.Seed
	queues  []chan recorded // one for each writer
	writers sync.WaitGroup
	stop    context.CancelFunc
}

// recorded is a delivery to be stored.
type recorded struct {
	arrival
	delivery amqp.Delivery
	handled  *counter
}

func newPrototype(ctx context.Context, r *rows) *prototype {
	ctx, stop := context.WithCancel(ctx)
	p := &prototype{ctx: ctx, rows: r, seed: maphash.MakeSeed(), stop: stop}
	for range prototypeWriters {
		queue := make(chan recorded, 2*prototypeRows)
		p.queues = append(p.queues, queue)
		p.writers.Go(func() { p.write(queue) })
	}
	return p
}

// take passes the deliveries of an endpoint on to its writer, in their order, so that
// the last one of a batch can be acknowledged with all before it.
func (p *prototype) take(f *fanout, endpoint string, deliveries <-chan amqp.Delivery) {
	queue := p.queues[maphash.String(p.seed, endpoint)%uint64(len(p.queues))]
	for d := range deliveries {
		taskID, err := taskOf(d)
		if err != nil {
			f.handled.fail(err)
			continue
		}
		select {
		case queue <- recorded{arrival{taskID, endpoint}, d, &f.handled}:
		case <-p.ctx.Done():
		}
	}
}

func (p *prototype) write(queue <-chan recorded) {
	for {
		batch := batch.Gather(p.ctx, queue, prototypeRows)
		if len(batch) == 0 {
			return
		}
		if err := p.store(batch); err != nil {
			batch[0].handled.fail(err)
			continue
		}
		batch[0].handled.add(int64(len(batch)))
	}
}

func (p *prototype) store(batch []recorded) error {
	arrivals := make([]arrival, len(batch))
	last := map[string]amqp.Delivery{}
	for i, r := range batch {
		arrivals[i] = r.arrival
		last[r.endpoint] = r.delivery
	}
	if err := p.rows.upsert(p.ctx, arrivals); err != nil {
		return err
	}
	for _, d := range last {
		if err := d.Ack(true); err != nil {
			return err
		}
	}
	return nil
}

func (p *prototype) close() {
	p.stop()
	p.writers.Wait()
}
