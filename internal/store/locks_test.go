package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/store/storetest"
	"github.com/taskerhq/tasker/internal/testservices"
)

// rival is another client of the fixture's database, in a transaction.
type rival struct {
	t    *testing.T
	conn *sql.Conn
}

// against opens a fixture on a real server, and a rival.
func against(t *testing.T) (fixture, *rival) {
	t.Helper()
	f := open(t, testservices.MySQL(t))
	storetest.Migrate(t, f.Store)
	conn, err := plain(t, f.uri).Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return f, &rival{t, conn}
}

// plain opens a plain connection of the driver to a database.
func plain(t *testing.T, uri string) *sql.DB {
	t.Helper()
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	db, err := sql.Open("mysql", fmt.Sprintf("%s:%s@tcp(%s)%s", u.User.Username(), password, u.Host, u.Path))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func (r *rival) do(statements ...string) {
	r.t.Helper()
	for _, statement := range statements {
		if _, err := r.conn.ExecContext(r.t.Context(), statement); err != nil {
			r.t.Fatalf("%s: %v", statement, err)
		}
	}
}

func (r *rival) lock(table, condition string) {
	r.t.Helper()
	rows, err := r.conn.QueryContext(r.t.Context(), "SELECT 1 FROM "+table+" WHERE "+condition+" FOR UPDATE")
	if err != nil {
		r.t.Fatalf("lock %s: %v", table, err)
	}
	if err := errors.Join(rows.Close(), rows.Err()); err != nil {
		r.t.Fatal(err)
	}
}

// lookPause is the pause between two looks at lock waits. The database
// refreshes that table only if nobody has read it for 100 ms, so tests that
// read it do not run in parallel.
const lookPause = 250 * time.Millisecond

// awaitWaiter waits until a statement with this beginning waits for a lock in
// this database.
func (r *rival) awaitWaiter(begins string) {
	r.t.Helper()
	deadline := time.Now().Add(5 * time.Minute)
	for {
		var n int
		err := r.conn.QueryRowContext(r.t.Context(), "SELECT COUNT(*) FROM information_schema.innodb_trx x"+
			" JOIN information_schema.processlist p ON p.id = x.trx_mysql_thread_id"+
			" WHERE p.db = DATABASE() AND x.trx_state = 'LOCK WAIT' AND x.trx_query LIKE ?", begins+"%").Scan(&n)
		if err != nil {
			r.t.Fatal(err)
		}
		if n > 0 {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("no %s waits for a lock", begins)
		}
		select {
		case <-time.After(lookPause):
		case <-r.t.Context().Done():
			r.t.Fatal(r.t.Context().Err())
		}
	}
}

// through makes two tasks whose results have all ended.
func (f fixture) through(t *testing.T) (tasks []tasker.Task, ids []int64) {
	t.Helper()
	f.acquire(t, managerA, "a")
	for _, identifier := range []string{"one", "two"} {
		task := f.send(t, identifier, "a")
		f.receive(t, managerA, incoming(task, "a", tasker.Running))
		f.finish(t, finish(task, "a", 1, tasker.ResultDone))
		tasks, ids = append(tasks, task), append(ids, task.ID)
	}
	return tasks, ids
}

// background runs an aggregation.
func (f fixture) background(ctx context.Context, ids []int64) <-chan error {
	done := make(chan error, 1)
	go func() {
		changed, err := f.Statuses.Aggregate(ctx, ids, time.Hour)
		if err == nil && changed != len(ids) {
			err = fmt.Errorf("changed %d tasks, want %d", changed, len(ids))
		}
		done <- err
	}()
	return done
}

// TestDeadlock: a transaction that was the victim of a deadlock is retried as a
// whole.
func TestDeadlock(t *testing.T) {
	f, r := against(t)
	tasks, ids := f.through(t)
	// The one that has changed most is not the victim.
	r.do("CREATE TABLE ballast (n INT)", "BEGIN", "INSERT INTO ballast VALUES "+strings.Repeat("(1),", 199)+"(1)")
	r.lock("tasks", fmt.Sprint("id = ", ids[1]))
	done := f.background(t.Context(), ids)
	r.awaitWaiter("SELECT") // it has the first, and waits for the second
	r.lock("tasks", fmt.Sprint("id = ", ids[0]))
	r.do("ROLLBACK")
	if err := <-done; err != nil {
		t.Errorf("the victim's aggregation: %v", err)
	}
	for _, task := range tasks {
		if got := f.status(t, task); got != tasker.Done {
			t.Errorf("task %s is %s", task.Identifier, got)
		}
	}
}

// TestLockWait: a statement whose lock wait timed out is retried, and waits no
// longer than its caller.
func TestLockWait(t *testing.T) {
	if testing.Short() {
		t.Skip("waits as long as the database does")
	}
	f, r := against(t)
	f.acquire(t, managerA, "a")
	task := f.send(t, "one", "a")
	f.receive(t, managerA, incoming(task, "a", tasker.Running))
	r.do("BEGIN")
	r.lock("task_results", fmt.Sprint("task_id = ", task.ID))
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		_, err := f.Attempts.FinishAttempts(ctx, []ledger.End{finish(task, "a", 1, tasker.ResultFailed)})
		left <- err
	}()
	r.awaitWaiter("UPDATE")
	statement, _ := r.waiter("UPDATE")
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("one whose caller has left ends with %v", err)
	}
	// The server does not notice that the client has left while the statement
	// waits: with the lock, it would still run.
	r.end(statement)

	type ended struct {
		stored []bool
		err    error
	}
	done := make(chan ended, 1)
	go func() {
		stored, err := f.Attempts.FinishAttempts(t.Context(), []ledger.End{finish(task, "a", 1, tasker.ResultDone)})
		done <- ended{stored, err}
	}()
	r.awaitWaiter("UPDATE")
	// The first try has ended when another transaction waits, on any
	// connection.
	_, first := r.waiter("UPDATE")
	for next := first; next == first || next == ""; _, next = r.waiter("UPDATE") {
		select {
		case e := <-done:
			t.Fatalf("it gave up: %v, %v", e.stored, e.err)
		case <-time.After(lookPause):
		}
	}
	r.do("ROLLBACK")
	if e := <-done; e.err != nil || !e.stored[0] {
		t.Errorf("after the lock: stored %v, %v", e.stored, e.err)
	}
	if got := f.states(t, task)["a"]; got != tasker.ResultDone {
		t.Errorf("it is %s", got)
	}
}

// waiter returns the connection and the transaction of a statement with this
// beginning that waits for a lock, or 0 and "".
func (r *rival) waiter(begins string) (connection int64, transaction string) {
	r.t.Helper()
	err := r.conn.QueryRowContext(r.t.Context(), "SELECT x.trx_mysql_thread_id,"+
		" CONCAT_WS(' ', x.trx_id, x.trx_mysql_thread_id, x.trx_started)"+
		" FROM information_schema.innodb_trx x JOIN information_schema.processlist p ON p.id = x.trx_mysql_thread_id"+
		" WHERE p.db = DATABASE() AND x.trx_state = 'LOCK WAIT' AND x.trx_query LIKE ?", begins+"%").Scan(&connection, &transaction)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		r.t.Fatal(err)
	}
	return connection, transaction
}

// end kills a connection with its statement, and waits for that.
func (r *rival) end(connection int64) {
	r.t.Helper()
	const unknownThread = 1094 // it has already ended
	_, err := r.conn.ExecContext(r.t.Context(), fmt.Sprint("KILL ", connection))
	if e, ok := errors.AsType[*mysql.MySQLError](err); err != nil && (!ok || e.Number != unknownThread) {
		r.t.Fatal(err)
	}
	for n := 1; n > 0; {
		err := r.conn.QueryRowContext(r.t.Context(), "SELECT (SELECT COUNT(*) FROM information_schema.processlist WHERE id = ?)"+
			" + (SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_mysql_thread_id = ?)", connection, connection).Scan(&n)
		if err != nil {
			r.t.Fatal(err)
		}
		select {
		case <-time.After(lookPause):
		case <-r.t.Context().Done():
			r.t.Fatal(r.t.Context().Err())
		}
	}
}

// TestAggregationDies in the middle of its transaction, with its caller or its
// connection: no change and no lock stays, and the next one does all.
func TestAggregationDies(t *testing.T) {
	for name, kill := range map[string]func(r *rival, cancel context.CancelFunc){
		"its caller leaves": func(_ *rival, cancel context.CancelFunc) { cancel() },
		"its connection is killed": func(r *rival, _ context.CancelFunc) {
			connection, _ := r.waiter("SELECT")
			r.do(fmt.Sprint("KILL ", connection))
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, r := against(t)
			tasks, ids := f.through(t)
			r.do("BEGIN")
			r.lock("tasks", fmt.Sprint("id = ", ids[1]))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := f.background(ctx, ids)
			r.awaitWaiter("SELECT")
			kill(r, cancel)
			if err := <-done; err == nil {
				t.Error("it says that it worked")
			}
			for _, task := range tasks {
				if got := f.status(t, task); got != tasker.Sent {
					t.Errorf("task %s is %s", task.Identifier, got)
				}
			}
			r.do("ROLLBACK")
			if err := <-f.background(t.Context(), ids); err != nil {
				t.Errorf("the next aggregation: %v", err)
			}
			for _, task := range tasks {
				if got := f.status(t, task); got != tasker.Done {
					t.Errorf("task %s is %s", task.Identifier, got)
				}
			}
		})
	}
}

// TestAggregationWaitsForWhoJoins: while an endpoint that the task does not
// expect records a result, which locks the task, the task does not end.
func TestAggregationWaitsForWhoJoins(t *testing.T) {
	f, r := against(t)
	tasks, ids := f.through(t)
	r.do("BEGIN", fmt.Sprintf("SELECT id FROM tasks WHERE id = %d LOCK IN SHARE MODE", ids[0]),
		"INSERT INTO task_results (task_id, endpoint, state, attempt, manager, errnr, errmsg, start_time, last_modified_time)"+
			fmt.Sprintf(" VALUES (%d, 'late', 'RUNNING', 1, '%s', 0, '', UTC_TIMESTAMP(6), UTC_TIMESTAMP(6))", ids[0], managerB))
	done := f.background(t.Context(), ids[:1])
	r.awaitWaiter("SELECT")
	r.do("COMMIT")
	if err := <-done; err == nil {
		t.Error("the task has ended without the endpoint that joined it")
	}
	if got := f.status(t, tasks[0]); got != tasker.Sent {
		t.Errorf("it is %s", got)
	}
}
