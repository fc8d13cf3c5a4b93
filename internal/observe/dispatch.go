package observe

import "github.com/prometheus/client_golang/prometheus"

// DispatchMetrics are the metrics of the sending of tasks.
type DispatchMetrics struct {
	SendDelay Histogram `name:"task_send_delay_seconds" help:"Time from the start of a task until the broker has confirmed it."`
}

// NewDispatchMetrics returns the metrics of the sending of tasks.
func NewDispatchMetrics(r prometheus.Registerer) DispatchMetrics { return register[DispatchMetrics](r) }
