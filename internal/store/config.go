package store

import (
	"time"

	"github.com/taskerhq/tasker/internal/x/certfile"
)

// DefaultMaxOpenConns is the default of [Config].MaxOpenConns.
const DefaultMaxOpenConns = 16

// Config is the configuration of a database.
type Config struct {
	// URI is mysql://user:password@host:port/database for MySQL 8.0+ and
	// MariaDB 10.6+, or sqlite:///path/to/file.
	URI string
	// TLS are the files for connections to an address with tls=true.
	TLS certfile.ClientFiles
	// Verbose logs every statement at debug level.
	Verbose bool
	// MaxOpenConns limits the connections; 0 means DefaultMaxOpenConns.
	MaxOpenConns int
	// SeenWithin bounds the silence of an endpoint that is still a target of a new
	// task for all endpoints. It should match how long an unused queue is kept; 0
	// means 7 days.
	SeenWithin time.Duration
	// ConnectTimeout limits how long opening a connection takes; 0 means 5 s.
	ConnectTimeout time.Duration
}
