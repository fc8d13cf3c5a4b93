package store

import "time"

// Config says which database to use.
type Config struct {
	// URI is mysql://user:password@host:port/database for MySQL 8.0+ and
	// MariaDB 10.6+, or sqlite:///path/to/file.
	URI string
	// Verbose logs every statement, at debug level.
	Verbose bool
	// MaxOpenConns bounds the connections; 0 means 16.
	MaxOpenConns int
	// ConnectTimeout bounds the time that opening a connection may take; 0
	// means 5 s.
	ConnectTimeout time.Duration
}
