package testservices

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	_ "github.com/go-sql-driver/mysql" // for administer
)

// limit is the timeout of each call to a service.
const limit = time.Minute

// CreateDatabase creates an empty database on the server in
// TASKER_TEST_MYSQL_URI, and returns its mysql:// address and a function that
// drops it.
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

// administer runs one statement on a connection of its own.
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

// CreateVirtualHost creates an empty virtual host on the server in
// TASKER_TEST_RABBITMQ_URI, with all permissions for that user, and returns its
// amqp:// address and a function that deletes it.
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

// manage calls RabbitMQ's management API and returns an error unless the answer
// is a success.
func manage(ctx context.Context, method, path, body string) error {
	return manageInto(ctx, method, path, body, nil)
}

// manageInto is manage, and decodes the answer unless it is nil.
func manageInto(ctx context.Context, method, path, body string, answer any) error {
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
	req.Close = true // leave no idle connection for a leak check to find
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
	if answer == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(answer); err != nil {
		return fmt.Errorf("RabbitMQ management: %s %s: %w", method, path, err)
	}
	return nil
}

// address returns a service's address from the environment. Errors do not
// contain it, since it has a password.
func address(env string) (*url.URL, error) {
	value := os.Getenv(env)
	if value == "" {
		return nil, fmt.Errorf("%s is not set: start the services with scripts/services.sh", env)
	}
	u, err := url.Parse(value)
	if err != nil {
		return nil, fmt.Errorf("invalid %s: not a URI", env)
	}
	return u, nil
}

func unique() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// Messages counts the messages of a virtual host since it was created.
type Messages struct {
	Published int64 // by clients
	Delivered int64 // to consumers, one for each queue
}

// VirtualHostMessages returns the messages of a virtual host, given its amqp://
// address. RabbitMQ counts with a delay of several seconds.
func VirtualHostMessages(ctx context.Context, uri string) (Messages, error) {
	own, err := url.Parse(uri)
	if err != nil {
		return Messages{}, errors.New("invalid address of a virtual host") // do not print it: it has a password
	}
	var answer struct {
		Stats struct {
			Publish    int64 `json:"publish"`
			DeliverGet int64 `json:"deliver_get"`
		} `json:"message_stats"`
	}
	if err := manageInto(ctx, http.MethodGet, "/api/vhosts"+own.EscapedPath(), "", &answer); err != nil {
		return Messages{}, err
	}
	return Messages{Published: answer.Stats.Publish, Delivered: answer.Stats.DeliverGet}, nil
}
