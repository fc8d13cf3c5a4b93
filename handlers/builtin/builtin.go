// Package builtin is the catalog of the handlers that come with tasker, one
// package each. A new one needs a package beside these and a line here.
package builtin

import (
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/backup"
	"github.com/taskerhq/tasker/handlers/copyfile"
	"github.com/taskerhq/tasker/handlers/exec"
	"github.com/taskerhq/tasker/handlers/httpcall"
	"github.com/taskerhq/tasker/handlers/ifconfig"
	"github.com/taskerhq/tasker/handlers/script"
	"github.com/taskerhq/tasker/handlers/service"
	"github.com/taskerhq/tasker/handlers/sleep"
	"github.com/taskerhq/tasker/handlers/worker"
)

var factories = map[string]handlers.Factory{
	"backup":   backup.New,
	"copyfile": copyfile.New,
	"exec":     exec.New,
	"http":     httpcall.New,
	"ifconfig": ifconfig.New,
	"script":   script.New,
	"service":  service.New,
	"sleep":    sleep.New,
	"worker":   worker.New,
}

// Catalog returns a new catalog of the built-in handlers.
func Catalog() *handlers.Catalog {
	c := handlers.NewCatalog()
	for name, factory := range factories {
		if err := c.Add(name, factory); err != nil {
			panic(err) // the table above is wrong
		}
	}
	return c
}
