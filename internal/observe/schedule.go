package observe

import "github.com/prometheus/client_golang/prometheus"

// ScheduleMetrics are the metrics of schedules.
type ScheduleMetrics struct {
	Lateness Histogram `name:"schedule_lateness_seconds" help:"Time from a slot of a schedule until its task was created."`
	Missed   Counter   `name:"schedule_missed_total" labels:"reason" help:"Slots of schedules that this API did not fire."`
}

// NewScheduleMetrics returns the metrics of schedules.
func NewScheduleMetrics(r prometheus.Registerer) ScheduleMetrics { return register[ScheduleMetrics](r) }
