// Package endpointcheck checks an endpoint, in whatever language it is written,
// against docs/protocol.md. It plays tasker's side: a real gateway on a database in
// a temporary file, and messages over RabbitMQ. Between the endpoint and the
// gateway it refuses requests, loses answers, and looks at what the endpoint does.
package endpointcheck

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/taskerhq/tasker"
)

// Config is what to check.
type Config struct {
	// RabbitMQ is the address of a virtual host that nobody else uses.
	RabbitMQ string
	// Endpoint and TaskType are the names that the endpoint must use.
	Endpoint string
	TaskType string
	// Listen is the address of the gateway, on loopback; empty means any port.
	Listen string
	// Command starts the endpoint; {gateway} in it is replaced by [Setup.Gateway],
	// and so on. If it is empty somebody else must start the endpoint, and what needs
	// a kill is left out.
	Command []string
	// Environ is the environment of the command.
	Environ []string
	// Patience is how long the endpoint may take for each step; 0 means 30 s.
	Patience time.Duration
	// Log receives the output of the endpoint.
	Log io.Writer
	// Started, if set, is called with what the endpoint needs, before the first
	// check.
	Started func(Setup)
	// Report, if set, is called with the result of each check.
	Report func(Result)
}

// Setup is what an endpoint must know.
type Setup struct {
	Endpoint  string `json:"endpoint"`
	TaskType  string `json:"task_type"`
	Gateway   string `json:"gateway"`
	TokenFile string `json:"token_file"`
	RabbitMQ  string `json:"-"` // it may have a password
}

// expand replaces {endpoint}, {task_type}, {gateway}, {token_file} and {rabbitmq} in
// the arguments of a command.
func (s Setup) expand(args []string) []string {
	replacer := strings.NewReplacer("{endpoint}", s.Endpoint, "{task_type}", s.TaskType, "{gateway}", s.Gateway,
		"{token_file}", s.TokenFile, "{rabbitmq}", s.RabbitMQ)
	expanded := make([]string, len(args))
	for i, arg := range args {
		expanded[i] = replacer.Replace(arg)
	}
	return expanded
}

// Result is what became of a check.
type Result struct {
	Check    string `json:"check"`
	Outcome  string `json:"outcome"` // passed, failed or skipped
	Expected string `json:"expected"`
	Seen     string `json:"seen"`
}

// The outcomes.
const (
	Passed  = "passed"
	Failed  = "failed"
	Skipped = "skipped"
)

// Run runs all checks, and returns their results in order. The error is that the
// checks could not be done, or that ctx ended.
func Run(ctx context.Context, cfg Config) (results []Result, err error) {
	cfg.Patience = cmp.Or(cfg.Patience, 30*time.Second)
	cfg.Listen = cmp.Or(cfg.Listen, "127.0.0.1:0")
	if cfg.Log == nil {
		cfg.Log = io.Discard
	}
	dir, err := os.MkdirTemp("", "tasker-endpoint-check-")
	if err != nil {
		return nil, fmt.Errorf("make a temporary directory: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if len(cfg.Command) > 0 {
		// It is started in another directory.
		if cfg.Command, err = located(cfg.Command); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := newStage(ctx, cfg, dir)
	if err != nil {
		return nil, err
	}
	defer s.close()
	if cfg.Started != nil {
		cfg.Started(s.setup)
	}
	for _, scene := range scenes() {
		if err := scene(ctx, s); err != nil {
			return s.results, err
		}
		if ctx.Err() != nil {
			return s.results, context.Cause(ctx)
		}
	}
	return s.results, nil
}

// located returns a command with the path of its program.
func located(command []string) ([]string, error) {
	program, err := exec.LookPath(command[0])
	if err == nil {
		program, err = filepath.Abs(program)
	}
	if err != nil {
		return nil, tasker.WrapError(tasker.Invalid, err, "find the endpoint's program")
	}
	return append([]string{program}, command[1:]...), nil
}
