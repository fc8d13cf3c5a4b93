// Package store keeps tasks, results and endpoints in a database: MySQL and
// MariaDB in production, SQLite for the embedded default, through gorm.
//
// A [Store] opens the database. What is done with it is grouped by aggregate:
// [Tasks], [Outbox], [Inbox], [Attempts], [Results], [Endpoints] and so on, each a
// small type over the same [DB].
//
// The methods are use cases, not CRUD. Every change of a state is one guarded
// update along the domain's table of legal moves: of two that race one wins, and
// the other learns that it lost. Transactions live here only. Errors are
// [tasker.Error]s: Unavailable if the database cannot be reached or asks for a
// retry, and the codes that the methods name.
package store

import (
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"path"
	"strings"
	"time"

	"gorm.io/gorm"
)

// batchSize bounds the rows of one statement; larger ones are no faster.
const batchSize = 100

// Store is a database. All its methods, and those of its parts, are safe for
// concurrent use.
type Store struct {
	*DB
	Schema      Schema
	Tasks       Tasks
	Schedule    Schedule
	Schedules   Schedules
	Expiry      Expiry
	Outbox      Outbox
	Inbox       Inbox
	Attempts    Attempts
	Results     Results
	Statuses    Statuses
	Live        Live
	Endpoints   Endpoints
	Removals    Removals
	Cancels     Cancels
	Holds       Holds
	Rounds      Rounds
	Rollouts    Rollouts
	Tokens      Tokens
	DeadLetters DeadLetters
	Retention   Retention
	Leases      Leases
	Inspection  Inspection
}

// Option changes how a store is opened.
type Option func(*options)

type options struct {
	local    localClock
	travels  bool
	progress func(what string)
	files    fs.FS // the migrations
}

// WithProgress sets a function that is called with a message for people when
// something takes time: a migration that waits for another one.
func WithProgress(report func(what string)) Option {
	return func(o *options) { o.progress = report }
}

// Open returns a store for the database in cfg. It does not connect: if the
// database is down, the methods report that, and work again when it is back.
func Open(cfg Config, log *slog.Logger, opts ...Option) (*Store, error) {
	if cfg.MaxOpenConns == 0 {
		cfg.MaxOpenConns = DefaultMaxOpenConns
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = 5 * time.Second
	}
	if cfg.SeenWithin == 0 {
		cfg.SeenWithin = 7 * 24 * time.Hour
	}
	u, err := url.Parse(cfg.URI)
	if err != nil {
		// A parse error contains the address, and with it the password.
		return nil, fmt.Errorf("invalid database address: must be %s", uriForms)
	}
	o := options{local: newLocalClock(), progress: func(string) {}, files: migrations}
	for _, option := range opts {
		option(&o)
	}
	db := &DB{
		log: log, local: o.local, travels: o.travels, name: strings.TrimPrefix(u.Path, "/"), seenWithin: cfg.SeenWithin,
		conversion: conversion{turn: make(chan struct{}, 1)},
	}
	schema := Schema{DB: db, progress: o.progress, files: o.files}
	var dialector gorm.Dialector
	switch u.Scheme {
	case "mysql":
		dialector, db.sql, schema.connector, err = openMySQL(u, cfg, log)
		db.dialect = mysqlDialect
	case "sqlite":
		schema.file = path.Join(u.Host, u.Path)
		dialector, db.sql, err = openSQLite(u, cfg, schema.file)
		db.dialect = sqliteDialect
	default:
		err = fmt.Errorf("invalid database address: unknown scheme %q: must be %s", u.Scheme, uriForms)
	}
	if err != nil {
		return nil, err
	}
	db.gorm, err = gorm.Open(dialector, &gorm.Config{
		SkipDefaultTransaction: true,
		DisableAutomaticPing:   true,
		TranslateError:         true,
		Logger:                 newGormLogger(log, cfg.Verbose),
		NowFunc:                db.Now,
	})
	if err != nil {
		// Only SQLite runs a statement here.
		_ = db.sql.Close()
		return nil, fmt.Errorf("open the database file %s: %w", u.Path, err)
	}
	return &Store{
		DB: db, Schema: schema, Tasks: Tasks{db}, Schedule: Schedule{db}, Schedules: Schedules{db},
		Expiry: Expiry{db}, Outbox: Outbox{db}, Inbox: Inbox{db},
		Attempts: Attempts{db}, Results: Results{db},
		Statuses: Statuses{db}, Live: Live{db}, Endpoints: Endpoints{db}, Removals: Removals{db}, Cancels: Cancels{db}, Holds: Holds{db},
		Rounds: Rounds{db}, Rollouts: Rollouts{db}, Tokens: Tokens{db},
		DeadLetters: DeadLetters{db}, Retention: Retention{db}, Leases: Leases{db}, Inspection: Inspection{db},
	}, nil
}

const uriForms = "mysql://user:password@host:port/database or sqlite:///path/to/file"

// Close closes all connections.
func (s *Store) Close() error {
	if err := s.sql.Close(); err != nil {
		return fmt.Errorf("close the database: %w", err)
	}
	return nil
}
