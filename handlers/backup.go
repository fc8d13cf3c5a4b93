package handlers

import (
	"context"
	"errors"
	"time"
)

// BackupErrnr is the error number with which the backup example fails.
const BackupErrnr = 32

var errBackup = errors.New("could not backup!") //nolint:staticcheck // the words of the reference

// NewBackup makes the reference's example of a task that fails: it works for
// the setting "duration" (5 s by default) and fails with errnr 32.
func NewBackup(settings Settings) (Handler, error) {
	conf := struct {
		Duration Duration `json:"duration"`
	}{Duration(5 * time.Second)}
	if err := settings.Decode(&conf); err != nil {
		return nil, err
	}
	return Described(Func(func(ctx context.Context, _ *Request) (Result, error) {
		if err := pause(ctx, time.Duration(conf.Duration)); err != nil {
			return nil, err
		}
		return nil, WithCode(BackupErrnr, errBackup)
	}), Description{
		Description: "An example: works for a while and fails with errnr 32.",
		Usage:       "It takes any payload and does not look at it.",
	}), nil
}
