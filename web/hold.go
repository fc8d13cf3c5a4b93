package web

import (
	"strings"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/internal/x/text"
)

// holdForm pauses or drains something, or ends that.
type holdForm struct {
	Path string       // of the page, to which /pause and /resume are added
	Verb string       // "Pause this task"
	Held string       // "Paused"
	Hold *tasker.Hold // nil if nothing holds it
}

// readPause reads the form of a pause.
func (v *visit) readPause() (client.Pause, error) {
	if err := v.form(); err != nil {
		return client.Pause{}, err
	}
	field := func(name string) string { return text.Visible(strings.TrimSpace(v.r.PostForm.Get(name))) }
	return client.Pause{Reason: field("reason"), Until: field("until")}, nil
}

func pauseTask(v *visit) error {
	taskType, identifier, err := v.task()
	if err != nil {
		return err
	}
	pause, err := v.readPause()
	if err == nil {
		_, err = v.api.Pause(v.ctx(), taskType, identifier, pause)
	}
	return v.changed(err, "tasks/"+taskType+"/"+identifier)
}

func pauseType(v *visit) error {
	taskType := v.r.PathValue("type")
	pause, err := v.readPause()
	if err == nil {
		_, err = v.api.PauseType(v.ctx(), taskType, pause)
	}
	return v.changed(err, "types/"+taskType)
}

func resumeType(v *visit) error {
	taskType := v.r.PathValue("type")
	_, err := v.api.ResumeType(v.ctx(), taskType)
	return v.changed(err, "types/"+taskType)
}

func drainEndpoint(v *visit) error {
	name := v.r.PathValue("endpoint")
	pause, err := v.readPause()
	if err == nil {
		_, err = v.api.Drain(v.ctx(), name, pause)
	}
	return v.changed(err, "endpoints/"+name)
}

func resumeEndpoint(v *visit) error {
	name := v.r.PathValue("endpoint")
	_, err := v.api.ResumeEndpoint(v.ctx(), name)
	return v.changed(err, "endpoints/"+name)
}

// changed leads back to the page of what was changed, or says why it was not.
func (v *visit) changed(err error, page string) error {
	if err != nil {
		return err
	}
	return v.redirect(page)
}
