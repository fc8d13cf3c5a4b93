package observe

import (
	"cmp"
	"runtime"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// NewRegistry returns a registry with the metrics of the process: those of the Go
// runtime and of the operating system, and which program it is.
func NewRegistry(version string) *Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	metrics := register[processMetrics](r)
	revision := revision()
	metrics.BuildInfo.From(func(report Report) { report(1, version, revision, runtime.Version()) })
	return r
}

// processMetrics are the metrics of the process.
type processMetrics struct {
	BuildInfo Reading `name:"build_info" labels:"version,revision,go" help:"1; the labels say which program runs."`
}

// revision returns the commit that the program was built from.
func revision() (revision string) {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				revision = s.Value
			}
		}
	}
	return cmp.Or(revision, "unknown")
}
