package store

import "time"

// DefaultMaxOpenConns is the default of [Config].MaxOpenConns.
const DefaultMaxOpenConns = 16

// Config is the configuration of a database.
type Config struct {
	// URI is mysql://user:password@host:port/database for MySQL 8.0+ and
	// MariaDB 10.6+, or sqlite:///path/to/file.
	URI string
	// Verbose logs every statement at debug level.
	Verbose bool
	// MaxOpenConns limits the connections; 0 means DefaultMaxOpenConns.
	MaxOpenConns int
	// ConnectTimeout limits how long opening a connection takes; 0 means 5 s.
	ConnectTimeout time.Duration
}
