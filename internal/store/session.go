package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	mysqldriver "github.com/go-sql-driver/mysql"
)

// variable is a session variable on which a promise of tasker rests. Servers
// and their administrators begin sessions with values of their own.
type variable struct {
	name  string
	value string // as SQL writes it, and, where shown is empty, as SHOW does
	shown string // as SHOW writes it
	// special says that only some servers have it: it is set where it is there
	// and has another value.
	special bool
	// usual says that the value is also the default of both servers, so that
	// another one was chosen by an administrator.
	usual bool
}

// sessionVariables is the one list of what a session must be like. Each
// connection sets all of them, and reads them back, before it is used.
var sessionVariables = []variable{
	{name: "autocommit", value: "1", shown: "ON", usual: true},
	{name: "completion_type", value: "0", shown: "NO_CHAIN", usual: true}, // COMMIT begins no transaction, and ends no session
	{name: "transaction_isolation", shown: "READ-COMMITTED", special: true},
	{name: "tx_isolation", shown: "READ-COMMITTED", special: true}, // MariaDB before 11.1
	{name: "transaction_read_only", shown: "OFF", special: true, usual: true},
	{name: "tx_read_only", shown: "OFF", special: true, usual: true},
	{name: "sql_mode", value: "'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'"},
	{name: "sql_select_limit", value: "18446744073709551615", usual: true},
	{name: "sql_big_selects", value: "1", shown: "ON", usual: true}, // max_join_size does not count
	{name: "sql_safe_updates", value: "0", shown: "OFF", usual: true},
	{name: "sql_auto_is_null", value: "0", shown: "OFF", usual: true},
	{name: "foreign_key_checks", value: "1", shown: "ON", usual: true},
	{name: "unique_checks", value: "1", shown: "ON", usual: true},
	{name: "group_concat_max_len", value: "1073741824"}, // MariaDB cuts JSON_ARRAYAGG there
	{name: "max_sort_length", value: "1024", special: true, usual: true},
	{name: "time_zone", value: "'+00:00'"},
	{name: "character_set_client", value: "utf8mb4"},
	{name: "character_set_results", value: "utf8mb4"},
	{name: "collation_connection", value: "utf8mb4_bin"},
	{name: "innodb_lock_wait_timeout", value: "10"},
	{name: "wait_timeout", value: strconv.Itoa(int(sessionPatience.Seconds()))},
	{name: "max_statement_time", value: "0", shown: "0.000000", special: true, usual: true}, // MariaDB
	{name: "max_execution_time", value: "0", special: true, usual: true},                    // MySQL
}

// packetVariable is read with the others: it cannot be set.
const packetVariable = "max_allowed_packet"

// want is the value as SHOW writes it.
func (v variable) want() string {
	if v.shown != "" {
		return v.shown
	}
	return strings.Trim(v.value, "'")
}

// holds reports whether a value that SHOW wrote is the wanted one.
func (v variable) holds(have string) bool {
	// sql_mode is a set: servers write it in an order of their own.
	list := func(s string) []string {
		parts := strings.Split(strings.ToUpper(s), ",")
		slices.Sort(parts)
		return parts
	}
	return slices.Equal(list(have), list(v.want()))
}

// SessionError says that sessions at the database server are not as tasker
// needs them, and cannot be made so. With such sessions what was accepted could
// be lost: nothing is done with them.
type SessionError struct{ Wrong []string }

func (e *SessionError) Error() string {
	return "the database server does not let tasker set up its session: " + strings.Join(e.Wrong, "; ") +
		": look for a proxy between tasker and the server, and for the user's rights"
}

// sessionConnector makes connections whose sessions are as sessionVariables
// says.
type sessionConnector struct{ driver.Connector }

func (c sessionConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	s := &session{mysqlConn: conn.(mysqlConn)}
	if err := s.setUp(ctx); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("set up the session: %w", err)
	}
	return s, nil
}

// mysqlConn is what the driver's connections can do.
type mysqlConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
	driver.NamedValueChecker
}

// session is a connection that is given up when its server turns out to take no
// writes, as a primary does that was replaced: the next one may lead to the new
// primary. The error stays the server's own.
type session struct {
	mysqlConn
	refused atomic.Bool
	// largest bounds a value that is written, so that the row that it becomes
	// part of can be read again.
	largest int
}

// setUp sets the session's variables and checks that it has them.
func (s *session) setUp(ctx context.Context) error {
	var set []string
	for _, v := range sessionVariables {
		if !v.special {
			set = append(set, v.name+" = "+v.value)
		}
	}
	for _, statement := range []string{
		// Standard SQL: the variables' names differ between the servers.
		"SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE",
		"SET SESSION " + strings.Join(set, ", "),
	} {
		if err := s.set(ctx, statement); err != nil {
			return err
		}
	}
	have, err := s.show(ctx)
	if err != nil {
		return err
	}
	if special := differing(have, func(v variable) bool { return v.special && v.value != "" }); len(special) > 0 {
		for i, v := range special {
			set[i] = v.name + " = " + v.value
		}
		if err := s.set(ctx, "SET SESSION "+strings.Join(set[:len(special)], ", ")); err != nil {
			return err
		}
		if have, err = s.show(ctx); err != nil {
			return err
		}
	}
	if wrong := differing(have, func(variable) bool { return true }); len(wrong) > 0 {
		return &SessionError{describe(wrong, have)}
	}
	if packet, err := strconv.Atoi(have[packetVariable]); err == nil {
		s.largest = largestValue(packet)
	}
	return nil
}

// largestValue is how large a value may be where a packet has a size. The rest
// is for what a row has besides.
func largestValue(packet int) int { return packet - packet/16 }

// set runs a statement that sets variables. That the server refuses it, and not
// for a passing state, is a [SessionError].
func (s *session) set(ctx context.Context, statement string) error {
	_, err := s.mysqlConn.ExecContext(ctx, statement, nil)
	if e, ok := errors.AsType[*mysqldriver.MySQLError](err); ok && !states[e.Number] {
		return &SessionError{[]string{e.Error()}}
	}
	return err
}

// differing returns the variables of a kind that have another value than they
// should have; those that the server does not know are left out if special.
func differing(have map[string]string, kind func(variable) bool) []variable {
	var list []variable
	for _, v := range sessionVariables {
		value, known := have[v.name]
		if kind(v) && !v.holds(value) && (known || !v.special) {
			list = append(list, v)
		}
	}
	return list
}

// describe says how variables differ from what they should be.
func describe(wrong []variable, have map[string]string) []string {
	list := make([]string, len(wrong))
	for i, v := range wrong {
		list[i] = fmt.Sprintf("%s is %q instead of %q", v.name, have[v.name], v.want())
	}
	return list
}

// show reads the variables that the session has. SHOW leaves out what a server
// does not know.
func (s *session) show(ctx context.Context) (map[string]string, error) {
	names := make([]string, 0, len(sessionVariables)+1)
	for _, v := range sessionVariables {
		names = append(names, "'"+v.name+"'")
	}
	names = append(names, "'"+packetVariable+"'")
	rows, err := s.mysqlConn.QueryContext(ctx, "SHOW SESSION VARIABLES WHERE Variable_name IN ("+strings.Join(names, ", ")+")", nil)
	if err != nil {
		return nil, err
	}
	have := make(map[string]string, len(names))
	values := make([]driver.Value, len(rows.Columns()))
	for {
		if err := rows.Next(values); errors.Is(err, io.EOF) {
			return have, rows.Close()
		} else if err != nil {
			_ = rows.Close()
			return nil, err
		}
		name, _ := values[0].([]byte)
		value, _ := values[1].([]byte)
		have[strings.ToLower(string(name))] = string(value)
	}
}

// ExecContext refuses values that are too large for the server before it sends
// anything: the server would close the connection, which looks like an outage.
func (s *session) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	for _, arg := range args {
		if s.largest > 0 && size(arg.Value) > s.largest {
			return nil, mysqldriver.ErrPktTooLarge
		}
	}
	result, err := s.mysqlConn.ExecContext(ctx, query, args)
	return result, s.watch(err)
}

func (s *session) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	rows, err := s.mysqlConn.QueryContext(ctx, query, args)
	return rows, s.watch(err)
}

func (s *session) BeginTx(ctx context.Context, options driver.TxOptions) (driver.Tx, error) {
	tx, err := s.mysqlConn.BeginTx(ctx, options)
	if err != nil {
		return nil, s.watch(err)
	}
	return transaction{tx, s}, nil
}

// IsValid reports whether the pool may use the connection again.
func (s *session) IsValid() bool { return !s.refused.Load() && s.mysqlConn.IsValid() }

func (s *session) watch(err error) error {
	if refusesWrites(err) {
		s.refused.Store(true)
	}
	return err
}

// transaction is one of a session.
type transaction struct {
	driver.Tx
	session *session
}

func (t transaction) Commit() error { return t.session.watch(t.Tx.Commit()) }

func size(value driver.Value) int {
	switch v := value.(type) {
	case string:
		return len(v)
	case []byte:
		return len(v)
	}
	return 0
}
