// Package testservices gives tests the real services that the project's
// scripts start: a database of its own on MariaDB or MySQL, and a virtual host
// of its own on RabbitMQ, both removed when the test ends.
//
// A test that needs a service which is not there is skipped; with
// TASKER_TEST_REQUIRE_SERVICES=1, which CI sets, it fails instead.
package testservices

import (
	"context"
	"os"
	"testing"
)

// The environment variables with which the scripts, or a developer with
// servers of their own, name the services.
const (
	EnvMySQL              = "TASKER_TEST_MYSQL_URI"               // mysql://admin:password@host:port/
	EnvRabbitMQ           = "TASKER_TEST_RABBITMQ_URI"            // amqp://admin:password@host:port/
	EnvRabbitMQManagement = "TASKER_TEST_RABBITMQ_MANAGEMENT_URI" // http://admin:password@host:port
	envRequire            = "TASKER_TEST_REQUIRE_SERVICES"
)

// need skips or fails a test for which a variable is not set.
func need(t testing.TB, env string) {
	t.Helper()
	switch {
	case os.Getenv(env) != "":
	case os.Getenv(envRequire) == "1":
		t.Fatalf("%s is not set, and %s=1 asks that no integration test is skipped", env, envRequire)
	default:
		t.Skipf("%s is not set: run this with make test, or start the services with make services-up", env)
	}
}

// Need skips or fails a test that uses all the services without the functions
// for tests.
func Need(t testing.TB) {
	t.Helper()
	need(t, EnvMySQL)
	need(t, EnvRabbitMQ)
	need(t, EnvRabbitMQManagement)
}

// MySQL makes an empty database and gives its mysql:// address.
func MySQL(t testing.TB) string {
	t.Helper()
	need(t, EnvMySQL)
	return temporary(t, CreateDatabase)
}

// RabbitMQ makes an empty virtual host and gives its amqp:// address.
func RabbitMQ(t testing.TB) string {
	t.Helper()
	need(t, EnvRabbitMQ)
	need(t, EnvRabbitMQManagement)
	return temporary(t, CreateVirtualHost)
}

// temporary makes something that lasts as long as the test.
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

// Management calls RabbitMQ's management API and fails the test unless it
// answers with success.
func Management(t testing.TB, method, path, body string) {
	t.Helper()
	need(t, EnvRabbitMQManagement)
	if err := manage(context.Background(), method, path, body); err != nil {
		t.Fatal(err)
	}
}
