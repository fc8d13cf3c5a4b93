package store

import (
	"context"

	"github.com/taskerhq/tasker"
)

// LogLines returns up to limit lines of an attempt's log from a number on, in
// order, gaps included. Lines not kept between two others, or before the first,
// are one gap. The next call begins after the last line returned.
func (s Live) LogLines(ctx context.Context, taskID int64, endpoint string, attempt int, from int64, limit int) ([]tasker.LogLine, error) {
	from = max(from, 0)
	// Find the chunks first: reading too many would cost memory.
	var found []logChunkRow
	err := s.conn(ctx).Select("id", "first_line", "last_line").
		Where("task_id = ? AND endpoint = ? AND attempt = ?", taskID, endpoint, attempt).
		Where("first_line >= COALESCE((SELECT MAX(c.first_line) FROM log_chunks c"+
			" WHERE c.task_id = ? AND c.endpoint = ? AND c.attempt = ? AND c.first_line <= ?), 0)",
			taskID, endpoint, attempt, from).
		Order("first_line").Limit(limit + 1).Find(&found).Error
	if err != nil {
		return nil, s.fail("find the log lines", err)
	}
	var ids []int64
	for _, c := range found {
		if c.LastLine < from {
			continue
		}
		ids = append(ids, c.ID)
		if c.LastLine-from+1 >= int64(limit) {
			break
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	var rows []logChunkRow
	if err := s.conn(ctx).Where("id IN ?", ids).Order("first_line").Find(&rows).Error; err != nil {
		return nil, s.fail("read the log lines", err)
	}
	var lines []tasker.LogLine
	next := from
	for i := range rows {
		chunk, err := rows[i].lines()
		if err != nil {
			return nil, s.fail("read the log lines", err)
		}
		for _, line := range chunk {
			if nextLine(line) <= next {
				continue
			}
			if line.Number > next {
				lines = append(lines, tasker.LogLine{Number: next, Time: line.Time, LeftOut: line.Number - next})
			}
			if line.Number < next { // a gap that began earlier
				line.LeftOut -= next - line.Number
				line.Number = next
			}
			lines = append(lines, line)
			next = nextLine(line)
		}
		if len(lines) >= limit {
			return lines[:limit], nil
		}
	}
	return lines, nil
}

// LogChunksAfter returns up to limit chunks of the logs of a task's attempts,
// by id, after afterID. A chunk stored at the same time as another may become
// visible later but have a lower id: to get every line, compare line numbers.
func (s Live) LogChunksAfter(ctx context.Context, taskID, afterID int64, limit int) ([]tasker.LogChunk, error) {
	var rows []logChunkRow
	err := s.conn(ctx).Where("task_id = ? AND id > ?", taskID, afterID).Order("id").Limit(limit).Find(&rows).Error
	if err != nil {
		return nil, s.fail("read the latest log lines", err)
	}
	chunks := make([]tasker.LogChunk, len(rows))
	for i := range rows {
		lines, err := rows[i].lines()
		if err != nil {
			return nil, s.fail("read the latest log lines", err)
		}
		chunks[i] = tasker.LogChunk{
			ID: rows[i].ID, ResultKey: tasker.ResultKey{TaskID: rows[i].TaskID, Endpoint: rows[i].Endpoint},
			Attempt: rows[i].Attempt, Lines: lines,
		}
	}
	return chunks, nil
}

func (r *logChunkRow) lines() ([]tasker.LogLine, error) {
	var d document[[]tasker.LogLine]
	err := d.Scan(r.Content)
	return d.value, err
}
