package store

import (
	"context"
	"strconv"
	"strings"
	"time"

	"gorm.io/gorm"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// Inspection reads what the doctor examines, and what the metrics say of the fleet.
type Inspection struct{ *DB }

// DescribeServer reads the server's version and settings.
func (s Inspection) DescribeServer(ctx context.Context) (ledger.Server, error) {
	if s.dialect.name == sqliteDialect.name {
		server := ledger.Server{Kind: "SQLite"}
		err := s.sql.QueryRowContext(ctx, "SELECT sqlite_version()").Scan(&server.Version)
		return server, s.fail("read the server's version", err)
	}
	// SHOW leaves out what a server does not have: the names differ between
	// MySQL and MariaDB, and between their versions.
	var rows []struct {
		Name  string `gorm:"column:Variable_name"`
		Value string `gorm:"column:Value"`
	}
	names := []string{
		"version", "innodb_flush_log_at_trx_commit", "log_bin", "sync_binlog", "read_only", "super_read_only",
		"max_connections", packetVariable,
	}
	for _, v := range sessionVariables {
		names = append(names, v.name)
	}
	err := s.conn(ctx).Raw("SHOW GLOBAL VARIABLES WHERE Variable_name IN ?", names).Scan(&rows).Error
	if err != nil {
		return ledger.Server{}, s.fail("read the server's settings", err)
	}
	value := make(map[string]string, len(rows))
	for _, r := range rows {
		value[strings.ToLower(r.Name)] = r.Value
	}
	number := func(name string) int {
		n, _ := strconv.Atoi(value[name]) // 0 if unknown
		return n
	}
	server := ledger.Server{
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

// on parses a switch; newer servers have more than two values.
func on(value string) bool { return value != "" && value != "OFF" && value != "0" }

// MeasureClock returns how far the database's clock is ahead of the local one,
// and the round trip of a statement. Both are 0 for SQLite, which uses the
// local clock.
func (s Inspection) MeasureClock(ctx context.Context) (ahead, roundTrip time.Duration, err error) {
	if s.dialect.clock == "" {
		return 0, 0, nil
	}
	// The first statement may have to connect: the shortest round trip counts.
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

// Unsent counts the tasks that are CREATED at least since a time: the broker
// has not confirmed them. Those with a rollout, which may wait for an approval, are left
// out.
func (s Inspection) Unsent(ctx context.Context, since time.Time) (ledger.Backlog, error) {
	return s.backlog(ctx, "count the unsent tasks", "start_time",
		"status = ? AND start_time <= ? AND relay_time IS NOT NULL", tasker.Created, dbTime{since})
}

// Overdue counts the tasks sent by a time that are still SENT and lack an
// endpoint, as far as counting can tell: they should be INCOMPLETE by now. A task with a
// rollout waits for endpoints whose waves are not open.
func (s Inspection) Overdue(ctx context.Context, sentUntil time.Time) (ledger.Backlog, error) {
	return s.backlog(ctx, "count the overdue tasks", "sent_time",
		"status = ? AND sent_time <= ? AND rollout IS NULL"+
			" AND (SELECT COUNT(*) FROM task_results r WHERE r.task_id = tasks.id AND r.errnr <> ?) < "+
			s.dialect.greatest+"(1, "+s.dialect.jsonLength+"(COALESCE(expected, endpoints)))",
		tasker.Sent, dbTime{sentUntil}, tasker.ErrnrRemoved)
}

func (s Inspection) backlog(ctx context.Context, what, column, condition string, args ...any) (ledger.Backlog, error) {
	var row struct {
		Tasks  int
		Oldest *dbTime
	}
	err := s.conn(ctx).Model(&taskRow{}).Select("COUNT(*) AS tasks, MIN("+column+") AS oldest").
		Where(condition, args...).Scan(&row).Error
	if err != nil || row.Oldest == nil {
		return ledger.Backlog{}, s.fail(what, err)
	}
	return ledger.Backlog{Tasks: row.Tasks, Oldest: row.Oldest.Time}, nil
}

// IncompleteTasks counts the INCOMPLETE tasks, and returns up to limit of them,
// last sent first.
func (s Inspection) IncompleteTasks(ctx context.Context, limit int) (total int, latest []ledger.IncompleteTask, err error) {
	const what = "read the incomplete tasks"
	var count int64
	if err := s.conn(ctx).Model(&taskRow{}).Where("status = ?", tasker.Incomplete).Count(&count).Error; err != nil {
		return 0, nil, s.fail(what, err)
	}
	var rows []taskRow
	err = s.conn(ctx).Select("id", "type", "identifier", "sent_time").
		Where("status = ?", tasker.Incomplete).Order("sent_time DESC, id DESC").Limit(limit).Find(&rows).Error
	if err != nil || len(rows) == 0 {
		return int(count), nil, s.fail(what, err)
	}
	index := make(map[int64]int, len(rows))
	ids := make([]int64, len(rows))
	latest = make([]ledger.IncompleteTask, len(rows))
	for i := range rows {
		task := rows[i].task()
		ids[i], index[task.ID] = task.ID, i
		latest[i] = ledger.IncompleteTask{Type: task.Type, Identifier: task.Identifier}
		if task.SentTime != nil {
			latest[i].SentTime = *task.SentTime
		}
	}
	missing, lost, err := s.missingAndLost(ctx, ids)
	if err != nil {
		return 0, nil, s.fail(what, err)
	}
	for _, key := range missing {
		task := &latest[index[key.TaskID]]
		task.Missing = append(task.Missing, key.Endpoint)
	}
	for _, key := range lost {
		task := &latest[index[key.TaskID]]
		task.Lost = append(task.Lost, key.Endpoint)
	}
	return int(count), latest, nil
}

// missingAndLost returns the targets of tasks that have no result, and those whose
// result is LOST, by name. A task that an older program accepted has a list in
// place of targets: this only reads.
func (s Inspection) missingAndLost(ctx context.Context, ids []int64) (missing, lost []targetRow, err error) {
	const noResult = " AND NOT EXISTS (SELECT 1 FROM task_results r WHERE r.task_id = t.id AND r.endpoint = "
	name := "j." + s.dialect.element
	err = s.conn(ctx).Raw("SELECT t.id AS task_id, g.endpoint AS endpoint FROM tasks t JOIN task_targets g ON g.task_id = t.id"+
		" WHERE t.id IN ?"+noResult+"g.endpoint) UNION ALL SELECT t.id, "+name+" FROM tasks t, "+
		s.dialect.elements("COALESCE(t.expected, t.endpoints)")+" j WHERE t.id IN ? AND t.targets IS NULL"+noResult+name+")"+
		" ORDER BY task_id, endpoint", ids, ids).Scan(&missing).Error
	if err != nil {
		return nil, nil, err
	}
	err = s.conn(ctx).Model(&resultRow{}).Select("task_id", "endpoint").Where("task_id IN ? AND state = ?", ids, tasker.Lost).
		Order("task_id, endpoint").Find(&lost).Error
	return missing, lost, err
}

// LostResults counts the LOST results, and returns up to limit endpoints that
// have some, by name.
func (s Inspection) LostResults(ctx context.Context, limit int) (total int, endpoints []string, err error) {
	var rows []struct {
		Name    string
		Results int
	}
	// There are few endpoints, so one seek in the results' index for each is
	// enough.
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

// CountDeadLetters returns the number of dead letters stored.
func (s Inspection) CountDeadLetters(ctx context.Context) (int, error) {
	var n int64
	err := s.conn(ctx).Table("dead_letters").Count(&n).Error
	return int(n), s.fail("count the dead letters", err)
}

// RefusedTasks returns how many CREATED tasks the broker refused in the last
// attempt, and up to limit of them, oldest first.
func (s Inspection) RefusedTasks(ctx context.Context, limit int) (total int, tasks []tasker.RefusedTask, err error) {
	const what = "read the refused tasks"
	var count int64
	find := func() *gorm.DB {
		return s.conn(ctx).Model(&taskRow{}).Where("status = ? AND refusal IS NOT NULL", tasker.Created)
	}
	if err := find().Count(&count).Error; err != nil || count == 0 {
		return 0, nil, s.fail(what, err)
	}
	var rows []taskRow
	err = find().Select("id", "type", "identifier", "publish_attempts", "refusal", "relay_time").Order("id").Limit(limit).Find(&rows).Error
	if err != nil {
		return 0, nil, s.fail(what, err)
	}
	for _, r := range rows {
		t := tasker.RefusedTask{ID: r.ID, Type: r.Type, Identifier: r.Identifier, Attempts: r.PublishAttempts, Reason: *r.Refusal}
		if r.RelayTime != nil {
			t.NextTime = r.RelayTime.Time
		}
		tasks = append(tasks, t)
	}
	return int(count), tasks, nil
}
