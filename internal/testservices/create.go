package testservices

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	_ "github.com/go-sql-driver/mysql" // the administrator's connection
)

// limit bounds each call to a service.
const limit = time.Minute

// CreateDatabase makes an empty database on the server that
// TASKER_TEST_MYSQL_URI names, and gives its mysql:// address and what drops
// it again.
func CreateDatabase(ctx context.Context) (uri string, drop func() error, err error) {
	u, err := address(EnvMySQL)
	if err != nil {
		return "", nil, err
	}
	name := "tasker_" + unique()
	if err := administer(ctx, u, "CREATE DATABASE "+name); err != nil {
		return "", nil, fmt.Errorf("create a database: %w", err)
	}
	drop = func() error {
		if err := administer(context.WithoutCancel(ctx), u, "DROP DATABASE "+name); err != nil {
			return fmt.Errorf("drop database %s: %w", name, err)
		}
		return nil
	}
	own := *u
	own.Path = "/" + name
	return own.String(), drop, nil
}

// administer runs one statement. Its connection does not stay.
func administer(ctx context.Context, u *url.URL, statement string) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	password, _ := u.User.Password()
	admin, err := sql.Open("mysql", fmt.Sprintf("%s:%s@tcp(%s)/", u.User.Username(), password, u.Host))
	if err != nil {
		return err
	}
	defer func() { _ = admin.Close() }()
	_, err = admin.ExecContext(ctx, statement)
	return err
}

// CreateVirtualHost makes an empty virtual host on the RabbitMQ that
// TASKER_TEST_RABBITMQ_URI names, with all rights for that user, and gives its
// amqp:// address and what deletes it again.
func CreateVirtualHost(ctx context.Context) (uri string, drop func() error, err error) {
	u, err := address(EnvRabbitMQ)
	if err != nil {
		return "", nil, err
	}
	name := "tasker_" + unique()
	drop = func() error {
		return manage(context.WithoutCancel(ctx), http.MethodDelete, "/api/vhosts/"+name, "")
	}
	if err := manage(ctx, http.MethodPut, "/api/vhosts/"+name, ""); err != nil {
		return "", nil, err
	}
	err = manage(ctx, http.MethodPut, "/api/permissions/"+name+"/"+u.User.Username(), `{"configure":".*","write":".*","read":".*"}`)
	if err != nil {
		_ = drop()
		return "", nil, err
	}
	own := *u
	own.Path = "/" + name
	return own.String(), drop, nil
}

// manage calls RabbitMQ's management API; any answer but a success is an
// error.
func manage(ctx context.Context, method, path, body string) error {
	u, err := address(EnvRabbitMQManagement)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, u.Scheme+"://"+u.Host+path, strings.NewReader(body))
	if err != nil {
		return fmt.Errorf("RabbitMQ management: %w", err)
	}
	password, _ := u.User.Password()
	req.Close = true // no idle connection stays behind for a leak check to find
	req.SetBasicAuth(u.User.Username(), password)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("RabbitMQ management: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("RabbitMQ management: %s %s: %s", method, path, resp.Status)
	}
	return nil
}

// address reads the address of a service. Its errors do not show it: it holds
// a password.
func address(env string) (*url.URL, error) {
	value := os.Getenv(env)
	if value == "" {
		return nil, fmt.Errorf("%s is not set: start the services with scripts/services.sh", env)
	}
	u, err := url.Parse(value)
	if err != nil {
		return nil, fmt.Errorf("%s is no address", env)
	}
	return u, nil
}

func unique() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
