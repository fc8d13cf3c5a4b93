// The tasker program: see "tasker --help".
package main

import (
	"github.com/taskerhq/tasker/cli"
	"github.com/taskerhq/tasker/handlers/builtin"
)

// version is set by the build (-ldflags "-X main.version=1.2.3").
var version string

func main() { cli.Main(builtin.Catalog(), version) }
