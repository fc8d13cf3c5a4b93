package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path"
	"time"

	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/internal/broker/rabbit"
	"github.com/taskerhq/tasker/internal/broker/rabbitadmin"
	"github.com/taskerhq/tasker/internal/doctor"
	"github.com/taskerhq/tasker/internal/store"
)

// DoctorOptions say how "tasker doctor" examines.
type DoctorOptions struct {
	// ConfigError is why the API could not use the configuration, where all
	// but its part could be read.
	ConfigError error
	// Limit is the time that one check may take; 0 means the usual.
	Limit time.Duration
}

// Doctor examines the configured services, and changes nothing. What is wrong
// with them is in the report; the error is that ctx ended first.
func Doctor(ctx context.Context, cfg config.Config, opts DoctorOptions) (doctor.Report, error) {
	subject := doctor.Subject{Settings: settingsOf(cfg, opts.ConfigError), Limit: opts.Limit}

	st, file, err := openExisting(cfg.Store)
	if err == nil {
		defer func() { _ = st.Close() }()
		subject.Database = inspected{st, file}
	}
	subject.DatabaseError = err
	if ownBroker(cfg) {
		subject.OwnBroker = true
		return examine(ctx, subject)
	}

	probes, err := rabbit.Probes(cfg.Rabbit)
	if err != nil {
		return doctor.Report{}, err
	}
	for _, p := range probes {
		defer p.Close()
		subject.Nodes = append(subject.Nodes, p)
	}

	subject.Management, subject.ManagementError = management(cfg.RabbitAdmin)
	if subject.Settings.QueueArguments, subject.Settings.DeadArguments, err = rabbit.Arguments(cfg.Rabbit); err != nil {
		return doctor.Report{}, err
	}
	account, err := accountOf(cfg.Rabbit.URIs)
	if err != nil {
		subject.Management, subject.ManagementError = nil, err
	}
	subject.User, subject.VirtualHost = account.user, account.vhost

	return examine(ctx, subject)
}

func examine(ctx context.Context, subject doctor.Subject) (doctor.Report, error) {
	report := doctor.Run(ctx, subject)
	if ctx.Err() != nil {
		return report, fmt.Errorf("the examination was broken off: %w", context.Cause(ctx))
	}
	return report, nil
}

func settingsOf(cfg config.Config, wrong error) doctor.Settings {
	s := doctor.Settings{
		Mode: cfg.Mode, File: cfg.File, Error: wrong, Development: cfg.Mode == config.DefaultMode,
		TaskTypes: cfg.TaskTypeNames(), Listen: cfg.API.Listen, Token: cfg.API.Token != "", Insecure: cfg.API.Insecure,
		MaxOpenConns: cfg.Store.MaxOpenConns, MaxBody: cfg.API.MaxBody, MaxResult: int64(cfg.Manager.MaxResult), QueueExpires: cfg.Rabbit.QueueExpires,
		WaitForEndpoints: cfg.API.WaitForEndpoints,
	}
	add := func(key, uri string) {
		if u, err := url.Parse(uri); err == nil && u.User != nil {
			password, _ := u.User.Password()
			s.Accounts = append(s.Accounts, doctor.Account{Key: key, User: u.User.Username(), Password: password})
		}
	}
	add("manager.db", cfg.Store.URI)
	if len(cfg.Rabbit.URIs) > 0 {
		add("manager.message_queue", cfg.Rabbit.URIs[0])
	}
	if admin := cfg.RabbitAdmin; admin.Password != "" {
		s.Accounts = append(s.Accounts, doctor.Account{Key: "rabbitmq", User: admin.User, Password: admin.Password})
	}
	return s
}

// openExisting opens the database, unless it is a file that does not exist,
// which opening would make. file is empty where it is none.
func openExisting(cfg store.Config) (s *store.Store, file string, err error) {
	if u, err := url.Parse(cfg.URI); err == nil && u.Scheme == "sqlite" {
		file = path.Join(u.Host, u.Path)
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			return nil, file, fmt.Errorf("there is no file %s", file)
		}
	}
	s, err = store.Open(cfg, slog.New(slog.DiscardHandler))
	return s, file, err
}

// management is a client of the management API, or why there is none. The
// interface is nil then.
func management(admin config.RabbitAdmin) (doctor.Management, error) {
	if admin.User == "" || admin.Password == "" {
		return nil, fmt.Errorf("rabbitmq.user and %s name no user of RabbitMQ's management API", config.EnvName("rabbitmq.password"))
	}
	client, err := rabbitadmin.New(admin.ManagementURI, admin.User, admin.Password)
	if err != nil {
		return nil, err
	}
	return client, nil
}

// inspected is the store in the doctor's words.
type inspected struct {
	*store.Store
	file string // of SQLite
}

var _ doctor.Database = inspected{}

func (s inspected) Name() string {
	if s.file != "" {
		return s.file
	}
	return s.Store.Name()
}

func (s inspected) DescribeServer(ctx context.Context) (doctor.Server, error) {
	server, err := s.Store.DescribeServer(ctx)
	return doctor.Server(server), err
}

func (s inspected) Unsent(ctx context.Context, since time.Time) (doctor.Backlog, error) {
	backlog, err := s.Store.Unsent(ctx, since)
	return doctor.Backlog(backlog), err
}

func (s inspected) Overdue(ctx context.Context, sentUntil time.Time) (doctor.Backlog, error) {
	backlog, err := s.Store.Overdue(ctx, sentUntil)
	return doctor.Backlog(backlog), err
}

func (s inspected) IncompleteTasks(ctx context.Context, limit int) (int, []doctor.IncompleteTask, error) {
	total, latest, err := s.Store.IncompleteTasks(ctx, limit)
	tasks := make([]doctor.IncompleteTask, len(latest))
	for i, t := range latest {
		tasks[i] = doctor.IncompleteTask(t)
	}
	return total, tasks, err
}
