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

// DoctorOptions are the options of "tasker doctor".
type DoctorOptions struct {
	// ConfigError is why the API cannot use the configuration, if only its part is
	// invalid.
	ConfigError error
	// Endpoints are those of this machine, whose tokens are checked at the gateway.
	Endpoints []string
	// Limit is the time limit of one check; 0 means the default.
	Limit time.Duration
}

// Doctor examines the configured services, and changes nothing. The report contains
// the problems; the error is that ctx ended first.
func Doctor(ctx context.Context, cfg config.Config, opts DoctorOptions) (doctor.Report, error) {
	subject := doctor.Subject{Settings: settingsOf(cfg, opts.ConfigError), Limit: opts.Limit}

	if cfg.ManagerMode == config.ModeGateway && !ownBroker(cfg) {
		subject.Gateways, subject.EndpointNames = gatewayProbes(cfg), opts.Endpoints
	}
	if subject.WithoutDatabase = cfg.ManagersOnly && cfg.Store.URI == ""; !subject.WithoutDatabase {
		st, file, err := openExisting(cfg.Store)
		if err == nil {
			defer func() { _ = st.Close() }()
			subject.Database = inspected{st.DB, st.Schema, st.Inspection, file}
			subject.Endpoints, subject.Tasks = st.Endpoints, st.Inspection
		}
		subject.DatabaseError = err
	}
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
		return report, fmt.Errorf("examination interrupted: %w", context.Cause(ctx))
	}
	return report, nil
}

func settingsOf(cfg config.Config, wrong error) doctor.Settings {
	s := doctor.Settings{
		Mode: cfg.Mode, File: cfg.File, Error: wrong, Development: cfg.Mode == config.DefaultMode,
		TaskTypes: cfg.TaskTypeNames(), Listen: cfg.API.Listen, Insecure: cfg.API.Insecure,
		Token:        cfg.API.Token != "" || cfg.API.Access != nil,
		MaxOpenConns: cfg.Store.MaxOpenConns, MaxBody: cfg.API.MaxBody,
		MaxResult: int64(cfg.Manager.MaxResult), QueueExpires: cfg.Rabbit.QueueExpires,
		WaitForEndpoints: cfg.API.WaitForEndpoints, ManagersOnly: cfg.ManagersOnly,
		TLS: cfg.API.TLS.On(), ClientCertificates: cfg.API.TLS.ClientCAFile != "", UnsafeAddresses: cfg.UnsafeAddresses(),
	}
	for _, t := range cfg.EndingTokens(time.Now()) {
		s.Tokens = append(s.Tokens, doctor.Token{What: t.String(), End: t.Expires})
	}
	for _, c := range cfg.Certificates() {
		s.Certificates = append(s.Certificates, doctor.Certificate(c))
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

// openExisting opens the database, unless it is a file that does not exist, which
// opening would create. file is empty for a server.
func openExisting(cfg store.Config) (s *store.Store, file string, err error) {
	if u, err := url.Parse(cfg.URI); err == nil && u.Scheme == "sqlite" {
		file = path.Join(u.Host, u.Path)
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			return nil, file, fmt.Errorf("file %s not found", file)
		}
	}
	s, err = store.Open(cfg, slog.New(slog.DiscardHandler))
	return s, file, err
}

// management returns a client of the management API, or nil and why there is none.
func management(admin config.RabbitAdmin) (doctor.Management, error) {
	if admin.User == "" || admin.Password == "" {
		return nil, fmt.Errorf("no user of RabbitMQ's management API: set rabbitmq.user and %s", config.EnvName("rabbitmq.password"))
	}
	client, err := rabbitadmin.New(admin.ManagementURI, admin.User, admin.Password)
	if err != nil {
		return nil, err
	}
	return client, nil
}

// inspected is the database for the doctor, with the name of its file.
type inspected struct {
	*store.DB
	store.Schema
	store.Inspection
	file string // of SQLite; empty for others
}

func (s inspected) Name() string {
	if s.file != "" {
		return s.file
	}
	return s.DB.Name()
}
