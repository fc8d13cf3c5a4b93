package store

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// Live stores what attempts report while they run.
type Live struct{ *DB }

// maxStatement limits the text in one statement, in bytes, well below the
// limits of servers. A single row may be longer.
const maxStatement = 1 << 20

// logChunkRow is a chunk of an attempt's log.
type logChunkRow struct {
	ID        int64 `gorm:"primaryKey"`
	TaskID    int64
	Endpoint  string
	Attempt   int
	FirstLine int64
	LastLine  int64
	Content   string // a JSON array of lines
}

// TableName returns the table of log chunks.
func (logChunkRow) TableName() string { return "log_chunks" }

// SaveLive stores the reports of up to 100 attempts, all or none. Updates of
// attempts that have ended are stored as well; those without a result, whose
// task was deleted, are skipped.
//
// It may be called again after an error: a stored update does not change
// anything again. Lines added to it meanwhile are stored, but live views that
// have read its chunk miss them. TooLarge and Invalid mean that the database
// will never accept one of the updates.
func (s Live) SaveLive(ctx context.Context, updates []ledger.LiveUpdate) error {
	if len(updates) == 0 {
		return nil
	}
	return s.transact(ctx, "store the reports of the attempts", func(tx *gorm.DB) error {
		kept, err := lockResults(tx, updates)
		if err != nil || len(kept) == 0 {
			return err
		}
		if err := s.saveAttempts(tx, kept); err != nil {
			return err
		}
		if err := s.saveChunks(tx, kept); err != nil {
			return err
		}
		return dropChunks(tx, kept)
	})
}

// ResultNews returns the states of the existing results among keys, in no
// order.
func (s Live) ResultNews(ctx context.Context, keys []tasker.ResultKey) ([]tasker.ResultNews, error) {
	news := make([]tasker.ResultNews, 0, len(keys))
	for part := range slices.Chunk(keys, batchSize) {
		args := make([]any, 0, 2*len(part))
		for _, key := range part {
			args = append(args, key.TaskID, key.Endpoint)
		}
		var rows []struct {
			TaskID           int64
			Endpoint         string
			Type, Identifier string
			Attempt          int
			State            tasker.ResultState
			Errnr            int
			Progress         *document[tasker.Progress]
		}
		err := s.conn(ctx).Table("task_results r").
			Select("r.task_id, r.endpoint, t.type, t.identifier, r.attempt, r.state, r.errnr, a.progress").
			Joins("JOIN tasks t ON t.id = r.task_id").
			Joins("LEFT JOIN attempts a ON a.task_id = r.task_id AND a.endpoint = r.endpoint AND a.attempt = r.attempt").
			Where(disjunction("r.task_id = ? AND r.endpoint = ?", len(part)), args...).Find(&rows).Error
		if err != nil {
			return nil, s.fail("read the changed results", err)
		}
		for _, r := range rows {
			news = append(news, tasker.ResultNews{
				ResultKey: tasker.ResultKey{TaskID: r.TaskID, Endpoint: r.Endpoint}, Type: r.Type, Identifier: r.Identifier,
				Attempt: r.Attempt, State: r.State, Errnr: r.Errnr, Progress: progressPointer(r.Progress),
			})
		}
	}
	return news, nil
}

// lockResults returns the updates whose results exist, in a fixed order, and
// locks these results until the transaction ends. Whoever deletes them
// afterwards finds what it stored; and nothing is stored for results deleted
// before, since nobody would delete it. The task is not locked: thousands of
// endpoints may report on it.
func lockResults(tx *gorm.DB, updates []ledger.LiveUpdate) ([]ledger.LiveUpdate, error) {
	keys := make([]tasker.ResultKey, len(updates))
	for i, u := range updates {
		keys[i] = u.ResultKey
	}
	condition, args := anyOf(keys)
	var rows []resultRow
	err := tx.Clauses(clause.Locking{Strength: "SHARE"}).Select("task_id", "endpoint", "attempt").
		Where(condition, args...).Find(&rows).Error
	if err != nil {
		return nil, err
	}
	begun := make(map[tasker.ResultKey]int, len(rows))
	for _, r := range rows {
		begun[r.key()] = r.Attempt
	}
	// Write rows in the order of their keys, as others do, to avoid deadlocks.
	// Updates of one attempt keep their order.
	kept := slices.DeleteFunc(slices.Clone(updates), func(u ledger.LiveUpdate) bool {
		return u.Attempt < 1 || u.Attempt > begun[u.ResultKey]
	})
	slices.SortStableFunc(kept, func(a, b ledger.LiveUpdate) int {
		return cmp.Or(cmp.Compare(a.TaskID, b.TaskID), strings.Compare(a.Endpoint, b.Endpoint))
	})
	return kept, nil
}

func (s Live) saveAttempts(tx *gorm.DB, updates []ledger.LiveUpdate) error {
	rows := make([]attemptRow, len(updates))
	for i, u := range updates {
		rows[i] = attemptRow{
			TaskID: u.TaskID, Endpoint: u.Endpoint, Attempt: u.Attempt,
			LogLines: u.Totals.Lines, LogBytes: u.Totals.Bytes, LogLeftOut: u.Totals.LeftOut, LogComplete: u.Totals.Complete,
		}
		if u.Progress != nil {
			rows[i].Progress = &document[tasker.Progress]{*u.Progress}
		}
		if u.Partial != nil {
			partial := string(u.Partial)
			rows[i].Partial = &partial
		}
	}
	on := s.dialect.onConflict([]string{"task_id", "endpoint", "attempt"}, [][2]string{
		{"progress", "COALESCE(NEW(progress), progress)"},
		{"partial", "COALESCE(NEW(partial), partial)"},
		{"log_lines", "NEW(log_lines)"},
		{"log_bytes", "NEW(log_bytes)"},
		{"log_left_out", "NEW(log_left_out)"},
		{"log_complete", "NEW(log_complete)"},
	})
	return inParts(rows, func(r attemptRow) int {
		if r.Partial == nil {
			return 0
		}
		return len(*r.Partial)
	}, func(part []attemptRow) error {
		return tx.Clauses(on).Create(&part).Error
	})
}

func (s Live) saveChunks(tx *gorm.DB, updates []ledger.LiveUpdate) error {
	var rows []logChunkRow
	for _, u := range updates {
		if len(u.Lines) == 0 {
			continue
		}
		content, err := document[[]tasker.LogLine]{u.Lines}.text()
		if err != nil {
			return err
		}
		rows = append(rows, logChunkRow{
			TaskID: u.TaskID, Endpoint: u.Endpoint, Attempt: u.Attempt,
			FirstLine: u.Lines[0].Number, LastLine: nextLine(u.Lines[len(u.Lines)-1]) - 1, Content: content,
		})
	}
	// The content first: MySQL uses the values set so far.
	on := s.dialect.onConflict([]string{"task_id", "endpoint", "attempt", "first_line"}, [][2]string{
		{"content", "CASE WHEN NEW(last_line) > last_line THEN NEW(content) ELSE content END"},
		{"last_line", "CASE WHEN NEW(last_line) > last_line THEN NEW(last_line) ELSE last_line END"},
	})
	return inParts(rows, func(r logChunkRow) int { return len(r.Content) }, func(part []logChunkRow) error {
		return tx.Clauses(on).Create(&part).Error
	})
}

// dropChunks deletes the chunks that are no longer kept.
func dropChunks(tx *gorm.DB, updates []ledger.LiveUpdate) error {
	var args []any
	n := 0
	for _, u := range updates {
		if u.DropTo > u.DropFrom {
			n++
			args = append(args, u.TaskID, u.Endpoint, u.Attempt, u.DropFrom, u.DropTo, u.DropTo)
		}
	}
	if n == 0 {
		return nil
	}
	const within = "task_id = ? AND endpoint = ? AND attempt = ? AND first_line >= ? AND first_line < ? AND last_line < ?"
	return tx.Where(disjunction(within, n), args...).Delete(&logChunkRow{}).Error
}

// inParts calls do with parts of rows whose total size is within
// [maxStatement].
func inParts[R any](rows []R, size func(R) int, do func(part []R) error) error {
	for begin := 0; begin < len(rows); {
		end, total := begin+1, size(rows[begin])
		for end < len(rows) && total+size(rows[end]) <= maxStatement {
			total += size(rows[end])
			end++
		}
		if err := do(rows[begin:end]); err != nil {
			return err
		}
		begin = end
	}
	return nil
}

// nextLine returns the number of the line after a line or gap.
func nextLine(line tasker.LogLine) int64 { return line.Number + max(line.LeftOut, 1) }
