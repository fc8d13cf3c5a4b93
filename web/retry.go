package web

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/oklog/ulid/v2"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/internal/x/nodeset"
	"github.com/taskerhq/tasker/internal/x/text"
)

// retryPage shows at which endpoints a task would run again, and asks for their number.
type retryPage struct {
	Type, Identifier string
	Class            tasker.RetryClass
	Reason           string
	Key              string // makes a form that is sent twice one round
	Plan             client.Retried
	Names            document // folded
	Wrong            string   // why nothing was done
}

// Ask reports whether the number of endpoints has to be typed.
func (p retryPage) Ask() bool { return p.Plan.Retried.Count > 1 }

// planRetry shows the plan of a retry.
func planRetry(v *visit) error {
	p, err := v.retryPage()
	if err != nil {
		return err
	}
	return v.showRetry(http.StatusOK, p)
}

// retryPage reads the form of a retry.
func (v *visit) retryPage() (p retryPage, err error) {
	if p.Type, p.Identifier, err = v.task(); err != nil {
		return p, err
	}
	if err = v.form(); err != nil {
		return p, err
	}
	field := func(name string) string { return text.Visible(strings.TrimSpace(v.r.PostForm.Get(name))) }
	p.Class, p.Reason, p.Key = tasker.RetryClass(field("class")), field("reason"), field("key")
	if p.Key == "" {
		p.Key = ulid.Make().String()
	}
	return p, nil
}

func (v *visit) showRetry(status int, p retryPage) error {
	plan, err := v.api.PlanRetry(v.ctx(), p.Type, p.Identifier, client.Retry{Class: p.Class, Reason: p.Reason})
	if err != nil && refused(err) {
		f, code := failureOf(err)
		return v.showTask(code, refusal{Detail: f.Detail})
	}
	if err != nil {
		return err
	}
	p.Plan, p.Names = plan, listOf(nodeset.Fold(plan.Retried.Endpoints))
	return v.show(status, "retry", page{
		Title: "Retry " + p.Type + "/" + p.Identifier + " on " + plural(plan.Retried.Count, "endpoint"), Section: "tasks", Body: p,
	})
}

// retryTask has endpoints run a task again, if they are as many as a person has typed.
func retryTask(v *visit) error {
	p, err := v.retryPage()
	if err != nil {
		return err
	}
	retry := client.Retry{Class: p.Class, Reason: p.Reason, Key: p.Key}
	plan, err := v.api.PlanRetry(v.ctx(), p.Type, p.Identifier, client.Retry{Class: p.Class, Reason: p.Reason})
	count := strconv.Itoa(plan.Retried.Count)
	switch typed := strings.ReplaceAll(strings.TrimSpace(v.r.PostForm.Get("typed")), ",", ""); {
	case err != nil: // Retry says it, or returns the round that the same form has begun
	case v.r.PostForm.Get("count") != count:
		p.Wrong = "other endpoints now: nothing was done; look again"
		return v.showRetry(http.StatusConflict, p)
	case count != "1" && typed != count:
		p.Wrong = "wrong number: type on how many endpoints the task runs again: nothing was done"
		return v.showRetry(http.StatusUnprocessableEntity, p)
	}
	if _, err = v.api.Retry(v.ctx(), p.Type, p.Identifier, retry); err != nil && refused(err) {
		f, status := failureOf(err)
		return v.showTask(status, refusal{Detail: f.Detail})
	}
	if err != nil {
		return err
	}
	return v.redirect("tasks/" + p.Type + "/" + p.Identifier)
}
