package e2e

import (
	"context"
	"net/url"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker/internal/testcerts"
	"github.com/taskerhq/tasker/internal/testnodes"
)

// Of the services with TLS.
const (
	servicePassword = "hunter2-hunter2"
	databaseTLS     = "TASKER_MANAGER_DB_TLS_"
	brokerTLS       = "TASKER_MANAGER_MESSAGE_QUEUE_TLS_"
)

// variables is an environment by name.
type variables map[string]string

// with returns the environment with changes; an empty value removes a variable.
func (v variables) with(changes variables) []string {
	var list []string
	for name, value := range v {
		if changed, ok := changes[name]; ok {
			value = changed
		}
		if value != "" {
			list = append(list, name+"="+value)
		}
	}
	for name, value := range changes {
		if _, known := v[name]; !known {
			list = append(list, name+"="+value)
		}
	}
	return list
}

// both returns a change for the database and RabbitMQ.
func both(key, value string) variables {
	return variables{databaseTLS + key: value, brokerTLS + key: value}
}

// secureServices starts a database and a RabbitMQ with TLS, whose users need a
// certificate, and returns the environment of a tasker that has one.
func secureServices(t *testing.T, servers, clients *testcerts.Authority) variables {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	if _, err := exec.LookPath("mariadbd"); err != nil {
		t.Skip("mariadbd is not installed")
	}
	until := time.Now().Add(100 * time.Hour)
	cert, key := servers.Issue(t, "server", until)
	node := startRabbitMQ(ctx, t, testnodes.RabbitMQOptions{TLS: &testnodes.TLSFiles{Cert: cert, Key: key, CA: clients.File}})
	database, err := testnodes.StartMariaDB(ctx, t.TempDir(), "ssl_cert = "+cert, "ssl_key = "+key, "ssl_ca = "+clients.File)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(database.Kill)
	if err := database.Exec(ctx, "CREATE USER service@'127.0.0.1' IDENTIFIED BY '"+servicePassword+"' REQUIRE X509",
		"GRANT ALL ON tasker.* TO service@'127.0.0.1'"); err != nil {
		t.Fatal(err)
	}
	admin, err := url.Parse(node.ManagementURI())
	if err != nil {
		t.Fatal(err)
	}
	password, _ := admin.User.Password()
	own, ownKey := clients.Issue(t, "tasker", until)
	v := variables{
		"TASKER_MANAGER_DB_URI":            "mysql://service:" + servicePassword + "@" + database.Addr() + "/tasker?tls=true",
		"TASKER_MANAGER_MESSAGE_QUEUE_URI": "amqps://service:" + servicePassword + "@" + node.SecureAddr() + "/tasker",
		"TASKER_RABBITMQ_MANAGEMENT_URI":   "http://" + admin.Host,
		"TASKER_RABBITMQ_USER":             admin.User.Username(),
		"TASKER_RABBITMQ_PASSWORD":         password,
		"TASKER_API_PORT":                  freePort(t),
		"TASKER_API_PUBLISH_TIMEOUT":       "10s",
	}
	for _, section := range []string{databaseTLS, brokerTLS} {
		v[section+"CA_FILE"], v[section+"CERT_FILE"], v[section+"KEY_FILE"] = servers.File, own, ownKey
	}
	name, types, _ := strings.Cut(fastTypes, "=")
	v[name] = types
	return v
}

// Everything works over TLS to the database and to RabbitMQ, both of which want a
// certificate, and each mistake is named with the key that mends it.
func TestTLSToServices(t *testing.T) {
	t.Parallel()
	servers, clients, strangers := testcerts.New(t), testcerts.New(t), testcerts.New(t)
	v := secureServices(t, servers, clients)
	foreign, foreignKey := strangers.Issue(t, "tasker", time.Now().Add(100*time.Hour))
	s := &system{t: t, program: program, base: "http://127.0.0.1:" + v["TASKER_API_PORT"], env: v.with(nil)}
	for _, service := range []string{"--database", "--rabbitmq"} {
		if code, output := run(t, s.env, "initialize", service); code != 0 {
			t.Fatalf("initialize %s: exit %d:\n%s", service, code, output)
		}
	}
	examine := func(name string, wantCode int, changes variables, want ...string) {
		t.Helper()
		code, output := run(t, v.with(changes), "doctor")
		for _, text := range want {
			if !strings.Contains(output, text) {
				t.Errorf("%s: %q is not in\n%s", name, text, output)
			}
		}
		if code != wantCode || strings.Contains(output, servicePassword) {
			t.Errorf("%s: exit %d, want %d\n%s", name, code, wantCode, output)
		}
	}
	examine("well", 0, nil, "connection: database tasker answers", "connection: RabbitMQ")
	examine("an unknown authority", 1, both("CA_FILE", ""), "set manager.db.tls.ca_file to", "set manager.message_queue.tls.ca_file to")
	examine("a wrong authority", 1, both("CA_FILE", strangers.File), strangers.File+" (manager.db.tls.ca_file)",
		strangers.File+" (manager.message_queue.tls.ca_file)")
	examine("a wrong name", 1, both("SERVER_NAME", "other.example"), "manager.db.tls.server_name", "manager.message_queue.tls.server_name")
	without := both("CERT_FILE", "")
	without[databaseTLS+"KEY_FILE"], without[brokerTLS+"KEY_FILE"] = "", ""
	examine("no certificate", 1, without, "manager.db.tls.cert_file", "set manager.message_queue.tls.cert_file and")
	others := both("CERT_FILE", foreign)
	others[databaseTLS+"KEY_FILE"], others[brokerTLS+"KEY_FILE"] = foreignKey, foreignKey
	examine("a certificate of another authority", 1, others, foreign+" (manager.db.tls.cert_file)", foreign+" (manager.message_queue.tls.cert_file)")

	// A daemon waits for the services, and its log says what is wrong.
	for section, key := range map[string]string{databaseTLS: "manager.db.tls.ca_file", brokerTLS: "manager.message_queue.tls.ca_file"} {
		p := start(t, v.with(variables{section + "CA_FILE": "", "TASKER_API_PORT": "0"}), "api")
		s.until("the API to name "+key, func() bool { return strings.Contains(p.output(), key) })
		if strings.Contains(p.output(), servicePassword) {
			t.Errorf("the log has a password:\n%s", p.output())
		}
		p.kill()
	}

	s.api()
	s.manager("console1")
	s.accept("worker", `{"identifier":"one"}`)
	if a := s.await("/worker/one", "DONE"); a.state("console1") != "DONE" {
		t.Errorf("%+v", a)
	}
}
