package store

import (
	"context"
	"time"

	"gorm.io/gorm"

	"github.com/taskerhq/tasker"
)

// Tokens stores the hashes of the tokens of endpoints. An endpoint has one token
// without an end and, for a while after each rotation, older ones.
type Tokens struct{ *DB }

type endpointTokenRow struct {
	ID          int64 `gorm:"primaryKey"`
	Endpoint    string
	Hash        []byte
	CreatedTime dbTime
	ValidUntil  *dbTime
	LastUsed    *string
}

// TableName returns the table of the tokens of endpoints.
func (endpointTokenRow) TableName() string { return "endpoint_tokens" }

func (r *endpointTokenRow) token() tasker.EndpointToken {
	t := tasker.EndpointToken{
		ID: r.ID, Endpoint: r.Endpoint, CreatedTime: r.CreatedTime.Time, ValidUntil: timePointer(r.ValidUntil),
	}
	if r.LastUsed != nil {
		t.LastUsed = *r.LastUsed
	}
	return t
}

// tokensRevision is the row of table revisions that counts the changes of tokens.
const tokensRevision = "endpoint_tokens"

// changeTokens counts a change of the tokens. It comes first in a transaction
// that makes one: its lock lets one follow the other.
func changeTokens(tx *gorm.DB) error {
	return tx.Exec("UPDATE revisions SET revision = revision + 1 WHERE name = ?", tokensRevision).Error
}

// AddToken stores the first token of an endpoint, which need not be registered
// yet. The error is a [tasker.Conflict] if it has one.
func (s Tokens) AddToken(ctx context.Context, endpoint string, hash []byte) (token tasker.EndpointToken, err error) {
	err = s.transact(ctx, "add the token of the endpoint", func(tx *gorm.DB) error {
		if err := changeTokens(tx); err != nil {
			return err
		}
		var known int64
		if err := tx.Model(&endpointTokenRow{}).Where("endpoint = ?", endpoint).Count(&known).Error; err != nil {
			return err
		}
		if known > 0 {
			return tasker.Errorf(tasker.Conflict, "endpoint %q has a token: rotate it to get another", endpoint)
		}
		token, err = s.insertToken(tx, endpoint, hash)
		return err
	})
	return token, err
}

// RotateToken stores another token of an endpoint. Its older ones stay valid for
// the overlap. The error is [tasker.NotFound] if it has none.
func (s Tokens) RotateToken(
	ctx context.Context, endpoint string, hash []byte, overlap time.Duration,
) (token tasker.EndpointToken, err error) {
	err = s.transact(ctx, "rotate the token of the endpoint", func(tx *gorm.DB) error {
		if err := changeTokens(tx); err != nil {
			return err
		}
		now := s.Now()
		err := tx.Where("endpoint = ? AND valid_until <= ?", endpoint, dbTime{now}).Delete(&endpointTokenRow{}).Error
		if err != nil {
			return err
		}
		until := dbTime{now.Add(overlap)}
		older := tx.Model(&endpointTokenRow{}).Where("endpoint = ?", endpoint).
			Update("valid_until", gorm.Expr("CASE WHEN valid_until < ? THEN valid_until ELSE ? END", until, until))
		if older.Error != nil {
			return older.Error
		}
		if older.RowsAffected == 0 {
			return tasker.Errorf(tasker.NotFound, "endpoint %q has no token: add it to get one", endpoint)
		}
		token, err = s.insertToken(tx, endpoint, hash)
		return err
	})
	return token, err
}

func (s Tokens) insertToken(tx *gorm.DB, endpoint string, hash []byte) (tasker.EndpointToken, error) {
	row := endpointTokenRow{Endpoint: endpoint, Hash: hash, CreatedTime: dbTime{s.Now()}}
	err := tx.Create(&row).Error
	return row.token(), err
}

// deleteTokens ends the tokens of an endpoint and returns how many there were.
func deleteTokens(tx *gorm.DB, endpoint string) (ended int64, err error) {
	var known int64
	if err := tx.Model(&endpointTokenRow{}).Where("endpoint = ?", endpoint).Count(&known).Error; err != nil || known == 0 {
		return 0, err
	}
	if err := changeTokens(tx); err != nil {
		return 0, err
	}
	deleted := tx.Where("endpoint = ?", endpoint).Delete(&endpointTokenRow{})
	return deleted.RowsAffected, deleted.Error
}

// Revision returns a number that grows with each change of a token that makes
// one valid or invalid, other than by the time.
func (s Tokens) Revision(ctx context.Context) (revision int64, err error) {
	err = s.clockKnown(ctx)
	if err == nil {
		err = s.conn(ctx).Raw("SELECT revision FROM revisions WHERE name = ?", tokensRevision).Scan(&revision).Error
	}
	return revision, s.fail("read the revision of the tokens", err)
}

// FindTokens returns the tokens with those hashes, by hash. Some may have ended.
func (s Tokens) FindTokens(ctx context.Context, hashes [][]byte) (map[string]tasker.EndpointToken, error) {
	found := make(map[string]tasker.EndpointToken, len(hashes))
	for len(hashes) > 0 {
		n := min(len(hashes), batchSize)
		var rows []endpointTokenRow
		if err := s.conn(ctx).Where("hash IN ?", hashes[:n]).Find(&rows).Error; err != nil {
			return nil, s.fail("find the tokens", err)
		}
		for i := range rows {
			found[string(rows[i].Hash)] = rows[i].token()
		}
		hashes = hashes[n:]
	}
	return found, nil
}

// UseTokens records that tokens were used on a day such as "2026-05-06". It never
// goes back to an earlier one.
func (s Tokens) UseTokens(ctx context.Context, ids []int64, day string) error {
	for len(ids) > 0 {
		n := min(len(ids), batchSize)
		err := s.withRetry(ctx, func() error {
			return s.conn(ctx).Model(&endpointTokenRow{}).Where("id IN ? AND (last_used IS NULL OR last_used < ?)", ids[:n], day).
				Update("last_used", day).Error
		})
		if err != nil {
			return s.fail("record the use of the tokens", err)
		}
		ids = ids[n:]
	}
	return nil
}

// ListTokens returns up to limit tokens with an ID greater than after, by ID.
// Those that have ended are left out.
func (s Tokens) ListTokens(ctx context.Context, after int64, limit int) ([]tasker.EndpointToken, error) {
	if err := s.clockKnown(ctx); err != nil {
		return nil, err
	}
	var rows []endpointTokenRow
	err := s.conn(ctx).Where("id > ? AND (valid_until IS NULL OR valid_until > ?)", after, dbTime{s.Now()}).
		Order("id").Limit(limit).Find(&rows).Error
	if err != nil {
		return nil, s.fail("list the tokens", err)
	}
	list := make([]tasker.EndpointToken, len(rows))
	for i := range rows {
		list[i] = rows[i].token()
	}
	return list, nil
}
