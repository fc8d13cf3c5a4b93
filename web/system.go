package web

import (
	"net/http"

	"github.com/taskerhq/tasker/client"
)

// systemPage is the state of tasker itself.
type systemPage struct {
	Health client.Health
	Ready  client.Readiness
}

func showSystem(v *visit) error {
	health, err := v.api.Health(v.ctx())
	if err != nil {
		return err
	}
	ready, err := v.api.Ready(v.ctx())
	if err != nil {
		return err
	}
	return v.show(http.StatusOK, "system", page{Title: "System", Section: "system", Body: systemPage{health, ready}})
}
