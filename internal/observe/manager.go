package observe

import "github.com/prometheus/client_golang/prometheus"

// ManagerMetrics are the metrics of a manager. A manager in production has one
// endpoint, so that the address that is scraped tells the endpoint. Values of
// several endpoints are added up.
type ManagerMetrics struct {
	Slots         Reading   `name:"slots" labels:"task_type,state" help:"Slots for tasks, busy or free."`
	Runs          Counter   `name:"runs_total" labels:"task_type,state" help:"Runs of handlers, by how they ended."`
	RunSeconds    Histogram `name:"run_seconds" labels:"task_type" help:"Time that handlers ran."`
	Attempts      Counter   `name:"attempts_total" labels:"task_type,outcome" help:"Attempts whose end is stored; RETRYING is repeated."`
	SpoolFiles    Reading   `name:"spool_files" help:"Ends of attempts on disk that wait for the database."`
	SpoolOldest   Reading   `name:"spool_oldest_seconds" help:"Age of the oldest end in the spool, 0 if there is none."`
	Lease         Reading   `name:"lease_remaining_seconds" help:"How long the leases last without another heartbeat, at least."`
	Consumer      Reading   `name:"consumer_registered" labels:"task_type" help:"Registered consumers, one for each endpoint."`
	LastHeartbeat Reading   `name:"heartbeat_last_success_timestamp_seconds" help:"When the last successful heartbeat was sent."`
}

// NewManagerMetrics returns the metrics of a manager.
func NewManagerMetrics(r prometheus.Registerer) ManagerMetrics { return register[ManagerMetrics](r) }
