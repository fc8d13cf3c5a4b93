package store

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/taskerhq/tasker"
)

// Inspection reads what the doctor examines.
type Inspection struct{ *DB }

// Server is what a database server says of itself, as far as it matters for
// what tasker promises. Of SQLite there is the kind and the version only.
type Server struct {
	Kind    string // MySQL, MariaDB or SQLite
	Version string // as the server writes it
	// Otherwise says which session variables the server begins with a value
	// that an administrator chose and tasker must not have. It sets its own.
	Otherwise []string
	// MaxPacket is max_allowed_packet, and LargestValue the largest value that
	// tasker stores therefore, in bytes.
	MaxPacket    int
	LargestValue int
	// FlushLog is innodb_flush_log_at_trx_commit: with 1 a commit is on disk
	// when it is answered.
	FlushLog int
	// SyncBinlog is sync_binlog; it says nothing where BinaryLog is off.
	BinaryLog      bool
	SyncBinlog     int
	ReadOnly       bool
	MaxConnections int
}

// DescribeServer asks the server for its version and its settings.
func (s Inspection) DescribeServer(ctx context.Context) (Server, error) {
	if s.dialect.name == sqliteDialect.name {
		server := Server{Kind: "SQLite"}
		err := s.sql.QueryRowContext(ctx, "SELECT sqlite_version()").Scan(&server.Version)
		return server, s.fail("tell its version", err)
	}
	// SHOW leaves out what a server does not know: the names differ between
	// MySQL and MariaDB, and between their versions.
	var rows []struct {
		Name  string `gorm:"column:Variable_name"`
		Value string `gorm:"column:Value"`
	}
	names := []string{
		"version", "innodb_flush_log_at_trx_commit", "log_bin", "sync_binlog", "read_only", "super_read_only", "max_connections", packetVariable,
	}
	for _, v := range sessionVariables {
		names = append(names, v.name)
	}
	err := s.conn(ctx).Raw("SHOW GLOBAL VARIABLES WHERE Variable_name IN ?", names).Scan(&rows).Error
	if err != nil {
		return Server{}, s.fail("tell its settings", err)
	}
	value := make(map[string]string, len(rows))
	for _, r := range rows {
		value[strings.ToLower(r.Name)] = r.Value
	}
	number := func(name string) int {
		n, _ := strconv.Atoi(value[name]) // 0 where it is not known
		return n
	}
	server := Server{
		Kind: "MySQL", Version: value["version"], MaxPacket: number(packetVariable), LargestValue: largestValue(number(packetVariable)),
		Otherwise: describe(differing(value, func(v variable) bool { _, known := value[v.name]; return v.usual && known }), value),
		FlushLog:  number("innodb_flush_log_at_trx_commit"), BinaryLog: on(value["log_bin"]), SyncBinlog: number("sync_binlog"),
		ReadOnly: on(value["read_only"]) || on(value["super_read_only"]), MaxConnections: number("max_connections"),
	}
	if strings.Contains(server.Version, "MariaDB") {
		server.Kind = "MariaDB"
	}
	return server, nil
}

// on reads a switch, of which newer servers know more than two positions.
func on(value string) bool { return value != "" && value != "OFF" && value != "0" }

// MeasureClock measures how far the database's clock is ahead of the local
// one, and how long a statement takes to be answered. Both are 0 on SQLite,
// which has the local clock.
func (s Inspection) MeasureClock(ctx context.Context) (ahead, roundTrip time.Duration, err error) {
	if s.dialect.clock == "" {
		return 0, 0, nil
	}
	// The first statement may have to connect: the shortest of a few counts.
	for range 3 {
		found, took, err := s.askClock(ctx)
		if err != nil {
			return 0, 0, err
		}
		if roundTrip == 0 || took < roundTrip {
			passed := s.local.elapsed() - found.elapsed
			ahead, roundTrip = found.time.Add(passed).Sub(s.local.wall()), took
		}
	}
	return ahead, roundTrip, nil
}

// Backlog is how many tasks wait for something, and since when the one that
// waits longest does.
type Backlog struct {
	Tasks  int
	Oldest time.Time // zero where there is none
}

// Unsent counts the tasks that are CREATED since a time or longer: the broker
// has not confirmed them.
func (s Inspection) Unsent(ctx context.Context, since time.Time) (Backlog, error) {
	return s.backlog(ctx, "count the unsent tasks", "start_time",
		"status = ? AND start_time <= ?", tasker.Created, dbTime{since})
}

// Overdue counts the tasks that were sent at a time or before, are SENT still,
// and miss an endpoint, as far as counting tells: somebody should have called
// them INCOMPLETE.
func (s Inspection) Overdue(ctx context.Context, sentUntil time.Time) (Backlog, error) {
	return s.backlog(ctx, "count the overdue tasks", "sent_time",
		"status = ? AND sent_time <= ? AND (SELECT COUNT(*) FROM task_results r WHERE r.task_id = tasks.id AND r.errnr <> ?) < "+
			s.dialect.greatest+"(1, "+s.dialect.jsonLength+"(COALESCE(expected, endpoints)))", tasker.Sent, dbTime{sentUntil}, tasker.ErrnrRemoved)
}

func (s Inspection) backlog(ctx context.Context, what, column, condition string, args ...any) (Backlog, error) {
	var row struct {
		Tasks  int
		Oldest *dbTime
	}
	err := s.conn(ctx).Model(&taskRow{}).Select("COUNT(*) AS tasks, MIN("+column+") AS oldest").
		Where(condition, args...).Scan(&row).Error
	if err != nil || row.Oldest == nil {
		return Backlog{}, s.fail(what, err)
	}
	return Backlog{row.Tasks, row.Oldest.Time}, nil
}

// IncompleteTask is an INCOMPLETE task and the endpoints that it waits for.
type IncompleteTask struct {
	Type, Identifier string
	SentTime         time.Time
	Missing          []string // expected, and without a result
	Lost             []string // with a result that is LOST
}

// IncompleteTasks counts the INCOMPLETE tasks, and gives up to limit of them,
// those sent last first.
func (s Inspection) IncompleteTasks(ctx context.Context, limit int) (total int, latest []IncompleteTask, err error) {
	const what = "look for incomplete tasks"
	var count int64
	if err := s.conn(ctx).Model(&taskRow{}).Where("status = ?", tasker.Incomplete).Count(&count).Error; err != nil {
		return 0, nil, s.fail(what, err)
	}
	var rows []taskRow
	err = s.conn(ctx).Select("id", "type", "identifier", "endpoints", "expected", "sent_time").
		Where("status = ?", tasker.Incomplete).Order("sent_time DESC, id DESC").Limit(limit).Find(&rows).Error
	if err != nil || len(rows) == 0 {
		return int(count), nil, s.fail(what, err)
	}
	index := make(map[int64]int, len(rows))
	ids := make([]int64, len(rows))
	latest = make([]IncompleteTask, len(rows))
	for i := range rows {
		task := rows[i].task()
		ids[i], index[task.ID] = task.ID, i
		latest[i] = IncompleteTask{Type: task.Type, Identifier: task.Identifier, Missing: task.Expected}
		if task.SentTime != nil {
			latest[i].SentTime = *task.SentTime
		}
	}
	var results []resultRow
	err = s.conn(ctx).Select("task_id", "endpoint", "state").Where("task_id IN ?", ids).
		Order("task_id, endpoint").Find(&results).Error
	if err != nil {
		return 0, nil, s.fail(what, err)
	}
	for _, r := range results {
		task := &latest[index[r.TaskID]]
		task.Missing = slices.DeleteFunc(task.Missing, func(name string) bool { return name == r.Endpoint })
		if r.State == tasker.Lost {
			task.Lost = append(task.Lost, r.Endpoint)
		}
	}
	return int(count), latest, nil
}

// LostResults counts the LOST results, and gives up to limit endpoints that
// have such, by name.
func (s Inspection) LostResults(ctx context.Context, limit int) (total int, endpoints []string, err error) {
	var rows []struct {
		Name    string
		Results int
	}
	// Beginning with the endpoints, of which there are few, a seek in the
	// results' index for each is enough.
	err = s.conn(ctx).Table("endpoints e").
		Select("e.name AS name, (SELECT COUNT(*) FROM task_results r WHERE r.endpoint = e.name AND r.state = ?) AS results", tasker.Lost).
		Where("e.name > ''").Order("e.name").Find(&rows).Error
	if err != nil {
		return 0, nil, s.fail("count the lost results", err)
	}
	for _, r := range rows {
		total += r.Results
		if r.Results > 0 && len(endpoints) < limit {
			endpoints = append(endpoints, r.Name)
		}
	}
	return total, endpoints, nil
}

// CountDeadLetters tells how many dead letters are stored.
func (s DeadLetters) CountDeadLetters(ctx context.Context) (int, error) {
	var n int64
	err := s.conn(ctx).Table("dead_letters").Count(&n).Error
	return int(n), s.fail("count the dead letters", err)
}
