package cli_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker/cli"
	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/internal/app"
	"github.com/taskerhq/tasker/internal/testcerts"
)

// devTLS runs "tasker dev" with the environment, and returns the address of its API.
func devTLS(t *testing.T, dir string, environ ...string) string {
	t.Helper()
	environ = append(environ, "TASKER_TASK_TYPES=[{name: worker, settings: {duration: 20ms}}]", "TASKER_API_PORT=0")
	cfg, err := config.Load(config.Options{Environ: environ})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan string, 1), make(chan error, 1)
	go func() {
		opts := app.DevOptions{DataDir: dir, Ready: func(addr string) { ready <- addr }}
		done <- app.RunDev(ctx, cfg, opts, slog.New(slog.DiscardHandler))
	}()
	select {
	case addr := <-ready:
		t.Cleanup(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
		return addr
	case err := <-done:
		cancel()
		t.Fatalf("tasker dev ended: %v", err)
		return ""
	}
}

// Commands reach an API with TLS with the authority of its certificate, and with a
// certificate of their own where it requires one.
func TestAPIWithTLS(t *testing.T) {
	t.Parallel()
	ca, clients, until := testcerts.New(t), testcerts.New(t), time.Now().Add(time.Hour)
	certFile, keyFile := ca.Issue(t, "api", until)
	own, ownKey := clients.Issue(t, "alice", until)
	foreign, foreignKey := ca.Issue(t, "mallory", until)
	files := []string{"TASKER_API_TLS_CERT_FILE=" + certFile, "TASKER_API_TLS_KEY_FILE=" + keyFile}
	dir := t.TempDir()
	open := devTLS(t, dir, files...)
	closed := devTLS(t, t.TempDir(), append(files, "TASKER_API_TLS_CLIENT_CA_FILE="+clients.File)...)

	environ := []string{"TASKER_API_URL=https://" + open}
	trusting := append(environ, "TASKER_API_CA="+ca.File)
	execute(t, environ, "", "run", "worker", "--all", "--yes", "--ca", ca.File).want(t, cli.ExitOK, "DONE", "")
	execute(t, trusting, "", "list").want(t, cli.ExitOK, "worker", "")
	execute(t, environ, "", "types").want(t, cli.ExitFailure, "", "signed by an unknown authority: give the file with the certificate of its authority (--ca")
	execute(t, []string{"TASKER_API_URL=http://" + open}, "", "types").want(t, cli.ExitUsage, "", "the server speaks TLS: use https://")
	execute(t, nil, "", "types", "--dev", "--data", dir, "--ca", ca.File).want(t, cli.ExitOK, "worker", "")
	secured := strings.Replace(devAPI(t)[0], "http://", "https://", 1)
	execute(t, []string{secured}, "", "types").want(t, cli.ExitUsage, "", "the server speaks no TLS: use http://")

	trusting = []string{"TASKER_API_URL=https://" + closed, "TASKER_API_CA=" + ca.File}
	execute(t, trusting, "", "types").want(t, cli.ExitFailure, "", "it requires a client certificate: give its file and that of its key (--cert and --key")
	execute(t, trusting, "", "types", "--cert", foreign, "--key", foreignKey).want(t, cli.ExitFailure, "", "certificate")
	execute(t, trusting, "", "types", "--cert", own, "--key", ownKey).want(t, cli.ExitOK, "worker", "")
	execute(t, append(trusting, "TASKER_API_CERT="+own, "TASKER_API_CERT_KEY="+ownKey), "", "types").want(t, cli.ExitOK, "worker", "")
}

func TestWrongTLSFlags(t *testing.T) {
	t.Parallel()
	const secure = "https://127.0.0.1:1"
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range [][2]string{
		{"--ca x", "--ca is for an API with TLS: use https:// in --api, or leave it out"},
		{"--key x", "--key is for an API with TLS: use https:// in --api, or leave it out"},
		{"--api " + secure + " --ca /nowhere", "--ca: /nowhere does not exist"},
		{"--api " + secure + " --ca " + file, "--ca: "},
		{"--api " + secure + " --cert " + file, "--cert and --key belong together: give both, or neither"},
		{"--api " + secure + " --key " + file, "--cert and --key belong together: give both, or neither"},
		{"--api " + secure + " --cert " + file + " --key " + file, "--cert: "},
	} {
		args, want := test[0], test[1]
		execute(t, nil, "", append([]string{"types"}, strings.Fields(args)...)...).want(t, cli.ExitUsage, "", "tasker: "+want)
	}
	// Variables may be there for other commands.
	environ := append(devAPI(t), "TASKER_API_CA=/nowhere", "TASKER_API_CERT=/nowhere")
	execute(t, environ, "", "types").want(t, cli.ExitOK, "worker", "")
}

func TestConfigCheckOfTLS(t *testing.T) {
	t.Parallel()
	certFile, keyFile := testcerts.New(t).Issue(t, "api", time.Now().Add(time.Hour))
	environ := []string{"TASKER_API_TLS_CERT_FILE=" + certFile}
	o := tasker(t, nil, environ, "config", "check", "--dev")
	o.want(t, cli.ExitUsage, "", "missing api.tls.key_file")
	o = tasker(t, nil, append(environ, "TASKER_API_TLS_KEY_FILE="+keyFile), "config", "check", "--dev")
	o.want(t, cli.ExitOK, "api.tls.cert_file: "+certFile+" ends at", "")

	o = tasker(t, nil, []string{
		"TASKER_TASK_TYPES=worker", "TASKER_MANAGER_DB_URI=mysql://tasker:hunter2@db.example/tasker?tls=true",
		"TASKER_MANAGER_MESSAGE_QUEUE_URI=amqp://tasker:hunter2@mq.example/tasker",
		"TASKER_MANAGER_DB_TLS_CA_FILE=/nowhere", "TASKER_MANAGER_MESSAGE_QUEUE_TLS_CERT_FILE=" + certFile,
	}, "config", "check", "--programs=false")
	o.want(t, cli.ExitUsage, "", "TASKER_MANAGER_DB_TLS_CA_FILE: invalid manager.db.tls.ca_file: /nowhere does not exist")
	o.want(t, cli.ExitUsage, "", "invalid manager.message_queue.tls.cert_file: not used: use amqps:// in manager.message_queue.uri")
	if strings.Contains(o.stderr, "hunter2") {
		t.Error(o.stderr)
	}
}
