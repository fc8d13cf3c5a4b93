package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"time"

	"gorm.io/gorm"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/x/text"
)

// DeadLetters stores dead letters.
type DeadLetters struct{ *DB }

// The widths of the columns. Longer values, which are for people, are
// truncated; the body is not.
const (
	maxDeadReason = 1024
	maxDeadName   = 255 // AMQP's limit for names
)

type deadLetterRow struct {
	ID        int64 `gorm:"primaryKey"`
	Digest    []byte
	Reason    string
	Queue     string
	MessageID string
	Body      []byte
	Size      int64
	DeadTime  dbTime
	// StoredTime is when it was stored; NULL if by an older version of tasker.
	StoredTime *dbTime
}

// TableName returns the table of dead letters.
func (deadLetterRow) TableName() string { return "dead_letters" }

func (r *deadLetterRow) letter() tasker.DeadLetter {
	return tasker.DeadLetter{
		ID: r.ID, Reason: r.Reason, Queue: r.Queue, MessageID: r.MessageID, Body: r.Body, Size: r.Size, Time: r.DeadTime.Time,
	}
}

// StoreDeadLetter stores a letter; its ID is ignored. The same letter again,
// which comes after a crash, is stored once: stored reports whether it is new.
// A letter whose Size exceeds its Body is stored truncated. The error is
// [tasker.TooLarge] if it is too large for the database. A letter without a
// plausible time gets the current one.
func (s DeadLetters) StoreDeadLetter(ctx context.Context, l tasker.DeadLetter) (stored bool, err error) {
	body := l.Body
	if body == nil {
		body = []byte{} // nil would be NULL
	}
	err = s.withRetry(ctx, func() error {
		now := s.Now()
		when := l.Time.UTC()
		// The sender made such a time up, and the database might not accept it.
		if when.Year() < 2000 || when.After(now.Add(24*time.Hour)) {
			when = now
		}
		return s.conn(ctx).Create(&deadLetterRow{
			Digest: digest(l), Reason: text.CutValid(l.Reason, maxDeadReason), Queue: text.CutValid(l.Queue, maxDeadName),
			MessageID: text.CutValid(l.MessageID, maxDeadName), Body: body, Size: max(int64(len(body)), l.Size),
			DeadTime: dbTime{when}, StoredTime: &dbTime{now},
		}).Error
	})
	if errors.Is(err, gorm.ErrDuplicatedKey) {
		return false, nil
	}
	return err == nil, s.fail("store the dead letter", err)
}

// digest identifies a letter. The key would be enough, but a foreign client may
// choose it, so the rest counts as well.
func digest(l tasker.DeadLetter) []byte {
	h := sha256.New()
	for _, part := range [][]byte{[]byte(l.Key), []byte(l.Queue), []byte(l.Reason), []byte(l.MessageID), l.Body} {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		h.Write(length[:])
		h.Write(part)
	}
	return h.Sum(nil)
}

// ListDeadLetters returns one page of the dead letters, newest first, each with
// the first [tasker.DeadLetterPreview] bytes of its body.
func (s DeadLetters) ListDeadLetters(ctx context.Context, q tasker.DeadLetterQuery) ([]tasker.DeadLetter, error) {
	find := s.conn(ctx).Select("id, reason, queue, message_id, SUBSTR(body, 1, ?) AS body, size, dead_time", tasker.DeadLetterPreview)
	if q.Before > 0 {
		find = find.Where("id < ?", q.Before)
	}
	var rows []deadLetterRow
	if err := find.Order("id DESC").Limit(q.Limit).Find(&rows).Error; err != nil {
		return nil, s.fail("list the dead letters", err)
	}
	letters := make([]tasker.DeadLetter, len(rows))
	for i := range rows {
		letters[i] = rows[i].letter()
	}
	return letters, nil
}

// FindDeadLetter returns a dead letter with its whole body, or
// [tasker.NotFound].
func (s DeadLetters) FindDeadLetter(ctx context.Context, id int64) (tasker.DeadLetter, error) {
	var row deadLetterRow
	err := s.conn(ctx).Where("id = ?", id).Take(&row).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return tasker.DeadLetter{}, noDeadLetter(id)
	}
	if err != nil {
		return tasker.DeadLetter{}, s.fail("read the dead letter", err)
	}
	return row.letter(), nil
}

// DeleteDeadLetter deletes a dead letter, or returns [tasker.NotFound].
func (s DeadLetters) DeleteDeadLetter(ctx context.Context, id int64) error {
	var deleted int64
	err := s.withRetry(ctx, func() error {
		remove := s.conn(ctx).Where("id = ?", id).Delete(&deadLetterRow{})
		deleted = remove.RowsAffected
		return remove.Error
	})
	if err == nil && deleted == 0 {
		return noDeadLetter(id)
	}
	return s.fail("delete the dead letter", err)
}

// PurgeDeadLetters deletes the oldest dead letters, up to limit, stored before
// a time, and returns how many. DeadTime counts only without a StoredTime: a
// sender may have made it up.
func (s DeadLetters) PurgeDeadLetters(ctx context.Context, storedBefore time.Time, limit int) (deleted int, err error) {
	err = s.withRetry(ctx, func() error {
		db := s.conn(ctx)
		oldest := db.Model(&deadLetterRow{}).Select("id, COALESCE(stored_time, dead_time) AS stored").Order("id").Limit(limit)
		var ids []int64
		err := db.Table("(?) d", oldest).Where("d.stored < ?", s.at(storedBefore)).Pluck("d.id", &ids).Error
		if err != nil || len(ids) == 0 {
			deleted = 0
			return err
		}
		remove := db.Where("id IN ?", ids).Delete(&deadLetterRow{})
		deleted = int(remove.RowsAffected)
		return remove.Error
	})
	return deleted, s.fail("delete old dead letters", err)
}

func noDeadLetter(id int64) error {
	return tasker.Errorf(tasker.NotFound, "dead letter %d not found", id)
}
