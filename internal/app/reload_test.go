package app_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/internal/app"
	"github.com/taskerhq/tasker/internal/testservices"
)

// TestDevReload changes the configuration of a process that works.
func TestDevReload(t *testing.T) {
	dir := t.TempDir()
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "test.config.yaml"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const worker = "{name: worker, settings: {duration: 0}}"
	write("task_types: [" + worker + "]\n")
	cfg, err := config.Load(config.Options{
		Mode: "test", Dir: dir, Environ: []string{"TASKER_API_PORT=0"},
		Without: config.PartDatabase | config.PartBroker | config.PartAdmin,
	})
	if err != nil {
		t.Fatal(err)
	}
	asked, done := make(chan os.Signal), make(chan error, 1)
	base, _ := dev(t, cfg, app.DevOptions{Ephemeral: true, Reload: app.Reload{
		Asked: asked, Done: func(err error) { done <- err },
	}})
	reload := func(content string) error {
		t.Helper()
		write(content)
		select {
		case asked <- syscall.SIGHUP:
		case <-time.After(5 * time.Minute):
			t.Fatal("nobody hears the signal")
		}
		select {
		case err := <-done:
			return err
		case <-time.After(5 * time.Minute):
			t.Fatal("the configuration is not read again")
			return nil
		}
	}
	post := func(taskType, identifier, payload string) int {
		t.Helper()
		body := `{"identifier":"` + identifier + `","payload":` + payload + `,"endpoints":["console1","console2"]}`
		return request(t, http.MethodPost, base+"/"+taskType, body, nil)
	}
	performed := func(taskType, identifier, payload string) answer {
		t.Helper()
		if code := post(taskType, identifier, payload); code != http.StatusCreated {
			t.Fatalf("POST /%s: %d", taskType, code)
		}
		return until(t, base+"/"+taskType+"/"+identifier, func(a answer) bool { return a.Summary.Finished == 2 })
	}

	if code := post("sleep", "early", `{"seconds":0}`); code != http.StatusNotFound {
		t.Errorf("a type that is not there: %d", code)
	}
	if err := reload("task_types: [" + worker + ", sleep]\n"); err != nil {
		t.Fatal(err)
	}
	if a := performed("sleep", "one", `{"seconds":0}`); a.TaskResponseList[0].State != "DONE" {
		t.Errorf("a type that was added: %+v", a)
	}
	performed("worker", "one", "null")

	// A mistake anywhere changes nothing.
	if err := reload("task_types: [sleep, nope]\n"); err == nil {
		t.Error("a mistake was taken")
	}
	performed("worker", "two", "null")

	// Other settings, another schema; and one is gone.
	err = reload("task_types: [{name: sleep, handler: backup, settings: {duration: 0}, schema: {required: [x]}}]\n")
	if err != nil {
		t.Fatal(err)
	}
	if code := post("sleep", "two", `{"seconds":0}`); code != http.StatusUnprocessableEntity {
		t.Errorf("a payload that breaks the new schema: %d", code)
	}
	if a := performed("sleep", "three", `{"x":0}`); a.TaskResponseList[0].Errnr != 32 {
		t.Errorf("another handler: %+v", a)
	}
	if code := post("worker", "three", "null"); code != http.StatusNotFound {
		t.Errorf("a type that is gone: %d", code)
	}
	// And it comes back.
	if err := reload("task_types: [" + worker + "]\n"); err != nil {
		t.Fatal(err)
	}
	performed("worker", "four", "null")
	var list struct {
		TaskTypes []struct{ Name string } `json:"task_types"`
	}
	request(t, http.MethodGet, base+"/v1/task-types", "", &list)
	if len(list.TaskTypes) != 1 || list.TaskTypes[0].Name != "worker" {
		t.Errorf("the types are %+v", list)
	}
}

// TestManagerReloadWithoutItsType keeps the manager of one type, which was
// named on the command line, as it is.
func TestManagerReloadWithoutItsType(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "test.config.yaml")
	const services = "manager: {db: {uri: 'sqlite:///DIR/db'}, message_queue: {uri: 'amqp://a:b@127.0.0.1:1/x'}, spool_dir: DIR/spool}\n"
	write := func(types string) {
		t.Helper()
		content := strings.ReplaceAll(services, "DIR", dir) + "task_types: " + types + "\n"
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("[worker, sleep]")
	cfg, err := config.Load(config.Options{Mode: "test", Dir: dir, Without: config.PartAPI | config.PartAdmin})
	if err != nil {
		t.Fatal(err)
	}
	if err := app.InitDatabase(t.Context(), cfg, app.InitOptions{Out: t.Output()}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	asked, done, ended := make(chan os.Signal), make(chan error, 1), make(chan error, 1)
	log := make(heard, 1000)
	opts := app.ManagerOptions{Endpoints: []string{"a"}, TaskTypes: []string{"worker"}, Reload: app.Reload{
		Asked: asked, Done: func(err error) { done <- err },
	}}
	go func() { ended <- app.RunManager(ctx, cfg, opts, slog.New(log)) }()
	limit, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	log.await(limit, t, "serving")
	for _, step := range []struct {
		types string
		good  bool
	}{{"[sleep]", false}, {"[{name: worker, concurrency: 1}]", true}} {
		write(step.types)
		asked <- syscall.SIGHUP
		if err := <-done; (err == nil) != step.good {
			t.Errorf("%s: %v", step.types, err)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestProcessesReload adds a task type to an API and to a manager on real
// services, by a change of the file that they share, and takes one away.
func TestProcessesReload(t *testing.T) {
	t.Parallel()
	database, broker := testservices.MySQL(t), testservices.RabbitMQ(t)
	dir := t.TempDir()
	write := func(types string) {
		t.Helper()
		content := fmt.Sprintf("task_types: %s\napi: {port: 0}\nmanager: {db: {uri: '%s'}, message_queue: {uri: '%s'}, spool_dir: %s/spool}\n",
			types, database, broker, dir)
		if err := os.WriteFile(filepath.Join(dir, "new"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "test.config.yaml")); err != nil {
			t.Fatal(err)
		}
	}
	write("[{name: worker, settings: {duration: 0}}]")
	cfg, err := config.Load(config.Options{Mode: "test", Dir: dir, Without: config.PartAdmin})
	if err != nil {
		t.Fatal(err)
	}
	if err := app.InitDatabase(t.Context(), cfg, app.InitOptions{Out: t.Output()}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	done, ended, ready := make(chan error, 10), make(chan error, 2), make(chan string, 1)
	reload := app.Reload{Period: 5 * time.Millisecond, Done: func(err error) { done <- err }}
	go func() {
		ended <- app.RunAPI(ctx, cfg, app.APIOptions{Ready: func(addr string) { ready <- addr }, Reload: reload}, log)
	}()
	go func() {
		ended <- app.RunManager(ctx, cfg, app.ManagerOptions{Endpoints: []string{"a"}, Reload: reload}, log)
	}()
	t.Cleanup(func() {
		stop()
		if err := errors.Join(<-ended, <-ended); err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	var base string
	select {
	case addr := <-ready:
		base = "http://" + addr
	case err := <-ended:
		ended <- err
		t.Fatal(err)
	}
	// serves waits until the endpoint is registered for that many types.
	serves := func(types int) {
		t.Helper()
		deadline := time.Now().Add(5 * time.Minute)
		for {
			var list struct {
				Endpoints []struct {
					TaskTypes []string `json:"task_types"`
				}
			}
			request(t, http.MethodGet, base+"/v1/endpoints", "", &list)
			if len(list.Endpoints) == 1 && len(list.Endpoints[0].TaskTypes) == types {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("the endpoint is not registered for %d types: %+v", types, list)
			}
			select {
			case <-time.After(20 * time.Millisecond):
			case <-t.Context().Done():
				t.Fatal(t.Context().Err())
			}
		}
	}
	change := func(types string) {
		t.Helper()
		write(types)
		for range 2 { // both processes
			select {
			case err := <-done:
				if err != nil {
					t.Fatal(err)
				}
			case <-time.After(5 * time.Minute):
				t.Fatal("a process does not see that the file has changed")
			}
		}
	}
	serves(1)
	change("[{name: worker, settings: {duration: 0}}, sleep]")
	serves(2)
	if code := request(t, http.MethodPost, base+"/sleep", `{"identifier":"one","payload":{"seconds":0}}`, nil); code != http.StatusCreated {
		t.Fatalf("POST: %d", code)
	}
	until(t, base+"/sleep/one", status("DONE"))
	change("[sleep]")
	serves(1)
	if code := request(t, http.MethodPost, base+"/worker", `{"identifier":"one"}`, nil); code != http.StatusNotFound {
		t.Errorf("a type that is gone: %d", code)
	}
}
