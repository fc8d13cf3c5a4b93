package web

import (
	"encoding/json"
	"net/http"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

// typesPage is the list of the task types.
type typesPage struct{ Types []client.TaskTypeInfo }

func showTypes(v *visit) error {
	types, err := v.api.TaskTypes(v.ctx())
	if err != nil {
		return err
	}
	return v.show(http.StatusOK, "types", page{Title: "Types", Section: "types", Body: typesPage{types}})
}

// typePage is a task type, with the form that runs it.
type typePage struct {
	Type   client.TaskTypeAnswer
	Schema document
	Form   runForm
	Wrong  *failure // why the form was refused
}

func showType(v *visit) error {
	taskType, err := v.taskType()
	if err != nil {
		return err
	}
	form := runForm{Whom: whomAll}
	if example := documentOf(taskType.Example); !example.Cut {
		form.Payload = example.Text
	}
	return v.showForm(http.StatusOK, taskType, form, nil)
}

// taskType asks for the task type in the path of the page.
func (v *visit) taskType() (client.TaskTypeAnswer, error) {
	name := v.r.PathValue("type")
	if tasker.ValidateTaskType(name) != nil {
		return client.TaskTypeAnswer{}, tasker.Errorf(tasker.NotFound, "task type not found")
	}
	return v.api.TaskType(v.ctx(), name)
}

func (v *visit) showForm(status int, taskType client.TaskTypeAnswer, form runForm, wrong *failure) error {
	return v.show(status, "type", page{
		Title: "Type " + taskType.Name, Section: "types",
		Body: typePage{Type: taskType, Schema: documentOf(taskType.Schema), Form: form, Wrong: wrong},
	})
}

// validJSON returns why a text is not JSON, or nil.
func validJSON(text string) error {
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		return tasker.WrapError(tasker.Invalid, err, "invalid payload: must be JSON: "+err.Error())
	}
	return nil
}
