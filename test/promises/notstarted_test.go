package promises

import (
	"testing"
	"time"
)

// Only what expired or was canceled before its start ends without any endpoint.
func TestNotStarted(t *testing.T) {
	now := time.Now()
	for name, test := range map[string]struct {
		status, errmsg string
		accepted, sent *time.Time
		missing        []string
		want           bool
	}{
		"expired":                    {status: statusFailed, errmsg: "the task expired", want: true},
		"failed":                     {status: statusFailed},
		"expired with an endpoint":   {status: statusFailed, errmsg: "the task expired", missing: []string{"e1"}},
		"canceled before its start":  {status: statusCanceled, accepted: &now, want: true},
		"canceled after its start":   {status: statusCanceled, accepted: &now, sent: &now},
		"canceled, and was to start": {status: statusCanceled},
		"canceled at an endpoint":    {status: statusCanceled, accepted: &now, missing: []string{"e1"}},
		"done":                       {status: statusDone, accepted: &now},
	} {
		var a Answer
		a.Task.Status, a.Task.Errmsg, a.Task.AcceptedTime, a.Task.SentTime = test.status, test.errmsg, test.accepted, test.sent
		a.Summary.Missing = test.missing
		if a.notStarted() != test.want {
			t.Errorf("%s: %t", name, !test.want)
		}
	}
}
