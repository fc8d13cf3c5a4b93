// Package clienttest runs a whole tasker in the process of a test, for programs that
// use package client: the API, the manager of some endpoints, a database and a message
// broker, as "tasker dev" has them. Nothing has to be installed, and nothing is left
// when the test has ended.
package clienttest

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"testing"

	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/app"
)

// Server is a running tasker.
type Server struct {
	URL    string         // of its API
	Client *client.Client // of its API
}

// Option changes what [Start] starts.
type Option func(*options)

type options struct {
	endpoints []string
	types     map[string]handlers.Handler
	settings  []string // as in an environment
}

// WithHandler adds a task type, which is performed by a handler at each endpoint.
// Without any, there are the task types of "tasker dev".
func WithHandler(taskType string, handler handlers.Handler) Option {
	return func(o *options) { o.types[taskType] = handler }
}

// WithEndpoints names the endpoints. Without, they are console1 and console2.
func WithEndpoints(names ...string) Option {
	return func(o *options) { o.endpoints = names }
}

// WithSetting sets a key of the configuration, such as "api.max_body", to a value in
// the form that an environment variable has; see docs/configuration.md.
func WithSetting(key, value string) Option {
	return func(o *options) { o.settings = append(o.settings, config.EnvName(key)+"="+value) }
}

// Start runs a tasker until the test and its subtests have ended. Its configuration is
// that of "tasker dev": a config/development.config.yaml beside the test, or else the
// one that comes with the program. What it logs goes to the output of the test. The
// test fails at once if tasker cannot start, and at its end if it does not stop without
// an error.
func Start(t testing.TB, opts ...Option) *Server {
	t.Helper()
	o := options{types: map[string]handlers.Handler{}}
	for _, option := range opts {
		option(&o)
	}
	cfg, err := o.config()
	if err != nil {
		t.Fatalf("configure tasker: %v", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ready, done := make(chan string, 1), make(chan error, 1)
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	go func() {
		done <- app.RunDev(ctx, cfg, app.DevOptions{
			Ephemeral: true, Endpoints: o.endpoints, Version: "test", Ready: func(addr string) { ready <- addr },
		}, log)
	}()
	select {
	case err := <-done:
		stop()
		t.Fatalf("start tasker: %v", err)
		return nil
	case addr := <-ready:
		t.Cleanup(func() {
			stop()
			if err := <-done; err != nil {
				t.Errorf("stop tasker: %v", err)
			}
			http.DefaultClient.CloseIdleConnections() // those of the Client, too
		})
		c, err := client.New("http://"+addr, "")
		if err != nil {
			t.Fatal(err)
		}
		return &Server{URL: "http://" + addr, Client: c}
	}
}

// config returns the configuration, whose catalog of handlers has those of the task
// types under their names.
func (o *options) config() (config.Config, error) {
	load := config.Options{Environ: append([]string{config.EnvName("api.port") + "=0"}, o.settings...)}
	if len(o.types) == 0 {
		return config.Load(load)
	}
	type taskType struct {
		Name string `json:"name"`
	}
	var types []taskType
	load.Handlers = handlers.NewCatalog()
	for _, name := range slices.Sorted(maps.Keys(o.types)) {
		handler := o.types[name]
		err := load.Handlers.Add(name, func(handlers.Settings) (handlers.Handler, error) { return handler, nil })
		if err != nil {
			return config.Config{}, err
		}
		types = append(types, taskType{name})
	}
	text, err := json.Marshal(types)
	if err != nil {
		return config.Config{}, err
	}
	load.Environ = append(load.Environ, config.EnvName("task_types")+"="+string(text))
	return config.Load(load)
}
