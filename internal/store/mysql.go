package store

import (
	"database/sql"
	"database/sql/driver"
	"fmt"
	"net/url"
	"strings"
	"time"

	mysqldriver "github.com/go-sql-driver/mysql"
	"gorm.io/driver/mysql"
	"gorm.io/gorm"
)

var mysqlDialect = dialect{
	name:        "mysql",
	jsonLength:  "JSON_LENGTH",
	greatest:    "GREATEST",
	selectShare: "(SELECT %s LOCK IN SHARE MODE)", // MariaDB does not know FOR SHARE
	inserted:    "VALUES(%s)",                     // MariaDB does not know the newer form
	clock:       "SELECT UTC_TIMESTAMP(6)",
}

const (
	// maxIdle is how long a connection may be idle, which is below any proxy's
	// patience.
	maxIdle = 45 * time.Second
	// sessionPatience is how long the server waits for a session's next
	// statement. A machine that dies in a transaction does not tell, and the
	// locks of its session stay until the server gives it up, after 8 hours as a
	// rule: among them those of results that nobody could end meanwhile.
	sessionPatience = 60 * time.Second
)

func openMySQL(u *url.URL, cfg Config) (gorm.Dialector, *sql.DB, driver.Connector, error) {
	c, err := mysqlConfig(u, cfg)
	if err != nil {
		return nil, nil, nil, err
	}
	plain, err := mysqldriver.NewConnector(c)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("the database address: %w", err)
	}
	connector := sessionConnector{plain}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(cfg.MaxOpenConns)
	db.SetMaxIdleConns(cfg.MaxOpenConns)
	db.SetConnMaxIdleTime(maxIdle)
	return mysql.New(mysql.Config{
		Conn: db,
		// Asking for the version would connect; RETURNING is what it would
		// turn on for MariaDB, which makes duplicates look like inserts.
		SkipInitializeWithVersion: true,
		DisableWithReturning:      true,
		DontSupportForShareClause: true, // MariaDB knows LOCK IN SHARE MODE only
	}), db, connector, nil
}

func mysqlConfig(u *url.URL, cfg Config) (*mysqldriver.Config, error) {
	c := mysqldriver.NewConfig()
	c.Net = "tcp"
	c.Addr = u.Host
	if u.Hostname() == "" {
		return nil, fmt.Errorf("the database address names no host: it must be %s", uriForms)
	}
	if u.Port() == "" {
		c.Addr = u.Host + ":3306"
	}
	c.User = u.User.Username()
	c.Passwd, _ = u.User.Password()
	c.DBName = strings.TrimPrefix(u.Path, "/")
	if c.DBName == "" || strings.Contains(c.DBName, "/") {
		return nil, fmt.Errorf("the database address names no database: it must be %s", uriForms)
	}
	c.ParseTime = true
	c.Loc = time.UTC
	c.Collation = "utf8mb4_bin"
	c.ClientFoundRows = true   // a guarded update counts the rows it matched
	c.InterpolateParams = true // one round trip a statement
	c.MaxAllowedPacket = 0     // ask the server: what is larger is refused before it is sent
	c.Timeout = cfg.ConnectTimeout
	c.Logger = &mysqldriver.NopLogger{} // it reports what it also returns
	for key, values := range u.Query() {
		switch value := values[len(values)-1]; key {
		case "tls":
			c.TLSConfig = value
		default:
			return nil, fmt.Errorf("the database address has an unknown parameter %q: it takes tls", key)
		}
	}
	return c, nil
}
