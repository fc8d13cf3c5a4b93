// Package testservices gives tests the real services that the project's
// scripts start: a database of its own on MariaDB or MySQL, and a virtual host
// of its own on RabbitMQ, both removed when the test ends.
//
// A test that needs a service which is not there is skipped; with
// TASKER_TEST_REQUIRE_SERVICES=1, which CI sets, it fails instead.
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
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql" // the administrator's connection
)

// The environment variables with which the scripts, or a developer with
// servers of their own, name the services.
const (
	EnvMySQL              = "TASKER_TEST_MYSQL_URI"               // mysql://admin:password@host:port/
	EnvRabbitMQ           = "TASKER_TEST_RABBITMQ_URI"            // amqp://admin:password@host:port/
	EnvRabbitMQManagement = "TASKER_TEST_RABBITMQ_MANAGEMENT_URI" // http://admin:password@host:port
	envRequire            = "TASKER_TEST_REQUIRE_SERVICES"
)

func service(t testing.TB, env string) *url.URL {
	t.Helper()
	value := os.Getenv(env)
	if value == "" {
		if os.Getenv(envRequire) == "1" {
			t.Fatalf("%s is not set, and %s=1 asks that no integration test is skipped", env, envRequire)
		}
		t.Skipf("%s is not set: run this with make test, or start the services with make services-up", env)
	}
	u, err := url.Parse(value)
	if err != nil {
		t.Fatalf("%s: %v", env, err)
	}
	return u
}

// MySQL makes an empty database and gives its mysql:// address.
func MySQL(t testing.TB) string {
	t.Helper()
	u := service(t, EnvMySQL)
	password, _ := u.User.Password()
	admin, err := sql.Open("mysql", fmt.Sprintf("%s:%s@tcp(%s)/", u.User.Username(), password, u.Host))
	if err != nil {
		t.Fatalf("open %s: %v", EnvMySQL, err)
	}
	name := "tasker_" + unique()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := admin.ExecContext(ctx, "CREATE DATABASE "+name); err != nil {
		t.Fatalf("create a database: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if _, err := admin.ExecContext(ctx, "DROP DATABASE "+name); err != nil {
			t.Errorf("drop the test's database: %v", err)
		}
		_ = admin.Close()
	})
	u.Path = "/" + name
	return u.String()
}

// RabbitMQ makes an empty virtual host and gives its amqp:// address.
func RabbitMQ(t testing.TB) string {
	t.Helper()
	u := service(t, EnvRabbitMQ)
	name := "tasker_" + unique()
	Management(t, http.MethodPut, "/api/vhosts/"+name, "")
	Management(t, http.MethodPut, "/api/permissions/"+name+"/"+u.User.Username(), `{"configure":".*","write":".*","read":".*"}`)
	t.Cleanup(func() { Management(t, http.MethodDelete, "/api/vhosts/"+name, "") })
	u.Path = "/" + name
	return u.String()
}

// Management calls RabbitMQ's management API and fails the test unless it
// answers with success.
func Management(t testing.TB, method, path, body string) {
	t.Helper()
	u := service(t, EnvRabbitMQManagement)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, u.Scheme+"://"+u.Host+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	req.Close = true // no idle connection stays behind for a leak check to find
	req.SetBasicAuth(u.User.Username(), password)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("RabbitMQ management: %v", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode >= 300 {
		t.Fatalf("RabbitMQ management: %s %s: %s", method, path, resp.Status)
	}
}

func unique() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
