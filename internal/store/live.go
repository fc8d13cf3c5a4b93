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

// maxStatement bounds the text of what one statement carries, in bytes, well
// below what servers take; a single row may be longer.
const maxStatement = 1 << 20

// logChunkRow is a piece of an attempt's log.
type logChunkRow struct {
	ID        int64 `gorm:"primaryKey"`
	TaskID    int64
	Endpoint  string
	Attempt   int
	FirstLine int64
	LastLine  int64
	Content   string // a JSON array of lines
}

// TableName is the table of the pieces of logs.
func (logChunkRow) TableName() string { return "log_chunks" }

// SaveLive stores what up to 100 attempts told, all of it or nothing. An update
// of an attempt that has ended is stored, too; one of a result that there is
// not, or not any more since its task was deleted, is passed over.
//
// It may be called again after an error: an update that is stored already
// changes nothing. Lines that were added to it meanwhile are stored, but live
// views that have read its chunk miss them. TooLarge and Invalid mean that the
// database will never take one of the updates.
func (s Live) SaveLive(ctx context.Context, updates []ledger.LiveUpdate) error {
	if len(updates) == 0 {
		return nil
	}
	return s.transact(ctx, "store what the attempts told", func(tx *gorm.DB) error {
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

// ResultNews returns where those of the results named stand that there are, in
// no order.
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
			return nil, s.fail("read the results that changed", err)
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

// lockResults gives those of the updates whose results there are, in one order,
// and holds these results until the end of the transaction. So whoever deletes
// them afterwards finds what the transaction stored; and where they are deleted
// already nothing is stored that nobody would delete. The task is not held:
// thousands of endpoints may have something to tell of it.
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
		begun[tasker.ResultKey{TaskID: r.TaskID, Endpoint: r.Endpoint}] = r.Attempt
	}
	// Rows are written in the order of their keys, as others do, who then wait
	// for each other only. Updates of one attempt keep theirs.
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
	// The content first: MySQL sees what is set already.
	on := s.dialect.onConflict([]string{"task_id", "endpoint", "attempt", "first_line"}, [][2]string{
		{"content", "CASE WHEN NEW(last_line) > last_line THEN NEW(content) ELSE content END"},
		{"last_line", "CASE WHEN NEW(last_line) > last_line THEN NEW(last_line) ELSE last_line END"},
	})
	return inParts(rows, func(r logChunkRow) int { return len(r.Content) }, func(part []logChunkRow) error {
		return tx.Clauses(on).Create(&part).Error
	})
}

// dropChunks deletes the chunks that are not kept any longer.
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

// inParts gives rows to do in parts whose sizes together stay within
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

// nextLine is the number of the line behind one, or behind a gap.
func nextLine(line tasker.LogLine) int64 { return line.Number + max(line.LeftOut, 1) }
