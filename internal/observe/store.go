package observe

import (
	"database/sql"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// StoreMetrics are the metrics of what is stored.
type StoreMetrics struct {
	TasksEnded Counter `name:"tasks_finished_total" labels:"task_type,status" help:"Tasks whose end this process stored."`
}

// NewStoreMetrics returns the metrics of what is stored.
func NewStoreMetrics(r prometheus.Registerer) StoreMetrics { return register[StoreMetrics](r) }

// Pool registers the metrics of a pool of connections to a database.
func Pool(r prometheus.Registerer, pool *sql.DB, database string) {
	r.MustRegister(collectors.NewDBStatsCollector(pool, database))
}
