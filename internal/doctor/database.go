package doctor

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/taskerhq/tasker/internal/ledger"
)

const groupDatabase = "database"

// tasker compares the database's times only, so a skew only makes the times in the
// logs disagree with those in responses.
const (
	skewWarning = time.Second
	skewProblem = time.Minute
)

// slowDatabase is a round trip with which tasks are noticeably slow: each needs
// several.
const slowDatabase = 50 * time.Millisecond

// Database is the database itself.
type Database interface {
	Name() string
	Ping(ctx context.Context) error
	CheckSchema(ctx context.Context) error
	// Now returns the database's time, as far as it was measured.
	Now() time.Time
	MeasureClock(ctx context.Context) (ahead, roundTrip time.Duration, err error)
	// CheckWrites returns why the server accepts no writes, without making any.
	CheckWrites(ctx context.Context) error
	DescribeServer(ctx context.Context) (ledger.Server, error)
}

// oldest are the oldest supported versions.
var oldest = map[string]version{"MySQL": {8, 0}, "MariaDB": {10, 6}}

const adviceDatabase = "check that the server runs, and manager.db.uri with its user and password, and with ?tls=true if the server " +
	"or the account requires it; tasker initialize --database creates the database"

func (e *examination) checkDatabase(ctx context.Context) {
	if e.Database == nil {
		e.check(ctx, groupDatabase, "connection", func(ctx context.Context) []Finding {
			return failed(ctx, e.DatabaseError, adviceDatabase)
		})
		return
	}
	reachable := e.check(ctx, groupDatabase, "connection", func(ctx context.Context) []Finding {
		if err := e.Database.Ping(ctx); err != nil {
			return failed(ctx, err, unlessRefused(err, adviceDatabase))
		}
		return okay("database %s answers", e.Database.Name())
	})
	if !reachable {
		e.skip(groupDatabase, "all else", "the database cannot be reached")
		return
	}
	e.facts.schema = e.check(ctx, groupDatabase, "schema", func(ctx context.Context) []Finding {
		if err := e.Database.CheckSchema(ctx); err != nil {
			return failed(ctx, err, "")
		}
		return okay("matches this program")
	})
	var server ledger.Server
	described := e.check(ctx, groupDatabase, "server", func(ctx context.Context) []Finding {
		var err error
		if server, err = e.Database.DescribeServer(ctx); err != nil {
			return failed(ctx, err, "")
		}
		return supported(server)
	})
	if server.Kind == "" || !described && server.Version == "" {
		return
	}
	if server.Kind == "SQLite" {
		e.skip(groupDatabase, "settings, clock", "not applicable to SQLite")
		return
	}
	e.check(ctx, groupDatabase, "sessions", func(context.Context) []Finding { return sessions(server) })
	e.check(ctx, groupDatabase, "durability", func(context.Context) []Finding { return durability(server) })
	e.check(ctx, groupDatabase, "writable", func(ctx context.Context) []Finding { return e.writable(ctx, server) })
	e.check(ctx, groupDatabase, "packets", func(context.Context) []Finding { return packets(server, e.Settings) })
	e.check(ctx, groupDatabase, "connections", func(context.Context) []Finding { return connections(server, e.Settings.MaxOpenConns) })
	e.check(ctx, groupDatabase, "clock", func(ctx context.Context) []Finding {
		ahead, roundTrip, err := e.Database.MeasureClock(ctx)
		if err != nil {
			return failed(ctx, err, "")
		}
		return clock(ahead, roundTrip)
	})
}

type version struct{ major, minor int }

func (v version) String() string { return fmt.Sprintf("%d.%d", v.major, v.minor) }

func supported(s ledger.Server) []Finding {
	least, known := oldest[s.Kind]
	if !known {
		return okay("%s %s", s.Kind, s.Version)
	}
	m := regexp.MustCompile(`^(\d+)\.(\d+)`).FindStringSubmatch(s.Version)
	if m == nil {
		return one(Warning, "", "%s has the unknown version %q: tasker needs %s or newer", s.Kind, s.Version, least)
	}
	major, _ := strconv.Atoi(m[1]) // digits; if there are too many, a large number
	minor, _ := strconv.Atoi(m[2])
	if major < least.major || major == least.major && minor < least.minor {
		return one(Problem, "upgrade the server", "%s %s is too old: tasker needs %s or newer", s.Kind, s.Version, least)
	}
	return okay("%s %s", s.Kind, s.Version)
}

// sessions reports the server's defaults for sessions. If tasker could not change
// them, the connection failed.
func sessions(s ledger.Server) []Finding {
	if len(s.Otherwise) > 0 {
		return one(Note, "", "the server has unusual defaults, which tasker overrides in its sessions: %s", strings.Join(s.Otherwise, "; "))
	}
	return okay("set up and checked by tasker")
}

// writable checks whether the server accepts writes.
func (e *examination) writable(ctx context.Context, s ledger.Server) []Finding {
	if s.ReadOnly {
		return one(Problem, "set manager.db.uri to a server that accepts writes, or turn read_only off",
			"the server is read-only: no task can be accepted")
	}
	if !e.facts.schema {
		return okay("read_only is off")
	}
	if err := e.Database.CheckWrites(ctx); err != nil {
		return failed(ctx, err, "no task can be accepted: see the server's message")
	}
	return okay("the server accepts writes")
}

// packets compares tasker's limits with the server's.
func packets(s ledger.Server, settings Settings) []Finding {
	var found []Finding
	for _, limit := range []struct {
		key   string
		bytes int64
		then  string
	}{
		{"api.max_body", settings.MaxBody, "larger bodies are rejected with 413"},
		{"manager.max_result", settings.MaxResult, "larger results fail"},
	} {
		if s.LargestValue > 0 && limit.bytes > int64(s.LargestValue) {
			found = append(found, one(Warning, "raise max_allowed_packet on the server, or lower "+limit.key,
				"max_allowed_packet is %d, for values of up to %d bytes, but %s is %d: %s",
				s.MaxPacket, s.LargestValue, limit.key, limit.bytes, limit.then)...)
		}
	}
	if found == nil {
		return okay("max_allowed_packet is %d: enough for api.max_body and manager.max_result", s.MaxPacket)
	}
	return found
}

// durability checks whether commits survive a power failure.
func durability(s ledger.Server) []Finding {
	var found []Finding
	if s.FlushLog != 1 {
		found = append(found, one(Warning, "set innodb_flush_log_at_trx_commit = 1",
			"innodb_flush_log_at_trx_commit is %d: a crash of the machine may lose the last second, and with it accepted tasks",
			s.FlushLog)...)
	}
	if s.BinaryLog && s.SyncBinlog != 1 {
		found = append(found, one(Warning, "set sync_binlog = 1",
			"sync_binlog is %d: after a crash of the machine replicas may lack data of the server", s.SyncBinlog)...)
	}
	if found == nil {
		return okay("commits are on disk when they return")
	}
	return found
}

// connections checks for how many tasker processes the server has connections.
func connections(s ledger.Server, pool int) []Finding {
	if pool < 1 || s.MaxConnections < 1 {
		return nil
	}
	// The server reserves one for the administrator.
	processes := (s.MaxConnections - 1) / pool
	const roomy = 4
	if processes < roomy {
		return one(Note, "raise max_connections, or lower manager.db.max_open_conns",
			"max_connections is %d: enough for %d processes of tasker with up to %d connections each", s.MaxConnections, processes, pool)
	}
	return okay("max_connections is %d: enough for %d processes with up to %d connections each", s.MaxConnections, processes, pool)
}

func clock(ahead, roundTrip time.Duration) []Finding {
	skew := ahead.Abs()
	direction := "ahead of"
	if ahead < 0 {
		direction = "behind"
	}
	var found []Finding
	if skew >= skewWarning {
		level := Warning
		if skew >= skewProblem {
			level = Problem
		}
		found = one(level, "synchronize the clocks of the machines (chrony, systemd-timesyncd)",
			"the database's clock is %s %s this machine's. tasker uses the database's: only the times in this machine's logs are wrong",
			skew.Round(time.Millisecond), direction)
	}
	if roundTrip >= slowDatabase {
		found = append(found, one(Warning, "every task needs several: move tasker and the database closer together",
			"a statement takes %s", roundTrip.Round(time.Millisecond))...)
	}
	if found == nil {
		return okay("the database's clock and this machine's differ by %s; a statement takes %s",
			skew.Round(time.Millisecond), roundTrip.Round(10*time.Microsecond))
	}
	return found
}
