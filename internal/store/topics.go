package store

import (
	"context"

	"gorm.io/gorm"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// A task with a topic begins, when it is CREATED, in a transaction that locks the row of
// its topic: so of two tasks of a topic one is the newer. It locks the older ones that
// have not ended, and is refused, or supersedes them at the endpoints that it is for. At
// each of these it races with what the endpoint does, and the row decides, as when a task
// is canceled:
//
//   - A target of the older task without a result gets one, which is SUPERSEDED. If the
//     task arrives at the same time, the unique key lets one of the two come first.
//   - A result that waits becomes SUPERSEDED. Its start finds it in another state.
//   - A result that runs is only marked, with the id of the newer task. It ends as it
//     ends; where it would wait once more it is SUPERSEDED. No attempt starts with the
//     mark.
//
// So nothing of the older task starts there from the commit on. An endpoint that joins the
// older task later looks whether a newer one is for it. A rollout that is superseded
// anywhere opens nothing any more: it is superseded at all of its endpoints. So is a task
// with places, and those that nobody has taken are closed, as if it was canceled.
//
// The mark goes when somebody retries the older task.

// topicRow is a topic of a task type, to be locked.
type topicRow struct {
	TaskType string `gorm:"primaryKey"`
	Topic    string `gorm:"primaryKey"`
}

// TableName returns the table of topics.
func (topicRow) TableName() string { return "topics" }

// topicTaskRow is a task that has begun with a topic. Of two the one with the higher ID
// is the newer.
type topicTaskRow struct {
	ID       int64 `gorm:"primaryKey"`
	TaskID   int64
	TaskType string
	Topic    string
	Ended    int // 1 if the task was seen to have ended
}

// TableName returns the table of the tasks of topics.
func (topicTaskRow) TableName() string { return "topic_tasks" }

// supersedes reports whether a task replaces the older ones of its topic.
func (r *taskRow) supersedes() bool {
	return r.OnConflict != nil && *r.OnConflict == string(tasker.ConflictSupersede)
}

// beginTopics lets tasks that are CREATED in the same transaction begin with their
// topics; their targets are stored. It adds the older tasks that end thereby to ended. The
// error is a [tasker.Conflict] if one is refused.
func (s *DB) beginTopics(tx *gorm.DB, tasks []*newTask, now dbTime, ended endedTasks) error {
	for _, n := range tasks {
		if n.row.Topic == nil || n.row.Status != tasker.Created {
			continue
		}
		older, err := s.olderOfTopic(tx, &n.row)
		if err != nil {
			return err
		}
		if len(older) > 0 && !n.row.supersedes() {
			return topicTaken(*n.row.Topic, &older[len(older)-1])
		}
		err = tx.Create(&topicTaskRow{TaskID: n.row.ID, TaskType: n.row.Type, Topic: *n.row.Topic}).Error
		for i := 0; err == nil && i < len(older); i++ {
			p := supersession{DB: s, tx: tx, by: n, task: older[i], now: now, ended: ended}
			err = p.supersede()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// topicTaken returns the error of a task that is refused, since another one of its topic has
// not ended.
func topicTaken(topic string, newest *taskRow) error {
	return tasker.Errorf(tasker.Conflict, "topic %q of task type %q has a task that has not ended: %q is %s: "+
		`wait for its end, cancel it, or replace it with "on_conflict": "supersede"`,
		topic, newest.Type, newest.Identifier, newest.Status)
}

// CheckTopic returns the [tasker.Conflict] that [Tasks.CreateTask] would return for t if it
// started now, since an older task of its Topic has not ended. It takes no locks.
func (s Tasks) CheckTopic(ctx context.Context, t tasker.Task) error {
	if t.Topic == "" || t.OnConflict == tasker.ConflictSupersede {
		return nil
	}
	var newest []taskRow
	err := s.conn(ctx).Table("topic_tasks m").Joins("JOIN tasks t ON t.id = m.task_id").Select("t.type, t.identifier, t.status").
		Where("m.task_type = ? AND m.topic = ? AND m.ended = 0 AND t.status NOT IN ?", t.Type, t.Topic, ended()).
		Order("m.task_id DESC").Limit(1).Find(&newest).Error
	if err != nil || len(newest) == 0 {
		return s.fail("look for older tasks of the topic", err)
	}
	return topicTaken(t.Topic, &newest[0])
}

// olderOfTopic locks the topic of a task, and the tasks of it that have begun and not
// ended, by ID, which it returns.
func (s *DB) olderOfTopic(tx *gorm.DB, by *taskRow) (older []taskRow, err error) {
	lock := s.dialect.upsert([]string{"task_type", "topic"}, []string{"topic"})
	if err := tx.Exec("INSERT INTO topics (task_type, topic) VALUES (?, ?)"+lock, by.Type, *by.Topic).Error; err != nil {
		return nil, err
	}
	var ids []int64
	err = tx.Model(&topicTaskRow{}).Where("task_type = ? AND topic = ? AND ended = 0", by.Type, *by.Topic).
		Order("task_id").Pluck("task_id", &ids).Error
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	var rows []taskRow
	err = forUpdate(tx).Omit("payload", "request_hash", "expected").Where("id IN ?", ids).Order("id").Find(&rows).Error
	if err != nil {
		return nil, err
	}
	var over []int64
	for i := range rows {
		if rows[i].Status.Final() {
			over = append(over, rows[i].ID)
			continue
		}
		older = append(older, rows[i])
	}
	if len(over) > 0 { // so that nobody looks at them again
		err = tx.Model(&topicTaskRow{}).Where("task_id IN ?", over).Update("ended", 1).Error
	}
	return older, err
}

// supersession is how one task replaces an older one of its topic.
type supersession struct {
	*DB
	tx    *gorm.DB
	by    *newTask
	task  taskRow // the older one, locked
	now   dbTime
	ended endedTasks // the tasks that it ends; to be reported after the commit
}

// supersede replaces the older task at the endpoints of the newer one.
func (p *supersession) supersede() error {
	if p.task.Status == tasker.Canceling {
		return nil // nothing of it starts
	}
	if p.task.Rollout != nil {
		if err := p.endRollout(); err != nil {
			return err
		}
	}
	closed, err := p.endPlaces()
	if err != nil {
		return err
	}
	changed, err := p.changeResults()
	if err != nil || changed == 0 && closed == 0 {
		return err
	}
	by := document[tasker.Supersession]{tasker.Supersession{By: p.by.row.Identifier, At: p.now.Time}}
	if err := p.tx.Model(&taskRow{}).Where("id = ?", p.task.ID).Update("superseded", by).Error; err != nil {
		return err
	}
	return p.settle()
}

// endRollout ends the rollout of the older task. All of its endpoints become targets.
func (p *supersession) endRollout() error {
	if err := releaseTargets(p.tx, p.task.ID, nil); err != nil {
		return err
	}
	why := tasker.Cancellation{At: p.now.Time, Reason: "superseded by task " + p.by.row.Identifier + " of its topic"}
	return Rollouts{p.DB}.cancelRollout(p.tx, &p.task, &why)
}

// endPlaces closes the places of the older task that nobody has taken, and returns how many.
func (p *supersession) endPlaces() (closed int, err error) {
	if p.task.Places == nil {
		return 0, nil
	}
	if closed, err = untakenPlaces(p.tx, p.task.ID); err != nil || closed == 0 {
		return 0, err
	}
	p.task.Targets = new(*p.task.Targets - closed)
	return closed, closePlaces(p.tx, p.task.ID)
}

// within returns the condition that an endpoint, a column, is one at which the older task
// is superseded. A newer task with places is for all that may take one.
func (p *supersession) within(endpoint string) (condition string, args []any) {
	if p.task.Rollout != nil || p.task.Places != nil || p.by.row.Places != nil && len(p.by.row.Endpoints) == 0 {
		return "", nil
	}
	targets := "task_targets"
	switch {
	case p.by.row.Rollout != nil: // those whose wave is not open are no targets yet
		targets = "rollout_targets"
	case p.by.row.Places != nil:
		targets = "place_candidates"
	}
	return " AND EXISTS (SELECT 1 FROM " + targets + " n WHERE n.task_id = ? AND n.endpoint = " + endpoint + ")", []any{p.by.row.ID}
}

// changeResults supersedes the results that wait or are missing, and marks those that
// run. The marks come first, and lock the rows: so each row that had not ended is in
// exactly one of the two states. It returns how many it has found.
func (p *supersession) changeResults() (found int64, err error) {
	errmsg := tasker.SupersededErrmsg(p.by.row.Identifier)
	within, scope := p.within("g.endpoint")
	args := append([]any{tasker.Superseded, tasker.ErrnrSuperseded, errmsg, p.now, p.now, p.by.row.ID, p.task.ID}, scope...)
	insert := p.tx.Exec("INSERT INTO task_results (task_id, endpoint, manager, state, attempt, errnr, errmsg, start_time,"+
		" last_modified_time, superseded_by) SELECT g.task_id, g.endpoint, '', ?, 0, ?, ?, ?, ?, ?"+
		" FROM task_targets g WHERE g.task_id = ?"+within+
		" AND NOT EXISTS (SELECT 1 FROM task_results r WHERE r.task_id = g.task_id AND r.endpoint = g.endpoint)"+
		// If it arrives at the same time, nothing changes here.
		p.dialect.upsert([]string{"task_id", "endpoint"}, []string{"task_id"}), args...)
	if insert.Error != nil {
		return 0, insert.Error
	}
	within, scope = p.within("task_results.endpoint")
	results := func(condition string, args ...any) *gorm.DB {
		args = append([]any{p.task.ID}, args...)
		return p.tx.Model(&resultRow{}).Where("task_id = ? AND "+condition+within, append(args, scope...)...)
	}
	mark := results("state IN ?", tasker.UnfinishedResultStates()).Update("superseded_by", p.by.row.ID)
	if mark.Error != nil {
		return 0, mark.Error
	}
	wait := results("(state IN ? OR state = ? AND lost_from IN ?)", waiting, tasker.Lost, waiting).
		Updates(superseded(p.by.row.Identifier, p.now))
	return insert.RowsAffected + mark.RowsAffected, wait.Error
}

// superseded are the columns of a result that the task with an identifier supersedes.
func superseded(identifier string, now dbTime) map[string]any {
	return map[string]any{
		"state": tasker.Superseded, "errnr": tasker.ErrnrSuperseded, "errmsg": tasker.SupersededErrmsg(identifier), "retry_time": nil,
		"lost_from": nil, "lost_errnr": nil, "lost_errmsg": nil, "last_modified_time": now,
	}
}

// settle stores the status that the results of the older task imply. One that is not
// sent ends if no endpoint is left that it has to be sent to.
func (p *supersession) settle() error {
	if p.task.Status != tasker.Created {
		_, _, err := Statuses{p.DB}.aggregate(p.tx, []int64{p.task.ID}, never, p.ended)
		return err
	}
	summaries, err := summarize(p.tx, []taskRow{p.task}, func(*taskRow) bool { return false })
	if err != nil {
		return err
	}
	next := tasker.NextStatus(tasker.Sent, summaries[0], false)
	if !next.Final() || !tasker.Created.CanMoveTo(next) {
		return nil
	}
	p.ended.add(p.task.Type, next)
	return p.tx.Model(&taskRow{}).Where("id = ? AND status = ?", p.task.ID, tasker.Created).Updates(map[string]any{
		"status": next, "relay_time": nil, "sent_to": nil, "refusal": nil, "last_modified_time": p.now,
	}).Error
}

// supersedeMarked moves the waiting results among some to SUPERSEDED that were marked
// while they ran.
func supersedeMarked(db *gorm.DB, starts []ledger.Start, now dbTime) error {
	condition, args := anyAt(starts, 0)
	var rows []struct {
		TaskID     int64
		Endpoint   string
		Identifier string
	}
	marked := db.Model(&resultRow{}).Select("task_id", "endpoint", "superseded_by").Where(condition, args...).
		Where("state IN ? AND superseded_by IS NOT NULL", waiting)
	err := db.Table("(?) r", marked).Joins("LEFT JOIN tasks t ON t.id = r.superseded_by").
		Select("r.task_id, r.endpoint, COALESCE(t.identifier, '') AS identifier").Find(&rows).Error
	for i := 0; err == nil && i < len(rows); i++ {
		err = db.Model(&resultRow{}).
			Where("task_id = ? AND endpoint = ? AND state IN ? AND superseded_by IS NOT NULL", rows[i].TaskID, rows[i].Endpoint, waiting).
			Updates(superseded(rows[i].Identifier, now)).Error
	}
	return err
}

// supersededAt returns by which newer tasks of their topics those are superseded that
// endpoints would join: the newer one lists the endpoint, or is for all as well. The older
// tasks are locked.
func supersededAt(
	tx *gorm.DB, incoming []ledger.Incoming, tasks map[int64]storedTask, targets map[tasker.ResultKey]bool,
) (map[tasker.ResultKey]string, error) {
	var by map[tasker.ResultKey]string
	for _, a := range incoming {
		if task := tasks[a.TaskID]; targets[a.ResultKey] || task.Topic == "" || task.Status.Final() {
			continue
		}
		var newer []string
		err := tx.Table("topic_tasks o").
			Joins("JOIN topic_tasks m ON m.task_type = o.task_type AND m.topic = o.topic AND m.id > o.id").
			Joins("JOIN tasks t ON t.id = m.task_id AND t.on_conflict = ?", string(tasker.ConflictSupersede)).
			Where("o.task_id = ?", a.TaskID).
			Where("(t.endpoints IS NULL"+
				" OR t.places IS NOT NULL AND NOT EXISTS (SELECT 1 FROM place_candidates g WHERE g.task_id = t.id)"+
				" OR EXISTS (SELECT 1 FROM place_candidates g WHERE g.task_id = t.id AND g.endpoint = ?)"+
				" OR EXISTS (SELECT 1 FROM task_targets g WHERE g.task_id = t.id AND g.endpoint = ?)"+
				" OR EXISTS (SELECT 1 FROM rollout_targets g WHERE g.task_id = t.id AND g.endpoint = ?))",
				a.Endpoint, a.Endpoint, a.Endpoint).
			Order("m.id DESC").Limit(1).Pluck("t.identifier", &newer).Error
		if err != nil {
			return nil, err
		}
		if len(newer) > 0 {
			if by == nil {
				by = map[tasker.ResultKey]string{}
			}
			by[a.ResultKey] = newer[0]
		}
	}
	return by, nil
}

// reopenTopic has a task that is retried count as one of its topic that has not ended.
func reopenTopic(tx *gorm.DB, task *taskRow) error {
	if task.Topic == nil {
		return nil
	}
	return tx.Model(&topicTaskRow{}).Where("task_id = ?", task.ID).Update("ended", 0).Error
}

// deleteTopics deletes what the topics have of tasks that are deleted, and the topics
// that have no other.
func deleteTopics(tx *gorm.DB, taskIDs []int64) error {
	var topics []topicRow
	err := tx.Model(&topicTaskRow{}).Distinct("task_type", "topic").Where("task_id IN ?", taskIDs).
		Order("task_type, topic").Find(&topics).Error
	if err != nil || len(topics) == 0 {
		return err
	}
	if err := tx.Where("task_id IN ?", taskIDs).Delete(&topicTaskRow{}).Error; err != nil {
		return err
	}
	for _, topic := range topics {
		// Only a lock: a task that begins meanwhile makes the row again.
		err := tx.Where("task_type = ? AND topic = ?", topic.TaskType, topic.Topic).
			Where("NOT EXISTS (SELECT 1 FROM topic_tasks m WHERE m.task_type = ? AND m.topic = ?)", topic.TaskType, topic.Topic).
			Delete(&topicRow{}).Error
		if err != nil {
			return err
		}
	}
	return nil
}
