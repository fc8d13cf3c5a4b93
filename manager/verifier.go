package manager

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/signature"
	"github.com/taskerhq/tasker/internal/wire"
)

var (
	// errSignatureEnded is in the error of an attempt whose signature has expired.
	errSignatureEnded = errors.New("signed until")
	// errNotKept is in the error of an attempt whose signature would permit it, but it
	// cannot be kept that it was used. That may pass.
	errNotKept = errors.New("could not keep that the signature is used")
)

// verifier decides by its signature whether a task may be performed here. It believes the
// files of this machine and its clock, and nothing that a database, a gateway or a broker
// says: they carry signatures, and make none. Its check comes right before each call of a
// handler, whichever way the task came: so there is no way past it.
type verifier struct {
	mode    string
	allowed atomic.Pointer[signature.Allowed]
	seen    *seen
	now     func() time.Time
	log     *slog.Logger
}

func newVerifier(cfg *Config, log *slog.Logger) (*verifier, error) {
	v := &verifier{mode: cfg.Verify, now: time.Now, log: log}
	if v.mode == VerifyOff {
		return v, nil
	}
	v.allowed.Store(cfg.Allowed)
	var err error
	v.seen, err = openSeen(cfg.StateDir, log)
	return v, err
}

// check returns why the handler of an attempt must not be called, and otherwise keeps that
// the signature is used for it. In mode warn it only logs why. rules are those of the task
// type: see [tasker.TaskType].
func (v *verifier) check(work *ledger.Work, rules []string, log *slog.Logger) error {
	if v.mode == VerifyOff {
		return nil
	}
	who, err := v.verify(work, rules)
	if err == nil {
		err = v.seen.use(work, v.now())
	}
	if err == nil {
		log.Info("signature verified", "signer", who, "uid", work.Task.Signature.UID)
		return nil
	}
	if v.mode == VerifyWarn {
		log.Warn("signature does not permit the task, which manager.verify: require would refuse", "reason", err)
		return nil
	}
	return err
}

// verify returns who signed the task of an attempt, or why that does not permit it. Its
// errors repeat neither the payload nor the signature.
func (v *verifier) verify(work *ledger.Work, rules []string) (who string, err error) {
	task, now := &work.Task, v.now()
	s := task.Signature
	if s == nil {
		return "", errors.New("not signed, and this endpoint requires signatures (manager.verify)")
	}
	parsed, err := signature.Parse(s.SSHSig)
	if err != nil {
		return "", errors.New("its signature cannot be read: not in the form of ssh-keygen -Y sign")
	}
	signers, err := v.allowed.Load().Find(parsed, now)
	if err != nil {
		return "", err
	}
	var names []string
	permitted := false
	for _, signer := range signers {
		names = append(names, signer.Name)
		permitted = permitted || signature.Permits(rules, signer, work.Endpoint)
	}
	who = strings.Join(names, " or ")
	signed := signature.Of(task, wire.PayloadSHA256(task.Payload))
	switch issued, expires := s.Time(), s.Until(); {
	case !permitted:
		return "", fmt.Errorf("%s may not run %s at %s", who, task.Type, work.Endpoint)
	case signature.CheckForm(s) != nil || parsed.Verify(signed) != nil:
		return "", errors.New("the task was changed after it was signed")
	case !s.For(work.Endpoint):
		return "", fmt.Errorf("signed for other endpoints, and not for %s", work.Endpoint)
	case now.Add(signature.MaxSkew).Before(issued):
		return "", fmt.Errorf("signed at %s, and it is %s here: is a clock wrong?", stamp(issued), stamp(now))
	case now.After(expires):
		return "", fmt.Errorf("%w %s, and it is %s here", errSignatureEnded, stamp(expires), stamp(now))
	}
	return who, nil
}

func stamp(at time.Time) string { return at.UTC().Format(time.RFC3339) }

// seenUse is what is kept of the use of a signature at an endpoint.
type seenUse struct {
	TaskID   int64  `json:"task_id"`
	Endpoint string `json:"endpoint"`
	// Attempt and Step are those of the last call of a handler.
	Attempt int   `json:"attempt"`
	Step    int   `json:"step"`
	Expires int64 `json:"expires"` // of the signature
}

// useOf returns the use of a signature for an attempt.
func useOf(work *ledger.Work) seenUse {
	return seenUse{
		TaskID: work.Task.ID, Endpoint: work.Endpoint, Attempt: work.Attempt, Step: max(work.Step, 1),
		Expires: work.Task.Signature.Expires,
	}
}

// follows returns an error unless the next use may follow: the same task, further on.
func (u seenUse) follows(uid string, next seenUse) error {
	switch {
	case u.TaskID != next.TaskID || u.Endpoint != next.Endpoint:
		return fmt.Errorf("replayed: %s ran here as task %d", uid, u.TaskID)
	case next.Attempt < u.Attempt, next.Attempt == u.Attempt && next.Step <= u.Step:
		return fmt.Errorf("replayed: %s ran here as task %d, attempt %d, and this is attempt %d again", uid, u.TaskID, u.Attempt,
			next.Attempt)
	}
	return nil
}

// key returns the name of the file of a signature's use.
func (u seenUse) key(uid string) string { return uid + "." + u.Endpoint }
