// Package doctor examines an installation of tasker as an operator would: its
// configuration, the database, RabbitMQ, the endpoints and the tasks. It changes
// nothing. Each check has its own time limit, and a failed check does not prevent
// those that do not depend on it.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/taskerhq/tasker/internal/x/certfile"
	"github.com/taskerhq/tasker/internal/x/text"
)

// Level is how bad a finding is.
type Level string

// The levels, the worst last.
const (
	OK      Level = "ok"
	Note    Level = "note"    // for information; or what was not checked, and why
	Warning Level = "warning" // it works, but may stop to
	Problem Level = "problem" // it does not work, or breaks a guarantee of tasker
)

// Finding is what a check found, and what to do about it.
type Finding struct {
	Level   Level
	Message string
	Advice  string // empty if there is nothing to do
}

// Check is a finding with its place in the report.
type Check struct {
	Group    string
	Name     string
	Duration time.Duration // of the check, which may have several findings
	Finding
}

// Subject is the installation.
type Subject struct {
	Settings Settings
	// Database is nil if it could not be opened: DatabaseError says why.
	Database      Database
	DatabaseError error
	// WithoutDatabase reports that this machine's managers work over the gateway,
	// and have no database.
	WithoutDatabase bool
	// Gateways are the configured addresses of the gateway, and EndpointNames the
	// endpoints of this machine, if known.
	Gateways      []Gateway
	EndpointNames []string
	Endpoints     EndpointStore // nil without a Database
	Tasks         TaskStore     // nil without a Database
	// Nodes are the configured addresses of RabbitMQ. The caller closes them.
	Nodes []Node
	// OwnBroker reports that the broker is in-process, and cannot be examined.
	OwnBroker bool
	// Management is nil without access to the management API: ManagementError says
	// why.
	Management      Management
	ManagementError error
	// User and VirtualHost are those of tasker at RabbitMQ.
	User, VirtualHost string
	// Limit is the time limit of one check; 0 means 5 s.
	Limit time.Duration
}

// defaultLimit is longer than a healthy service takes, and shorter than an operator
// waits.
const defaultLimit = 5 * time.Second

// mostNames bounds the names in one message.
const mostNames = 10

// examination is one run over a subject, with what its checks find out.
type examination struct {
	Subject
	report Report
	facts  facts
}

// facts are the results of checks that later ones use.
type facts struct {
	schema    bool // the database answers, and has the schema
	known     bool // the endpoints could be read
	endpoints []seen
	// endpointsError is why the endpoints could not be read.
	endpointsError error
	// node is a connected one; nil if there is none.
	node Node
	// queues are those that could be read, by name; nil if none could.
	queues map[string]queue
}

// Run examines the subject. If ctx ends first, the remaining checks fail.
func Run(ctx context.Context, s Subject) Report {
	if s.Limit == 0 {
		s.Limit = defaultLimit
	}
	e := &examination{Subject: s}
	e.checkSettings(ctx)
	e.checkGateways(ctx)
	if e.WithoutDatabase {
		e.checkBroker(ctx)
		e.skip(groupDatabase, "all", "the managers of this machine work over the gateway; run it beside an API for the rest")
		return e.report
	}
	e.checkDatabase(ctx)
	e.readEndpoints(ctx) // before RabbitMQ: they say which queues there must be
	e.checkBroker(ctx)
	e.checkEndpoints(ctx)
	e.checkTasks(ctx)
	return e.report
}

// check runs one check within its time limit, and adds its findings to the report. It
// returns whether none of them is a problem.
func (e *examination) check(ctx context.Context, group, name string, look func(context.Context) []Finding) (passed bool) {
	ctx, cancel := context.WithTimeoutCause(ctx, e.Limit, fmt.Errorf("no answer within %s", e.Limit))
	defer cancel()
	start := time.Now()
	found := look(ctx)
	took := time.Since(start)
	passed = true
	for _, f := range found {
		e.report.Checks = append(e.report.Checks, Check{group, name, took, f})
		passed = passed && f.Level != Problem
	}
	return passed
}

// skip reports that something was not checked.
func (e *examination) skip(group, name, why string) {
	e.report.Checks = append(e.report.Checks, Check{
		Group: group, Name: name,
		Finding: Finding{Level: Note, Message: "not checked: " + why},
	})
}

func one(level Level, advice, format string, args ...any) []Finding {
	return []Finding{{level, fmt.Sprintf(format, args...), advice}}
}

func okay(format string, args ...any) []Finding { return one(OK, "", format, args...) }

// failed returns the finding of a check that got an error.
func failed(ctx context.Context, err error, advice string) []Finding {
	return one(Problem, advice, "%s", reason(ctx, err))
}

// unlessRefused returns advice about a failed connection, or none if both sides do not
// agree on TLS: that error says itself what to do.
func unlessRefused(err error, advice string) string {
	if errors.As(err, new(*certfile.Refusal)) {
		return ""
	}
	return advice
}

// reason returns an error for people, which mentions an exceeded time limit.
func reason(ctx context.Context, err error) string {
	cause := context.Cause(ctx)
	text := err.Error()
	if cause == nil || strings.Contains(text, cause.Error()) {
		return text
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		for _, noise := range []error{context.DeadlineExceeded, context.Canceled} {
			text = strings.TrimSuffix(text, ": "+noise.Error())
		}
	}
	return text + ": " + cause.Error()
}

// some joins the first few names, and counts the others.
func some(names []string) string { return text.Some(names, mostNames) }

// count returns a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// ago returns a duration rounded as people do.
func ago(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", int(d/(24*time.Hour)))
	case d >= time.Minute:
		d = d.Truncate(time.Minute)
	default:
		d = d.Truncate(time.Second)
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
