package main

import (
	"context"
	"errors"
	"time"

	"github.com/taskerhq/tasker/internal/testservices"
	"github.com/taskerhq/tasker/test/internal/daemons"
)

// round has the measurements for one number of endpoints.
type round struct {
	Endpoints int             `json:"endpoints"`
	Database  databaseCeiling `json:"database_ceiling"`
	Broker    brokerCeiling   `json:"broker_ceiling"`
	Runs      []turn          `json:"runs"`
	Messages  messages        `json:"messages_per_result"`
	Ratios    ratios          `json:"ratios"`
}

// turn has what was measured close together: on a busy machine ratios within a run
// mean more than the numbers.
type turn struct {
	Tasker    tasked `json:"tasker"`
	Prototype rival  `json:"prototype"`
	Naive     rival  `json:"naive"`
}

// tasked is what was measured of tasker.
type tasked struct {
	Latency    latencies  `json:"latency"`
	Throughput throughput `json:"throughput"`
	Cost       cost       `json:"per_result"`
}

// messages are those at RabbitMQ per result, events included. A message counts as
// delivered once for each queue.
type messages struct {
	Published float64 `json:"published"`
	Delivered float64 `json:"delivered"`
}

// ratios compare tasker with the others of the same run. A ratio of unknown CPU times
// is 0.
type ratios struct {
	// CPU of all parts per result.
	CPUPrototype spread `json:"cpu_to_prototype"`
	CPUNaive     spread `json:"cpu_to_naive"`
	// Results per second.
	Prototype spread `json:"results_to_prototype"`
	Naive     spread `json:"results_to_naive"`
	Broker    spread `json:"results_to_broker"`
	Database  spread `json:"results_to_database_batched"`
	// The medians until all results of a single task are stored. Ceilings is the sum
	// of a fan-out, an insert and an update.
	LatencyPrototype spread `json:"latency_to_prototype"`
	LatencyCeilings  spread `json:"latency_to_ceilings"`
}

func (r *round) compute() {
	of := func(value func(*turn) float64) spread { return r.over(value) }
	r.Ratios = ratios{
		CPUPrototype: of(func(x *turn) float64 { return ratio(known(x.Tasker.Cost.Total), known(x.Prototype.Cost.Total)) }),
		CPUNaive:     of(func(x *turn) float64 { return ratio(known(x.Tasker.Cost.Total), known(x.Naive.Cost.Total)) }),
		Prototype:    of(func(x *turn) float64 { return ratio(x.Tasker.Throughput.Results, x.Prototype.Results) }),
		Naive:        of(func(x *turn) float64 { return ratio(x.Tasker.Throughput.Results, x.Naive.Results) }),
		Broker:       of(func(x *turn) float64 { return ratio(x.Tasker.Throughput.Results, r.Broker.Deliveries) }),
		Database:     of(func(x *turn) float64 { return ratio(x.Tasker.Throughput.Results, r.Database.Batches) }),
		LatencyPrototype: of(func(x *turn) float64 {
			return ratio(x.Tasker.Latency.Stored.P50, x.Prototype.Latency.P50)
		}),
		LatencyCeilings: of(func(x *turn) float64 {
			return ratio(x.Tasker.Latency.Stored.P50, r.Broker.Fanout.P50+r.Database.Life.P50)
		}),
	}
}

// over returns a value over all runs.
func (r *round) over(value func(*turn) float64) spread {
	values := make([]float64, len(r.Runs))
	for i := range r.Runs {
		values[i] = value(&r.Runs[i])
	}
	return spreadOf(values)
}

func known(value *float64) float64 {
	if value == nil {
		return 0
	}
	return *value
}

// bench measures with one set of options.
type bench struct {
	opts     options
	profile  *profile
	progress func(string, ...any)
}

// measure measures one round. Each part has its own database and virtual host.
func (b *bench) measure(ctx context.Context, n int) (r round, err error) {
	r.Endpoints = n
	b.progress("%d endpoints: the ceilings of the database and the broker", n)
	err = withServices(ctx, func(s *services) (err error) {
		if r.Database, err = measureDatabase(ctx, s.mysql, b.opts.results(n), b.opts.duration); err != nil {
			return err
		}
		r.Broker, err = measureBroker(ctx, s.rabbit, b.opts, n)
		return err
	})
	if err != nil {
		return r, err
	}
	r.Runs = make([]turn, b.opts.runs)
	for i := range r.Runs {
		// Each part is the first one in turn.
		for part := range 3 {
			if err := b.part(ctx, &r, i, (i+part)%3); err != nil {
				return r, err
			}
		}
	}
	r.compute()
	return r, nil
}

func (b *bench) part(ctx context.Context, r *round, i, part int) error {
	x, n := &r.Runs[i], r.Endpoints
	return withServices(ctx, func(s *services) (err error) {
		switch part {
		case 0:
			err = b.tasker(ctx, s, r, i)
		case 1:
			b.progress("%d endpoints, run %d: the prototype", n, i+1)
			x.Prototype, err = measurePrototype(ctx, s, b.opts, n)
		default:
			b.progress("%d endpoints, run %d: the naive daemon", n, i+1)
			x.Naive, err = measureNaive(ctx, s, b.opts, n)
		}
		return err
	})
}

func (b *bench) tasker(ctx context.Context, s *services, r *round, i int) (err error) {
	n := r.Endpoints
	b.progress("%d endpoints, run %d: tasker", n, i+1)
	start := startSystem
	if b.opts.processes {
		start = startProcesses
	}
	sys, err := start(ctx, s, b.opts, n)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sys.stop()) }()
	l, err := newLoad(sys, s, b.opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	if err := b.load(sys, s, l, &r.Runs[i].Tasker, n); err != nil {
		return err
	}
	if i == 0 {
		r.Messages, err = countMessages(sys.ctx, s.rabbit, l.next.Load()*int64(b.opts.results(n)))
	}
	return err
}

// load measures a system that is ready.
func (b *bench) load(sys *system, s *services, l *load, t *tasked, n int) (err error) {
	if _, err := l.throughput(sys.ctx, n, b.opts.duration/4); err != nil {
		return err
	}
	if _, err := l.settle(sys.ctx); err != nil {
		return err
	}
	b.progress("%d endpoints: tasker's latency", n)
	if t.Latency, err = l.latency(sys.ctx, b.opts.samples, b.opts.duration/2); err != nil {
		return err
	}
	m, err := newMeter(s, sys.parts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	b.progress("%d endpoints: tasker's throughput", n)
	var settled time.Duration
	err = b.profile.during(func() (err error) {
		t.Cost, err = m.during(sys.ctx, func() (_ int64, err error) {
			if t.Throughput, err = l.throughput(sys.ctx, n, b.opts.duration); err != nil {
				return 0, err
			}
			// What is done later for these results is part of their cost.
			settled, err = l.settle(sys.ctx)
			return t.Throughput.results, err
		})
		return err
	})
	t.Throughput.Settled = float64(settled.Microseconds()) / 1000
	return err
}

// countMessages returns the messages per result of a virtual host, once RabbitMQ has
// counted as many deliveries as there are results.
func countMessages(ctx context.Context, uri string, results int64) (messages, error) {
	var found testservices.Messages
	begin := time.Now()
	err := daemons.Poll(ctx, 500*time.Millisecond, func() (_ bool, err error) {
		found, err = testservices.VirtualHostMessages(ctx, uri)
		return found.Delivered >= results || time.Since(begin) > 15*time.Second, err
	})
	return messages{ratio(float64(found.Published), float64(results)), ratio(float64(found.Delivered), float64(results))}, err
}
