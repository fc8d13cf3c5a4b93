// Package builtin is the catalog of the handlers that come with tasker, one
// package each. A new one needs a package beside these and a line here.
package builtin

import "github.com/taskerhq/tasker/handlers"

var factories = map[string]handlers.Factory{
	"backup":   handlers.NewBackup,
	"copyfile": handlers.NewCopyfile,
	"exec":     handlers.NewExec,
	"http":     handlers.NewHTTP,
	"ifconfig": handlers.NewIfconfig,
	"script":   handlers.NewScript,
	"service":  handlers.NewService,
	"sleep":    handlers.NewSleep,
	"worker":   handlers.NewWorker,
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
