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

// variable is a session variable that tasker's guarantees depend on. Servers
// may start sessions with other values.
type variable struct {
	name  string
	value string // as in SQL, and in SHOW if shown is empty
	shown string // as in SHOW
	// special is true if only some servers have it: it is set if it exists and
	// has another value.
	special bool
	// usual is true if the value is the default of both servers: any other was
	// chosen by an administrator.
	usual bool
}

// sessionVariables are the settings of every session. Each connection sets all
// of them, and reads them back, before it is used.
var sessionVariables = []variable{
	{name: "autocommit", value: "1", shown: "ON", usual: true},
	{name: "completion_type", value: "0", shown: "NO_CHAIN", usual: true}, // COMMIT starts no transaction and ends no session
	{name: "transaction_isolation", shown: "READ-COMMITTED", special: true},
	{name: "tx_isolation", shown: "READ-COMMITTED", special: true}, // MariaDB before 11.1
	{name: "transaction_read_only", shown: "OFF", special: true, usual: true},
	{name: "tx_read_only", shown: "OFF", special: true, usual: true},
	{name: "sql_mode", value: "'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'"},
	{name: "sql_select_limit", value: "18446744073709551615", usual: true},
	{name: "sql_big_selects", value: "1", shown: "ON", usual: true}, // ignores max_join_size
	{name: "sql_safe_updates", value: "0", shown: "OFF", usual: true},
	{name: "sql_auto_is_null", value: "0", shown: "OFF", usual: true},
	{name: "foreign_key_checks", value: "1", shown: "ON", usual: true},
	{name: "unique_checks", value: "1", shown: "ON", usual: true},
	{name: "group_concat_max_len", value: "1073741824"}, // MariaDB truncates JSON_ARRAYAGG there
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

// packetVariable is read with the others, but cannot be set.
const packetVariable = "max_allowed_packet"

// want returns the value as SHOW writes it.
func (v variable) want() string {
	if v.shown != "" {
		return v.shown
	}
	return strings.Trim(v.value, "'")
}

// holds reports whether a value written by SHOW is the wanted one.
func (v variable) holds(have string) bool {
	// sql_mode is a set: the order differs between servers.
	list := func(s string) []string {
		parts := strings.Split(strings.ToUpper(s), ",")
		slices.Sort(parts)
		return parts
	}
	return slices.Equal(list(have), list(v.want()))
}

// SessionError reports that the sessions of a server do not have the settings
// that tasker needs. Tasks could be lost with such sessions, so they are not
// used.
type SessionError struct{ Wrong []string }

func (e *SessionError) Error() string {
	return "the database server does not accept tasker's session settings: " + strings.Join(e.Wrong, "; ") +
		": check for a proxy between tasker and the server, and the user's privileges"
}

// sessionConnector opens connections with the sessionVariables set.
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

// mysqlConn is what the driver's connections implement.
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

// session is a connection that is discarded once its server refuses writes, as
// a replaced primary does: the next connection may lead to the new primary. The
// server's error is returned as it is.
type session struct {
	mysqlConn
	refused atomic.Bool
	// largest is the size of the largest value written, such that its row can
	// be read again.
	largest int
}

// setUp sets the session's variables and checks them.
func (s *session) setUp(ctx context.Context) error {
	var set []string
	for _, v := range sessionVariables {
		if !v.special {
			set = append(set, v.name+" = "+v.value)
		}
	}
	for _, statement := range []string{
		// Standard SQL: the names of the variables differ between the servers.
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

// largestValue returns the size of the largest value for a packet size. The
// rest is for the other columns of its row.
func largestValue(packet int) int { return packet - packet/16 }

// set runs a statement that sets variables. It returns a [SessionError] if the
// server refuses it for good.
func (s *session) set(ctx context.Context, statement string) error {
	_, err := s.mysqlConn.ExecContext(ctx, statement, nil)
	if e, ok := errors.AsType[*mysqldriver.MySQLError](err); ok && !states[e.Number] {
		return &SessionError{[]string{e.Error()}}
	}
	return err
}

// differing returns the variables of a kind whose value is not the wanted one,
// without special ones that the server does not have.
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

// describe returns how variables differ from the wanted values.
func describe(wrong []variable, have map[string]string) []string {
	list := make([]string, len(wrong))
	for i, v := range wrong {
		list[i] = fmt.Sprintf("%s is %q instead of %q", v.name, have[v.name], v.want())
	}
	return list
}

// show reads the session's variables. SHOW leaves out those that a server does
// not have.
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

// ExecContext refuses values too large for the server before it sends anything:
// the server would close the connection, which looks like an outage.
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

// transaction is a transaction of a session.
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
