package app

import "io"

// APIOptions says how the API runs.
type APIOptions struct {
	Version string
	// Ready, if set, is called with the address when the API listens.
	Ready  func(addr string)
	Reload Reload
}

// GatewayOptions says how "tasker gateway" runs.
type GatewayOptions struct {
	Version string
	// Ready, if set, is called with the address when the gateway listens.
	Ready  func(addr string)
	Reload Reload
}

// ManagerOptions says how a manager runs.
type ManagerOptions struct {
	Endpoints []string
	// TaskTypes are those that it performs; none means all configured ones, also
	// after a reload.
	TaskTypes []string
	// Forget removes the endpoints at the end; see [manager.Config.Forget].
	Forget  bool
	Version string
	// Ready, if set, is called once it serves its endpoints.
	Ready  func()
	Reload Reload
}

// DevOptions says how "tasker dev" runs.
type DevOptions struct {
	// DataDir contains the database; it is created if it does not exist.
	DataDir string
	// Ephemeral keeps the data in a directory that is deleted at the end.
	Ephemeral bool
	// Endpoints are those to serve; empty means those of [DevEndpoints].
	Endpoints []string
	// Out receives the greeting.
	Out     io.Writer
	Version string
	// Program is the program's name in the greeting; empty means tasker.
	Program string
	// Ready, if set, is called with the API's address once it serves.
	Ready  func(addr string)
	Reload Reload
}

// InitOptions says how "tasker initialize" prepares a service.
type InitOptions struct {
	// Reset first drops what exists.
	Reset bool
	// Force resets a database that is in use.
	Force bool
	// DryRun changes nothing: it only prints what a reset would drop.
	DryRun bool
	// Out receives a line for each thing done, or that would be.
	Out io.Writer
}
