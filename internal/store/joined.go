package store

import (
	"cmp"
	"slices"
	"strings"

	"gorm.io/gorm"

	"github.com/taskerhq/tasker"
)

// joinedUpdate is one UPDATE of many results, each with values of its own: a
// list of values, v, is joined with the results, r, at the attempts that v
// names.
type joinedUpdate struct {
	// columns are those of v, after task_id, endpoint and attempt.
	columns []string
	// held joins with v the endpoints, e, that the manager in v holds. They are
	// locked before their results, against another manager that takes over.
	held bool
	// rows is the number of rows of v, and values are theirs, row by row.
	rows   int
	values []any
	// set are the columns of r to set, each with its expression, and where is the
	// guard. args are the arguments of both.
	set   [][2]string
	where string
	args  []any
}

// add adds a row to v.
func (u *joinedUpdate) add(key tasker.ResultKey, attempt int, values ...any) {
	u.rows++
	u.values = append(append(u.values, key.TaskID, key.Endpoint, attempt), values...)
}

// exec runs the statement and returns how many results matched. Of rows for the
// same result, at most one counts.
func (u *joinedUpdate) exec(d *dialect, db *gorm.DB) (matched int, err error) {
	statement := u.mysql
	if d.name == sqliteDialect.name {
		statement = u.sqlite
	}
	update := db.Exec(statement(d.asName("v.endpoint")), append(u.values, u.args...)...)
	return int(update.RowsAffected), update.Error
}

// named returns the columns of the list of values.
func (u *joinedUpdate) named() []string {
	return append([]string{"task_id", "endpoint", "attempt"}, u.columns...)
}

// mysql returns the statement for MySQL and MariaDB, which disagree about
// VALUES: v is a union. It is read first, and each of its rows finds its result
// by the primary key, whatever the optimizer believes about the tables, so
// results are locked in the order of v.
func (u *joinedUpdate) mysql(endpoint string) string {
	first := "SELECT ? AS " + strings.Join(u.named(), ", ? AS ")
	next := " UNION ALL SELECT ?" + strings.Repeat(", ?", len(u.columns)+2)
	return "UPDATE (" + first + strings.Repeat(next, u.rows-1) + ") v" + u.endpoints(" STRAIGHT_JOIN", endpoint) +
		" STRAIGHT_JOIN task_results r ON r.task_id = v.task_id AND r.endpoint = " + endpoint + " AND r.attempt = v.attempt" +
		" SET " + u.assignments("r.") + " WHERE " + u.where
}

func (u *joinedUpdate) sqlite(endpoint string) string {
	row := "(?" + strings.Repeat(", ?", len(u.columns)+2) + ")"
	return "WITH v (" + strings.Join(u.named(), ", ") + ") AS (VALUES " +
		row + strings.Repeat(", "+row, u.rows-1) + ") UPDATE task_results AS r SET " + u.assignments("") +
		" FROM v" + u.endpoints(" JOIN", endpoint) +
		" WHERE r.task_id = v.task_id AND r.endpoint = " + endpoint + " AND r.attempt = v.attempt AND " + u.where
}

func (u *joinedUpdate) endpoints(join, endpoint string) string {
	if !u.held {
		return ""
	}
	return join + " endpoints e ON e.name = " + endpoint + " AND e.manager = v.manager"
}

func (u *joinedUpdate) assignments(prefix string) string {
	list := make([]string, len(u.set))
	for i, s := range u.set {
		list[i] = prefix + s[0] + " = " + s[1]
	}
	return strings.Join(list, ", ")
}

func compareKeys(a, b tasker.ResultKey) int {
	return cmp.Or(cmp.Compare(a.TaskID, b.TaskID), strings.Compare(a.Endpoint, b.Endpoint))
}

// distinct reports whether keys that are sorted have no duplicates.
func distinct[T any](sorted []T, key func(T) tasker.ResultKey) bool {
	for i := range len(sorted) - 1 {
		if key(sorted[i]) == key(sorted[i+1]) {
			return false
		}
	}
	return true
}

// guardedBy returns the condition that a result is in a state from which it may
// move to the state that its row of v names, one of targets.
func guardedBy(targets []tasker.ResultState) (condition string, args []any) {
	slices.Sort(targets)
	targets = slices.Compact(targets)
	if len(targets) == 1 {
		return "r.state IN ?", []any{tasker.ResultStatesBefore(targets[0])}
	}
	for _, target := range targets {
		args = append(args, target, tasker.ResultStatesBefore(target))
	}
	return disjunction("v.state = ? AND r.state IN ?", len(targets)), args
}
