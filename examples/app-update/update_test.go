// Package appupdate tests the example of an application update.
package appupdate

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/handlerstest"
)

// place is the directory in the configuration.
const place = "/tmp/app-update"

// app is the application, in a directory of the test.
type app struct {
	dir    string
	update handlers.Handler
}

// newApp uses the example's configuration and script, but another directory.
func newApp(t *testing.T) app {
	t.Helper()
	for _, program := range []string{"flock", "sha256sum", "tar"} {
		if _, err := exec.LookPath(program); err != nil || runtime.GOOS != "linux" {
			t.Skipf("the script needs Linux and %s", program)
		}
	}
	a := app{dir: t.TempDir()}
	script, err := os.ReadFile("update.sh")
	a.write(t, "update.sh", script, 0o755, err)
	text, err := os.ReadFile("config/development.config.yaml")
	a.write(t, "development.config.yaml", bytes.ReplaceAll(text, []byte(place), []byte(a.dir)), 0o644, err)
	a.write(t, "published/none", nil, 0o644, nil)
	conf, err := config.Load(config.Options{Dir: a.dir, Without: config.PartDatabase | config.PartBroker | config.PartAdmin})
	if err != nil {
		t.Fatal(err)
	}
	registry, err := conf.Handlers(nil)
	if err != nil {
		t.Fatal(err)
	}
	update, ok := registry.Lookup("app-update")
	if !ok {
		t.Fatal("unknown task type app-update")
	}
	if checker, ok := handlers.Find[handlers.Checker](update); ok {
		if err := checker.Check(); err != nil {
			t.Fatal(err)
		}
	}
	a.update = update
	return a
}

func (a app) write(t *testing.T, name string, content []byte, mode os.FileMode, err error) {
	t.Helper()
	path := filepath.Join(a.dir, name)
	err = errors.Join(err, os.MkdirAll(filepath.Dir(path), 0o755))
	if err = errors.Join(err, os.WriteFile(path, content, mode)); err != nil {
		t.Fatal(err)
	}
}

// publish makes the archive of a version. health is the exit code of its check.
func (a app) publish(t *testing.T, version string, health int) {
	t.Helper()
	var archive bytes.Buffer
	zip := gzip.NewWriter(&archive)
	files := tar.NewWriter(zip)
	script := fmt.Sprintf("#!/bin/sh\nexit %d\n", health)
	err := files.WriteHeader(&tar.Header{Name: "healthy", Mode: 0o755, Size: int64(len(script))})
	if err == nil {
		_, err = files.Write([]byte(script))
	}
	err = errors.Join(err, files.Close(), zip.Close())
	name := "app-" + version + ".tar.gz"
	a.write(t, "published/"+name, archive.Bytes(), 0o644, err)
	a.write(t, "published/"+name+".sha256", fmt.Appendf(nil, "%x  %s\n", sha256.Sum256(archive.Bytes()), name), 0o644, nil)
}

func (a app) to(t *testing.T, version string) handlerstest.Ended {
	t.Helper()
	return handlerstest.Run(t.Context(), a.update, handlerstest.Task{Payload: `{"version":"` + version + `"}`, Endpoint: "console1"})
}

// want checks the links, and that nothing was left.
func (a app) want(t *testing.T, current, previous string) {
	t.Helper()
	root := filepath.Join(a.dir, "root", "console1")
	for name, version := range map[string]string{"current": current, "previous": previous} {
		target, err := os.Readlink(filepath.Join(root, name))
		if want := filepath.Join("releases", version); version != "" && target != want || version == "" && err == nil {
			t.Errorf("%s is %q, %v; want %q", name, target, err, version)
		}
	}
	for _, pattern := range []string{".unchecked", ".*.new", "releases/.new-*"} {
		if left, _ := filepath.Glob(filepath.Join(root, pattern)); len(left) > 0 {
			t.Errorf("left are %q", left)
		}
	}
}

func TestUpdate(t *testing.T) {
	t.Parallel()
	a := newApp(t)
	a.publish(t, "1.0", 0)
	a.publish(t, "1.1", 0)
	a.publish(t, "1.2", 1)
	a.publish(t, "1.3", 0)
	a.write(t, "published/app-1.3.tar.gz", []byte("something else"), 0o644, nil)

	run := a.to(t, "1.0")
	run.WantDone(t, `{"version":"1.0","before":"","changed":true}`)
	run.WantProgress(t, 4, 4)
	a.want(t, "1.0", "")

	a.to(t, "1.1").WantDone(t, `{"version":"1.1","before":"1.0","changed":true}`)
	a.want(t, "1.1", "1.0")

	a.to(t, "1.1").WantDone(t, `{"version":"1.1","before":"1.1","changed":false}`)
	a.want(t, "1.1", "1.0")

	run = a.to(t, "1.2")
	run.WantFailed(t, 3, "version 1.2 is not healthy\nreturned to version 1.1")
	run.WantProgress(t, 3, 4)
	a.want(t, "1.1", "1.1")

	a.to(t, "1.3").WantFailed(t, 4, "app-1.3.tar.gz does not match its checksum")
	a.to(t, "1.4").WantFailed(t, 1, "cannot get app-1.4.tar.gz from")
	a.want(t, "1.1", "1.1")
	if len(run.Attempts) != 1 {
		t.Errorf("an unhealthy version was tried %d times", len(run.Attempts))
	}
}

// TestUpdateRefuses: only versions reach the script.
func TestUpdateRefuses(t *testing.T) {
	t.Parallel()
	a := newApp(t)
	for _, version := range []string{"", "..", "1..2", "1;reboot", "../1", "-h", strings.Repeat("1", 33)} {
		if run := a.to(t, version); run.Errnr == 0 || run.Result != nil {
			t.Errorf("%q: got %s, %s", version, run.State, run.Result)
		}
	}
	if _, err := os.Stat(filepath.Join(a.dir, "root")); err == nil {
		t.Error("the script ran")
	}
}

// TestUpdateAfterKill: the script handles what a killed run has left.
func TestUpdateAfterKill(t *testing.T) {
	t.Parallel()
	a := newApp(t)
	a.publish(t, "1.0", 0)
	a.publish(t, "1.1", 0)
	a.publish(t, "1.2", 0)
	a.to(t, "1.0").WantDone(t, `{"version":"1.0","before":"","changed":true}`)
	a.to(t, "1.1").WantDone(t, `{"version":"1.1","before":"1.0","changed":true}`)
	// The run was killed after it had switched to 1.1, while it unpacked another.
	a.write(t, "root/console1/.unchecked", nil, 0o644, nil)
	a.write(t, "root/console1/releases/.new-abc/half", nil, 0o644, nil)
	a.to(t, "1.2").WantDone(t, `{"version":"1.2","before":"1.1","changed":true}`)
	a.want(t, "1.2", "1.0") // 1.1 was never found healthy
}
