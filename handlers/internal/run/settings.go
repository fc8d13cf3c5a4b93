package run

import (
	"errors"
	"slices"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/internal/check"
	"github.com/taskerhq/tasker/handlers/internal/param"
	"github.com/taskerhq/tasker/handlers/internal/program"
)

// The values of the setting "stdin".
const (
	StdinPayload = "payload"
	stdinNone    = "none"
)

// The values of the setting "result".
const (
	resultAuto = "auto" // JSON if it is valid JSON, otherwise text
	resultJSON = "json" // anything else is an error
	resultText = "text"
	resultNone = "none"
)

// The values of the setting "stderr": what it means that a program which
// succeeded wrote to its standard error.
const (
	stderrIgnore  = "ignore"
	stderrWarn    = "warn"
	stderrFailure = "failure"
)

const (
	// The bounds of max_output, in bytes of JSON.
	minMaxOutput     = 1 << 10
	defaultMaxOutput = 256 << 10
	maxMaxOutput     = 64 << 20
	// maxStopGrace leaves time for TERM and KILL before the manager abandons the
	// handler.
	maxStopGrace = 8 * time.Second
)

// Settings are the settings of a handler that runs a program for each attempt.
type Settings struct {
	program.Settings
	Stdin          string          `json:"stdin"` // payload or none
	MaxOutput      handlers.Size   `json:"max_output"`
	Result         string          `json:"result"` // auto, json, text or none
	Log            []string        `json:"log"`    // of stdout and stderr
	Stderr         string          `json:"stderr"` // ignore, warn or failure
	SuccessCodes   []int           `json:"success_codes"`
	PermanentCodes []int           `json:"permanent_codes"`
	RebootCode     int             `json:"reboot_code"` // 0 for none
	RebootCommand  program.Command `json:"reboot_command"`
}

// Defaults returns the settings of a handler for which nothing is set.
func Defaults() Settings {
	return Settings{
		Settings: program.Defaults(), Stdin: StdinPayload, MaxOutput: defaultMaxOutput, Result: resultAuto, Stderr: stderrIgnore,
		Log: []string{tasker.StreamStdout, tasker.StreamStderr}, SuccessCodes: []int{0},
	}
}

// Validate checks the settings, and nothing outside of them.
func (s *Settings) Validate(declared param.Set) error {
	var c check.Settings
	c.OneOf("stdin", s.Stdin, StdinPayload, stdinNone)
	c.OneOf("result", s.Result, resultAuto, resultJSON, resultText, resultNone)
	c.OneOf("stderr", s.Stderr, stderrIgnore, stderrWarn, stderrFailure)
	for _, stream := range s.Log {
		c.OneOf("log", stream, tasker.StreamStdout, tasker.StreamStderr)
	}
	c.Want(s.MaxOutput >= minMaxOutput && s.MaxOutput <= maxMaxOutput, "max_output",
		"must be %d to %d bytes, got %d", minMaxOutput, maxMaxOutput, s.MaxOutput)
	exitCode := func(setting string, codes ...int) {
		for _, code := range codes {
			c.Want(code >= 0 && code <= 255, setting, "an exit code must be 0 to 255, got %d", code)
		}
	}
	exitCode("success_codes", s.SuccessCodes...)
	exitCode("permanent_codes", s.PermanentCodes...)
	exitCode("reboot_code", s.RebootCode)
	c.Want(s.RebootCode == 0 || !slices.Contains(s.SuccessCodes, s.RebootCode), "reboot_code",
		"%d is in success_codes as well", s.RebootCode)
	c.Want(s.RebootCode != 0 || len(s.RebootCommand) == 0, "reboot_command", "needs reboot_code")
	if len(s.RebootCommand) > 0 {
		err := s.RebootCommand.Check()
		c.Want(err == nil, "reboot_command", "%w", err)
	}
	return errors.Join(c.Err(), s.Settings.Validate(declared, maxStopGrace))
}
