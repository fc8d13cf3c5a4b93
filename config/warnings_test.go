package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/taskerhq/tasker/config"
)

// TestWarnings lists the messages about what works and is unsafe. DIR stands for
// the directory of the file.
func TestWarnings(t *testing.T) {
	t.Parallel()
	const (
		away    = "127.0.0.2 is this machine"
		noToken = "api.token_file: not set: every user of this machine may run tasks"
		db      = "TASKER_MANAGER_DB_URI"
		queue   = "TASKER_MANAGER_MESSAGE_QUEUE_URI"
		admin   = "TASKER_RABBITMQ_MANAGEMENT_URI"
	)
	for name, test := range map[string]struct {
		mode    string
		environ []string
		without config.Part
		want    []string
	}{
		"development on this machine": {"development", []string{db + "=mysql://u:p@127.0.0.2/d"}, 0, nil},
		"production without a token":  {"production", nil, 0, []string{noToken}},
		"a manager in production":     {"production", nil, config.PartAPI, nil},
		"open to all": {"production", []string{"TASKER_API_LISTEN=0.0.0.0", "TASKER_API_INSECURE=true"}, 0, []string{
			"TASKER_API_INSECURE: api.insecure: anybody who can reach 0.0.0.0 may run tasks: listen on 127.0.0.1, or set api.token_file",
		}},
		"clear text": {"development", []string{
			db + "=mysql://u:p@db.example/d", queue + "=amqp://u:p@mq1.example/v,amqps://u:p@mq2.example/v",
			admin + "=http://mq.example:15672", "TASKER_RABBITMQ_PASSWORD=p",
		}, 0, []string{
			db + ": manager.db.uri: db.example is another host, and passwords and payloads cross the network in clear text: add ?tls=true",
			queue + ": manager.message_queue.uri: mq1.example is another host, and passwords and payloads cross the network in clear text: use amqps://",
			admin + ": rabbitmq.management_uri: mq.example is another host, and passwords and payloads cross the network in clear text: use https://",
		}},
		"any certificate": {"development", []string{db + "=mysql://u:p@db.example/d?tls=skip-verify"}, 0, []string{
			db + ": manager.db.uri: tls=skip-verify does not check the certificate of db.example, which anybody on the way can impersonate: use tls=true",
		}},
		"TLS if it can be had": {"development", []string{db + "=mysql://u:p@db.example/d?tls=preferred"}, 0, []string{
			db + ": manager.db.uri: tls=preferred lets anybody on the way to db.example turn TLS off: use tls=true",
		}},
		"TLS": {"development", []string{db + "=mysql://u:p@db.example/d?tls=true"}, 0, nil},
		"a service of Kubernetes": {"development", []string{"TASKER_API_PORT=tcp://10.0.0.1:80"}, 0, []string{
			"TASKER_API_PORT: ignored, since its value is the address of a Kubernetes service and not a value of api.port: " +
				"rename the service, or set enableServiceLinks: false in the pod",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			write(t, dir, test.mode+".config.yaml", minimal)
			c, err := config.Load(config.Options{Mode: test.mode, Dir: dir, Environ: test.environ, Without: test.without})
			if err != nil {
				t.Fatal(err, away)
			}
			if diff := cmp.Diff(test.want, c.Warnings()); diff != "" {
				t.Error(diff)
			}
			if c.API.Port != 8888 {
				t.Errorf("the port is %d", c.API.Port)
			}
		})
	}
}

// Passwords in a file that every user can read cause a warning.
func TestReadablePasswords(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := write(t, dir, "test.config.yaml", strings.Replace(minimal, "[worker]",
		`[worker, {name: a, handler: exec, settings: {command: /bin/true, environment: {X: hunter2}}}]`, 1)+"rabbitmq: {user: u, password: hunter2}\n")
	opts := config.Options{Mode: "test", Dir: dir, Without: config.PartAPI}
	if c, err := config.Load(opts); err != nil || len(c.Warnings()) > 0 {
		t.Fatalf("got %v, %v", err, c.Warnings())
	}
	if err := os.Chmod(path, 0o644); err != nil { //nolint:gosec // the fault
		t.Fatal(err)
	}
	c, err := config.Load(opts)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{path + ": readable by every user (its mode is -rw-r--r--), with secrets in manager.db.uri, manager.message_queue.uri, rabbitmq.password, " +
		"task_types[1].settings: chmod o-r " + path + ", or move the secrets to files of their own"}
	if diff := cmp.Diff(want, c.Warnings()); diff != "" {
		t.Error(diff)
	}
	if strings.Contains(strings.Join(c.Warnings(), ""), "hunter2") {
		t.Error("a secret is in the warning")
	}
}

// A spool that others can write to causes a warning: they could add results.
func TestWritableSpool(t *testing.T) {
	t.Parallel()
	spool := filepath.Join(t.TempDir(), "spool")
	c := mustLoad(t, minimal, "TASKER_MANAGER_SPOOL_DIR="+spool)
	if got := strings.Join(c.Warnings(), "|"); strings.Contains(got, "spool_dir") {
		t.Error(got)
	}
	if err := os.Mkdir(spool, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(spool, 0o777); err != nil { //nolint:gosec // the fault
		t.Fatal(err)
	}
	c = mustLoad(t, minimal, "TASKER_MANAGER_SPOOL_DIR="+spool)
	if got := strings.Join(c.Warnings(), "|"); !strings.Contains(got, "manager.spool_dir: others can put results there: "+spool+" is writable by all users") {
		t.Errorf("got %q", got)
	}
}
