package main

import (
	"context"
	"errors"
	"time"
)

// round has the measurements for one number of endpoints, taken close together:
// on a busy machine the ratios mean more than the numbers.
type round struct {
	Endpoints  int             `json:"endpoints"`
	Latency    latencies       `json:"latency"`
	Throughput throughput      `json:"throughput"`
	Database   databaseCeiling `json:"database_ceiling"`
	Broker     brokerCeiling   `json:"broker_ceiling"`
	// Naive is the result of measureNaive, in results per second.
	Naive  float64 `json:"naive_results_per_s"`
	Ratios ratios  `json:"ratios"`
}

// ratios compare tasker with the ceilings.
type ratios struct {
	// Latency is the median until all results are stored, divided by the sum of
	// the ceilings' medians: a fan-out, an insert and an update.
	Latency float64 `json:"latency_to_floor"`
	// The others are results per second divided by that ceiling.
	Broker  float64 `json:"results_to_broker"`
	Single  float64 `json:"results_to_database_single"`
	Batches float64 `json:"results_to_database_batched"`
	// Both is the computed ceiling of a program that does both, one after the
	// other on the same processors: 1 / (1/broker + 1/batched).
	Both  float64 `json:"results_to_both"`
	Naive float64 `json:"results_to_naive"`
}

func (r *round) compute() {
	results := r.Throughput.Results
	r.Ratios = ratios{
		Latency: ratio(r.Latency.Stored.P50, r.floor()),
		Broker:  ratio(results, r.Broker.Deliveries),
		Single:  ratio(results, r.Database.Single),
		Batches: ratio(results, r.Database.Batches),
		Both:    ratio(results, r.both()),
		Naive:   ratio(results, r.Naive),
	}
}

func (r *round) floor() float64 { return r.Broker.Fanout.P50 + r.Database.Life.P50 }

func (r *round) both() float64 {
	return ratio(r.Broker.Deliveries*r.Database.Batches, r.Broker.Deliveries+r.Database.Batches)
}

// measure runs one round. Each part has its own database and virtual host.
func measure(ctx context.Context, opts options, n int, profile *profile, progress func(string, ...any)) (r round, err error) {
	r.Endpoints = n
	progress("%d endpoints: the ceilings of the database and the broker", n)
	err = withServices(ctx, func(s *services) (err error) {
		if r.Database, err = measureDatabase(ctx, s.mysql, n, opts.duration); err != nil {
			return err
		}
		r.Broker, err = measureBroker(ctx, s.rabbit, opts, n)
		return err
	})
	if err != nil {
		return r, err
	}
	progress("%d endpoints: the naive daemon", n)
	err = withServices(ctx, func(s *services) (err error) {
		r.Naive, err = measureNaive(ctx, s, opts, n)
		return err
	})
	if err != nil {
		return r, err
	}
	progress("%d endpoints: tasker", n)
	if err := withServices(ctx, func(s *services) error { return r.tasker(ctx, s, opts, profile, progress) }); err != nil {
		return r, err
	}
	r.compute()
	return r, nil
}

func (r *round) tasker(ctx context.Context, s *services, opts options, profile *profile, progress func(string, ...any)) (err error) {
	sys, err := startSystem(ctx, s, r.Endpoints, opts.slots)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sys.stop()) }()
	l, err := newLoad(sys, s, opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()

	warm := opts.duration / 8
	if _, err := l.throughput(sys.ctx, opts, r.Endpoints, warm); err != nil {
		return err
	}
	if _, err := l.settle(sys.ctx); err != nil {
		return err
	}
	progress("%d endpoints: tasker's latency", r.Endpoints)
	if r.Latency, err = l.latency(sys.ctx, opts.samples, opts.duration/2); err != nil {
		return err
	}
	progress("%d endpoints: tasker's throughput", r.Endpoints)
	err = profile.during(func() (err error) {
		r.Throughput, err = l.throughput(sys.ctx, opts, r.Endpoints, opts.duration)
		return err
	})
	if err != nil {
		return err
	}
	settled, err := l.settle(sys.ctx)
	r.Throughput.Settled = float64(settled.Round(time.Millisecond).Milliseconds())
	return err
}
