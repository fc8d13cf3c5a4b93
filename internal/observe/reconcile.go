package observe

import "github.com/prometheus/client_golang/prometheus"

// ReconcileMetrics are the metrics of the reconciler. Those read from the database
// are the same in every API: a query takes their max, not their sum.
type ReconcileMetrics struct {
	StartDelay   Histogram `name:"task_start_delay_seconds" help:"Time from when a SCHEDULED task was due until it was started."`
	LoopSuccess  Gauge     `name:"loop_last_success_timestamp_seconds" labels:"loop" help:"When this API last ran a loop without error."`
	TasksOpen    Reading   `name:"tasks_open" labels:"task_type,status" help:"Tasks not ended. From the database: use max, not sum."`
	OldestOpen   Reading   `name:"oldest_open_seconds" labels:"task_type" help:"Age of the oldest open task. From the database: use max."`
	OldestUnsent Reading   `name:"oldest_unsent_seconds" help:"Age of the oldest task not sent. From the database: use max, not sum."`
	Endpoints    Reading   `name:"endpoints" labels:"state" help:"Endpoints, seen or silent. From the database: use max, not sum."`
	Holds        Reading   `name:"holds" labels:"subject" help:"What is drained or paused. From the database: use max, not sum."`
	Rollouts     Reading   `name:"rollouts_open" labels:"state" help:"Rollouts not ended. From the database: use max, not sum."`
	DeadLetters  Reading   `name:"dead_letters" help:"Dead letters stored. From the database: use max, not sum."`
}

// RolloutMetrics are the metrics of what decides about rollouts.
type RolloutMetrics struct {
	Halts Counter `name:"rollout_halts_total" labels:"reason" help:"Rollouts that this API halted, by the setting whose limit was reached."`
}

// NewRolloutMetrics returns the metrics of what decides about rollouts.
func NewRolloutMetrics(r prometheus.Registerer) RolloutMetrics { return register[RolloutMetrics](r) }

// NewReconcileMetrics returns the metrics of the reconciler.
func NewReconcileMetrics(r prometheus.Registerer) ReconcileMetrics {
	return register[ReconcileMetrics](r)
}
