// Package doctor looks at a whole installation of tasker as an operator would:
// its configuration, the database, RabbitMQ, the endpoints and the tasks. It
// changes nothing. Each check has its own time limit, and what does not depend
// on a failed check is checked all the same.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Level is how bad a finding is.
type Level string

// The levels, the worst last.
const (
	OK      Level = "ok"
	Note    Level = "note"    // worth knowing; or what was not checked, and why
	Warning Level = "warning" // it works, and may not for long
	Problem Level = "problem" // it does not work, or loses what tasker promises
)

// Finding is what a check found, and what to do about it.
type Finding struct {
	Level   Level
	Message string
	Advice  string // empty where there is nothing to do
}

// Check is a finding with its place in the report.
type Check struct {
	Group    string
	Name     string
	Duration time.Duration // what the check took; several findings may be of one check
	Finding
}

// Subject is the installation.
type Subject struct {
	Settings Settings
	// Database is nil where it could not be opened: DatabaseError says why.
	Database      Database
	DatabaseError error
	Endpoints     EndpointStore // nil without a Database
	Tasks         TaskStore     // nil without a Database
	// Nodes are the configured addresses of RabbitMQ. They are closed by the
	// caller.
	Nodes []Node
	// OwnBroker reports that the broker is a part of the process that is
	// examined: nobody else can look at it.
	OwnBroker bool
	// Management is nil where there is no access to the management API:
	// ManagementError says why.
	Management      Management
	ManagementError error
	// User and VirtualHost are who tasker is at RabbitMQ, and where.
	User, VirtualHost string
	// Limit is the time that one check may take; 0 means 5 s.
	Limit time.Duration
}

// defaultLimit is more than a healthy service takes, and less than an operator
// waits.
const defaultLimit = 5 * time.Second

// mostNames bounds the names in one message.
const mostNames = 10

// examination is one run over a subject, with what its checks learn.
type examination struct {
	Subject
	report Report
	facts  facts
}

// facts are what later checks need of earlier ones.
type facts struct {
	schema    bool // the database answers, and has the schema
	known     bool // the endpoints could be read
	endpoints []seen
	// endpointsError is why the endpoints could not be read.
	endpointsError error
	// node is one that is connected; nil where none is.
	node Node
	// queues are those that were looked at, by name; nil where none could be.
	queues map[string]queue
}

// Run examines the subject. Where ctx ends first, the report says so of all
// that was not checked.
func Run(ctx context.Context, s Subject) Report {
	if s.Limit == 0 {
		s.Limit = defaultLimit
	}
	e := &examination{Subject: s}
	e.checkSettings(ctx)
	e.checkDatabase(ctx)
	e.readEndpoints(ctx) // before RabbitMQ: they say which queues there must be
	e.checkBroker(ctx)
	e.checkEndpoints(ctx)
	e.checkTasks(ctx)
	return e.report
}

// check runs one check within its time, and reports what it finds. It tells
// whether that was no problem.
func (e *examination) check(ctx context.Context, group, name string, look func(context.Context) []Finding) (well bool) {
	ctx, cancel := context.WithTimeoutCause(ctx, e.Limit, fmt.Errorf("no answer within %s", e.Limit))
	defer cancel()
	start := time.Now()
	found := look(ctx)
	took := time.Since(start)
	well = true
	for _, f := range found {
		e.report.Checks = append(e.report.Checks, Check{group, name, took, f})
		well = well && f.Level != Problem
	}
	return well
}

// skip reports that something was not checked.
func (e *examination) skip(group, name, why string) {
	e.report.Checks = append(e.report.Checks, Check{Group: group, Name: name, Finding: Finding{Level: Note, Message: "not checked: " + why}})
}

func one(level Level, advice, format string, args ...any) []Finding {
	return []Finding{{level, fmt.Sprintf(format, args...), advice}}
}

func well(format string, args ...any) []Finding { return one(OK, "", format, args...) }

// failed is the finding of a check that got an error instead of an answer.
func failed(ctx context.Context, err error, advice string) []Finding {
	return one(Problem, advice, "%s", reason(ctx, err))
}

// reason is an error for people: where the time was up it says that.
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

// some joins names, and says how many there are beyond the first few.
func some(names []string) string {
	if len(names) <= mostNames {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:mostNames], ", "), len(names)-mostNames)
}

// count writes a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// ago writes how long something is past, as people do.
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
