package reconcile

import "context"

// conversion gives the open tasks that an older version of tasker accepted the
// form of this one, so that both may run during an upgrade. Tasks are also
// converted where they are met; it finds those that nobody meets.
type conversion struct{ statuses Statuses }

func (c *conversion) runOnce(ctx context.Context) error { return c.statuses.ConvertTasks(ctx) }
