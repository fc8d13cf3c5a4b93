package main

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/taskerhq/tasker/test/internal/daemons"
	"github.com/taskerhq/tasker/test/internal/noop"
)

// processes are tasker's processes: an API, and a manager for each endpoint.
type processes struct {
	group         *daemons.Group
	api, managers []int        // process IDs
	polls         atomic.Int64 // statements of the watcher
}

// startProcesses starts tasker as a fleet runs it: an API process and a manager
// process for each endpoint. It waits until all consume and the API is ready.
func startProcesses(ctx context.Context, s *services, opts options, endpoints int) (_ *system, err error) {
	if err := daemons.Migrate(ctx, s.mysql); err != nil {
		return nil, err
	}
	ctx, fail := context.WithCancelCause(ctx)
	group, err := daemons.NewGroup("", fail)
	if err != nil {
		return nil, err
	}
	p := &processes{group: group}
	sys := &system{ctx: ctx, parts: p}
	w, err := newWatcher(s.mysql, opts.results(endpoints), &p.polls)
	if err != nil {
		return nil, errors.Join(err, group.Stop(time.Minute))
	}
	sys.await = w.wait
	sys.stop = sync.OnceValue(func() error {
		fail(context.Canceled)
		return errors.Join(group.Stop(time.Minute), w.close())
	})
	if err := p.start(sys, s, opts, endpoints); err != nil {
		return nil, errors.Join(err, sys.stop())
	}
	return sys, nil
}

func (p *processes) start(sys *system, s *services, opts options, endpoints int) error {
	site := s.site(opts)
	names := make([]string, endpoints)
	for i := range names {
		names[i] = endpointName(i)
	}
	if err := site.IssueTokens(sys.ctx, p.group, names); err != nil {
		return err
	}
	environ, err := site.AddAPI()
	if err != nil {
		return err
	}
	sys.url = site.URLs()[0]
	pid, err := p.group.Start(daemons.Command{Name: "api", Args: []string{noop.Command, "api"}, Environ: environ})
	if err != nil {
		return err
	}
	p.api = []int{pid}
	for i, name := range names {
		pid, err := p.group.Start(daemons.Command{
			Name: name, Args: []string{noop.Command, "manager", "--endpoint", name}, Environ: site.Manager(i),
		})
		if err != nil {
			return err
		}
		p.managers = append(p.managers, pid)
	}
	ctx, cancel := context.WithTimeoutCause(sys.ctx, 3*time.Minute, errors.New("processes not ready within three minutes"))
	defer cancel()
	if err := daemons.AwaitConsumers(ctx, s.rabbit, noop.Type, names); err != nil {
		return err
	}
	return daemons.AwaitAPI(ctx, sys.url)
}
