package ledger

import "time"

// Server describes a database server, as far as tasker's guarantees depend on
// it. For SQLite only the kind and the version are set.
type Server struct {
	Kind    string // MySQL, MariaDB or SQLite
	Version string // as the server returns it
	// Otherwise lists the session variables whose global value, chosen by an
	// administrator, tasker must not use. It sets its own.
	Otherwise []string
	// MaxPacket is max_allowed_packet, and LargestValue the largest value that
	// tasker can store with it, in bytes.
	MaxPacket    int
	LargestValue int
	// FlushLog is innodb_flush_log_at_trx_commit: with 1, a commit is on disk
	// when it returns.
	FlushLog int
	// SyncBinlog is sync_binlog; it has no meaning if BinaryLog is false.
	BinaryLog      bool
	SyncBinlog     int
	ReadOnly       bool
	MaxConnections int
}

// Backlog is a number of waiting tasks and the time since when the oldest
// waits.
type Backlog struct {
	Tasks  int
	Oldest time.Time // zero if there is none
}

// IncompleteTask is an INCOMPLETE task with the endpoints that it waits for.
type IncompleteTask struct {
	Type, Identifier string
	SentTime         time.Time
	Missing          []string // expected, without a result
	Lost             []string // with a LOST result
}
