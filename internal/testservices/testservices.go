// Package testservices connects tests to the real servers that
// scripts/services.sh starts: each test gets its own database on MariaDB or
// MySQL and its own virtual host on RabbitMQ, which are deleted when it ends.
//
// If a server's variable is not set the test is skipped, or fails with
// TASKER_TEST_REQUIRE_SERVICES=1, which CI sets.
package testservices

import (
	"context"
	"os"
	"os/exec"
	"testing"
)

// The environment variables with the servers' addresses.
const (
	EnvMySQL              = "TASKER_TEST_MYSQL_URI"               // mysql://admin:password@host:port/
	EnvRabbitMQ           = "TASKER_TEST_RABBITMQ_URI"            // amqp://admin:password@host:port/
	EnvRabbitMQManagement = "TASKER_TEST_RABBITMQ_MANAGEMENT_URI" // http://admin:password@host:port
	envRequire            = "TASKER_TEST_REQUIRE_SERVICES"
)

// need skips or fails the test if a variable is not set.
func need(t testing.TB, env string) {
	t.Helper()
	switch {
	case os.Getenv(env) != "":
	case os.Getenv(envRequire) == "1":
		t.Fatalf("%s is not set, but %s=1 requires it", env, envRequire)
	default:
		t.Skipf("%s is not set: run make test, or start the servers with make services-up", env)
	}
}

// Need skips or fails a test that uses all servers without MySQL and RabbitMQ
// of this package.
func Need(t testing.TB) {
	t.Helper()
	need(t, EnvMySQL)
	need(t, EnvRabbitMQ)
	need(t, EnvRabbitMQManagement)
}

// NeedNode skips or fails a test that runs Node.js, if that or npm is missing.
func NeedNode(t testing.TB) {
	t.Helper()
	for _, name := range []string{"node", "npm"} {
		if _, err := exec.LookPath(name); err != nil {
			if os.Getenv(envRequire) == "1" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
}

// MySQL creates an empty database and returns its mysql:// address.
func MySQL(t testing.TB) string {
	t.Helper()
	need(t, EnvMySQL)
	return temporary(t, CreateDatabase)
}

// LastingMySQL is MySQL for a database that outlives the test: its user drops it.
func LastingMySQL(t testing.TB) (uri string, drop func() error) {
	t.Helper()
	need(t, EnvMySQL)
	uri, drop, err := CreateDatabase(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return uri, drop
}

// RabbitMQ creates an empty virtual host and returns its amqp:// address.
func RabbitMQ(t testing.TB) string {
	t.Helper()
	need(t, EnvRabbitMQ)
	need(t, EnvRabbitMQManagement)
	return temporary(t, CreateVirtualHost)
}

// temporary creates something that is dropped at the end of the test.
func temporary(t testing.TB, create func(context.Context) (uri string, drop func() error, err error)) string {
	t.Helper()
	uri, drop, err := create(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := drop(); err != nil {
			t.Error(err)
		}
	})
	return uri
}

// Management calls RabbitMQ's management API and fails the test unless the
// answer is a success.
func Management(t testing.TB, method, path, body string) {
	t.Helper()
	need(t, EnvRabbitMQManagement)
	if err := manage(context.Background(), method, path, body); err != nil {
		t.Fatal(err)
	}
}
