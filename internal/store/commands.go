package store

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// What people ask for in a task that endpoints have already is in the rows of its
// results. A manager that got no hint finds it after a heartbeat: it looks at its
// endpoints if there was a command since its last look.

// latestCommands is how many of the latest commands of a kind [Endpoints.CommandMark]
// looks at: more than are ever stored at the same time.
const latestCommands = 100

// CommandMark returns a value that changes whenever a task is canceled or retried.
// Both may become visible in another order than that of their ids, so it depends on
// the latest ones.
func (s Endpoints) CommandMark(ctx context.Context) (string, error) {
	const latest = "SELECT COALESCE(MAX(id), 0) AS latest, COALESCE(SUM(id), 0) AS total FROM (SELECT id FROM "
	const end = " ORDER BY id DESC LIMIT ?) c"
	var marks []struct{ Latest, Total int64 }
	err := s.conn(ctx).Raw(latest+"cancels"+end+" UNION ALL "+latest+"rounds"+end, latestCommands, latestCommands).Scan(&marks).Error
	var mark strings.Builder
	for _, m := range marks {
		mark.WriteString(strconv.FormatInt(m.Latest, 10) + "." + strconv.FormatInt(m.Total, 10) + ".")
	}
	return mark.String(), s.fail("look for new commands", err)
}

// CommandsAt returns what some endpoints are to look for after a command. Its cost
// does not depend on how many results they have.
func (s Endpoints) CommandsAt(ctx context.Context, endpoints []string) ([]ledger.Commands, error) {
	const what = "look for canceled and waiting results"
	var canceled, again []string
	err := s.conn(ctx).Model(&resultRow{}).Distinct("endpoint").
		Where("endpoint IN ? AND state IN ? AND cancel_id IS NOT NULL", endpoints, []tasker.ResultState{tasker.Running, tasker.Lost}).
		Pluck("endpoint", &canceled).Error
	if err != nil {
		return nil, s.fail(what, err)
	}
	err = s.conn(ctx).Table("endpoints e").
		Where("e.name IN ? AND EXISTS (SELECT 1 FROM task_results r WHERE r.endpoint = e.name AND r.state = ?)",
			endpoints, tasker.Received).
		Pluck("e.name", &again).Error
	if err != nil {
		return nil, s.fail(what, err)
	}
	commands := make([]ledger.Commands, len(endpoints))
	for i, name := range endpoints {
		commands[i] = ledger.Commands{Canceled: slices.Contains(canceled, name), Waiting: slices.Contains(again, name)}
	}
	return commands, nil
}
