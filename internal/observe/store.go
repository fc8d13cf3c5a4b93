package observe

import (
	"database/sql"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Pool registers the metrics of a pool of connections to a database.
func Pool(r prometheus.Registerer, pool *sql.DB, database string) {
	r.MustRegister(collectors.NewDBStatsCollector(pool, database))
}
