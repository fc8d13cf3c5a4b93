package main

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"time"

	"github.com/taskerhq/tasker/test/internal/daemons"
	"github.com/taskerhq/tasker/test/internal/usage"
)

// cost is what a result costs. Shares of processes that were not found are nil.
type cost struct {
	// Program is this process, with the clients, the publisher and all consumers.
	// Where tasker runs in processes of its own, it is the clients alone.
	Program float64 `json:"program_cpu_us"`
	// API and Managers are tasker's processes, if it has any.
	API      *float64 `json:"api_cpu_us,omitempty"`
	Managers *float64 `json:"managers_cpu_us,omitempty"`
	MariaDB  *float64 `json:"mariadb_cpu_us"`
	RabbitMQ *float64 `json:"rabbitmq_cpu_us"`
	// Total is the sum of all parts but separate clients.
	Total *float64 `json:"total_cpu_us"`
	// Statements are those of the database server, and Kinds is how many of each
	// kind.
	Statements float64            `json:"statements"`
	Kinds      map[string]float64 `json:"statement_kinds"`
}

// tasker returns the CPU time per result without the servers.
func (c cost) tasker() float64 {
	if c.API == nil || c.Managers == nil {
		return c.Program
	}
	return *c.API + *c.Managers
}

// meter measures what a phase costs.
type meter struct {
	db      *sql.DB
	servers usage.Servers
	parts   *processes
}

// newMeter returns a meter of this process, the servers, and tasker's processes, if
// there are any.
func newMeter(s *services, parts *processes) (*meter, error) {
	db, err := daemons.OpenDB(s.mysql, 1)
	if err != nil {
		return nil, err
	}
	return &meter{db, usage.FindServers(), parts}, nil
}

func (m *meter) close() error { return m.db.Close() }

// reading has the counters at one time.
type reading struct {
	program, api, managers, mariadb, rabbitmq time.Duration
	statements                                usage.Statements
	polls                                     int64
}

func (m *meter) read(ctx context.Context) (r reading, err error) {
	if r.statements, err = usage.ReadStatements(ctx, m.db); err != nil {
		return r, err
	}
	parts := map[*time.Duration][]int{
		&r.program: {os.Getpid()}, &r.mariadb: {m.servers.MariaDB}, &r.rabbitmq: {m.servers.RabbitMQ},
	}
	if m.parts != nil {
		parts[&r.api], parts[&r.managers] = m.parts.api, m.parts.managers
		r.polls = m.parts.polls.Load()
	}
	for into, pids := range parts {
		used, err := usage.Of(pids...)
		if err != nil {
			return r, err
		}
		*into = used.CPU
	}
	r.program -= r.api + r.managers // its children
	return r, nil
}

// during measures do, which returns the number of results.
func (m *meter) during(ctx context.Context, do func() (int64, error)) (c cost, err error) {
	before, err := m.read(ctx)
	if err != nil {
		return c, err
	}
	results, err := do()
	if err != nil {
		return c, err
	}
	after, err := m.read(ctx)
	if err != nil {
		return c, err
	}
	if results == 0 {
		return c, errors.New("no result within the time of a phase")
	}
	n := float64(results)
	of := func(before, after time.Duration) float64 { return float64((after - before).Microseconds()) / n }
	statements := after.statements.Minus(before.statements)
	c.Program = of(before.program, after.program)
	c.Statements = float64(statements.Questions-(after.polls-before.polls)) / n
	c.Kinds = statements.PerResult(n)
	if m.parts != nil {
		c.API, c.Managers = new(of(before.api, after.api)), new(of(before.managers, after.managers))
	}
	if m.servers.MariaDB != 0 {
		c.MariaDB = new(of(before.mariadb, after.mariadb))
	}
	if m.servers.RabbitMQ != 0 {
		c.RabbitMQ = new(of(before.rabbitmq, after.rabbitmq))
	}
	if c.MariaDB != nil && c.RabbitMQ != nil {
		c.Total = new(c.tasker() + *c.MariaDB + *c.RabbitMQ)
	}
	return c, nil
}
