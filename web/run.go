package web

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/oklog/ulid/v2"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/internal/x/nodeset"
	"github.com/taskerhq/tasker/internal/x/text"
)

// Whom a form says that a task is for.
const (
	whomAll    = "all"
	whomSelect = "select"
	whomNames  = "names"
)

// maxListed is how many endpoints a form can list.
const maxListed = 10_000

// runForm is what a person enters to run a task.
type runForm struct {
	Identifier string
	Payload    string
	Whom       string
	Select     string
	Names      string
}

// runForm reads the form of a request, in a form that can be shown: JSON escapes in
// place of control characters leave a payload what it is, and nothing else may have any.
func (v *visit) runForm() (runForm, error) {
	if err := v.form(); err != nil {
		return runForm{}, err
	}
	field := func(name string) string { return text.Visible(strings.TrimSpace(v.r.PostForm.Get(name))) }
	payload := string(text.VisibleJSON([]byte(strings.TrimSpace(v.r.PostForm.Get("payload")))))
	return runForm{field("identifier"), payload, field("whom"), field("select"), field("names")}, nil
}

// task returns the task that a form describes.
func (f runForm) task() (client.NewTask, error) {
	t := client.NewTask{Identifier: f.Identifier}
	if f.Payload != "" {
		if err := validJSON(f.Payload); err != nil {
			return t, err
		}
		t.Payload = json.RawMessage(f.Payload)
	}
	switch f.Whom {
	case whomAll:
		t.All = true
	case whomSelect:
		if f.Select == "" {
			return t, tasker.Errorf(tasker.Invalid, "missing selector: write one, such as role=web, or choose all endpoints")
		}
		t.Select = []string{f.Select}
	case whomNames:
		names, err := nodeset.Unfold(strings.Join(strings.Fields(f.Names), ","), maxListed)
		switch {
		case err != nil:
			return t, tasker.WrapError(tasker.Invalid, err, "invalid names: "+err.Error())
		case len(names) == 0:
			return t, tasker.Errorf(tasker.Invalid, "missing names: list at least one endpoint")
		}
		t.Endpoints = names
	default:
		return t, tasker.Errorf(tasker.Invalid, "missing choice of endpoints: all, a selector, or names")
	}
	return t, nil
}

// planPage shows whom a task would be for, and asks for their number.
type planPage struct {
	Form   runForm
	Plan   client.Plan
	Names  document // folded
	Silent document
	Wrong  *failure // why the task was not created
}

// Ask reports whether the number of endpoints has to be typed.
func (p planPage) Ask() bool { return p.Plan.Count > 1 }

// planTask shows the plan of the task that a form describes.
func planTask(v *visit) error {
	taskType, err := v.taskType() // before the form is read: it says whether the token is valid
	if err != nil {
		return err
	}
	form, err := v.runForm()
	if err != nil {
		return err
	}
	return v.plan(http.StatusOK, taskType, form, nil)
}

// plan asks for the plan of a form, and shows it, or the form with what is wrong.
func (v *visit) plan(status int, taskType client.TaskTypeAnswer, form runForm, wrong *failure) error {
	if form.Identifier == "" {
		form.Identifier = ulid.Make().String() // so that a form that is sent twice is one task
	}
	task, err := form.task()
	var plan client.Plan
	if err == nil {
		plan, err = v.api.PlanTask(v.ctx(), taskType.Name, task)
	}
	if err != nil {
		if !refused(err) {
			return err
		}
		f, code := failureOf(err)
		return v.showForm(code, taskType, form, &f)
	}
	return v.show(status, "plan", page{
		Title: "Run " + taskType.Name + " on " + plural(plan.Count, "endpoint"), Section: "types",
		Body: planPage{
			Form: form, Plan: plan, Names: listOf(nodeset.Fold(plan.Endpoints)), Silent: listOf(nodeset.Fold(plan.Silent)), Wrong: wrong,
		},
	})
}

// listOf returns folded names for a page, as many as fit.
func listOf(items []string) document {
	all := strings.Join(items, ", ")
	d := document{Text: all, Size: len(all)}
	if len(all) > maxShown {
		d.Cut, d.Text = true, all[:strings.LastIndexByte(all[:maxShown], ',')+1]+" ..."
	}
	return d
}

// runTask creates the task of a plan, if its endpoints are still those that the plan
// showed, and their number was typed.
func runTask(v *visit) error {
	taskType, err := v.taskType()
	if err != nil {
		return err
	}
	form, err := v.runForm()
	if err != nil {
		return err
	}
	planned, typed := v.r.PostForm.Get("count"), strings.TrimSpace(v.r.PostForm.Get("typed"))
	if planned != "1" && strings.ReplaceAll(typed, ",", "") != planned {
		wrong := failure{Detail: "wrong number: type how many endpoints the task is for: nothing was done"}
		return v.plan(http.StatusUnprocessableEntity, taskType, form, &wrong)
	}
	task, err := form.task()
	if err == nil {
		err = v.run(taskType.Name, task, planned)
	}
	if err != nil && refused(err) {
		f, status := failureOf(err)
		return v.plan(status, taskType, form, &f)
	}
	if err != nil {
		return err
	}
	return v.redirect("tasks/" + taskType.Name + "/" + task.Identifier)
}

// run creates a task. The digest of the plan guards whom it is for, and the number of
// endpoints is what the person has typed.
func (v *visit) run(taskType string, task client.NewTask, planned string) error {
	count, err := strconv.Atoi(planned)
	if task.Plan = v.r.PostForm.Get("plan"); task.Plan == "" || task.Identifier == "" || err != nil {
		return tasker.Errorf(tasker.Invalid, "missing plan: nothing was done; look at this one, and confirm it")
	}
	task.Expect = &client.Expect{Min: &count, Max: &count}
	_, _, err = v.api.CreateTask(v.ctx(), taskType, task)
	return err
}
