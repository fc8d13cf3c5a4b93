package store

import (
	"database/sql"
	"database/sql/driver"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	mysqldriver "github.com/go-sql-driver/mysql"
	"gorm.io/driver/mysql"
	"gorm.io/gorm"
)

var mysqlDialect = dialect{
	name:       "mysql",
	jsonLength: "JSON_LENGTH",
	jsonArray:  "JSON_ARRAYAGG",
	table:      "JSON_TABLE(%s, '$[*]' COLUMNS (name VARCHAR(64) PATH '$'))",
	element:    "name",
	greatest:   "GREATEST",
	share:      " LOCK IN SHARE MODE", // MariaDB has no FOR SHARE
	inserted:   "VALUES(%s)",          // MariaDB does not have the newer form
	byID:       " FORCE INDEX (PRIMARY)",
	clock:      "SELECT UTC_TIMESTAMP(6)",
}

const (
	// maxIdle closes idle connections before any proxy does.
	maxIdle = 45 * time.Second
	// sessionPatience is how long the server keeps an idle session. The locks
	// of a machine that dies in a transaction stay until then; with the
	// server's default, for 8 hours.
	sessionPatience = 60 * time.Second
)

func openMySQL(u *url.URL, cfg Config, log *slog.Logger) (gorm.Dialector, *sql.DB, driver.Connector, error) {
	c, err := mysqlConfig(u, cfg)
	if err != nil {
		return nil, nil, nil, err
	}
	plain, err := newConnector(c, cfg.TLS, log)
	if err != nil {
		return nil, nil, nil, err
	}
	connector := sessionConnector{plain}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(cfg.MaxOpenConns)
	db.SetMaxIdleConns(cfg.MaxOpenConns)
	db.SetConnMaxIdleTime(maxIdle)
	return mysql.New(mysql.Config{
		Conn: db,
		// Asking for the version would connect. RETURNING, which it would
		// enable on MariaDB, makes duplicates look like inserts.
		SkipInitializeWithVersion: true,
		DisableWithReturning:      true,
		DontSupportForShareClause: true, // MariaDB has only LOCK IN SHARE MODE
	}), db, connector, nil
}

func mysqlConfig(u *url.URL, cfg Config) (*mysqldriver.Config, error) {
	c := mysqldriver.NewConfig()
	c.Net = "tcp"
	c.Addr = u.Host
	if u.Hostname() == "" {
		return nil, fmt.Errorf("invalid database address: no host: must be %s", uriForms)
	}
	if u.Port() == "" {
		c.Addr = u.Host + ":3306"
	}
	c.User = u.User.Username()
	c.Passwd, _ = u.User.Password()
	c.DBName = strings.TrimPrefix(u.Path, "/")
	if c.DBName == "" || strings.Contains(c.DBName, "/") {
		return nil, fmt.Errorf("invalid database address: no database: must be %s", uriForms)
	}
	c.ParseTime = true
	c.Loc = time.UTC
	c.Collation = "utf8mb4_bin"
	c.ClientFoundRows = true   // guarded updates count the rows matched
	c.InterpolateParams = true // one round trip per statement
	c.MaxAllowedPacket = 0     // ask the server: larger packets are refused before they are sent
	c.Timeout = cfg.ConnectTimeout
	c.Logger = &mysqldriver.NopLogger{} // it logs what it also returns
	for key, values := range u.Query() {
		switch value := values[len(values)-1]; key {
		case "tls":
			c.TLSConfig = value
		default:
			return nil, fmt.Errorf("invalid database address: unknown parameter %q: only tls is supported", key)
		}
	}
	return c, nil
}
