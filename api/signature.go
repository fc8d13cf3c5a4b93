package api

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/signature"
	"github.com/taskerhq/tasker/internal/wire"
)

// The API checks a signature as far as it can without the files of the endpoints: who may
// sign, each of them decides by itself.

// signatureFields are the fields of the signature of a POST.
const signatureFields = "uid, issued, expires, sshsig"

// decodeSignature decodes the signature of a task. null means absent.
func decodeSignature(value json.RawMessage, errs *inputErrors) *tasker.Signature {
	if kindOfJSON(value) == "null" {
		return nil
	}
	if kind := kindOfJSON(value); kind != "an object" {
		errs.add("/signature", "invalid signature: must be an object with the fields %s, not %s", signatureFields, kind)
		return nil
	}
	var s tasker.Signature
	var duplicates inputErrors
	err := eachMember(value, signatureFields, &duplicates, func(key string, value json.RawMessage) {
		field := "/signature" + pointer(key)
		switch into := map[string]any{"uid": &s.UID, "issued": &s.Issued, "expires": &s.Expires, "sshsig": &s.SSHSig}[key].(type) {
		case *string:
			var ok bool
			if *into, ok = stringOf(value); !ok {
				errs.add(field, "invalid %s: must be a string, not %s", key, kindOfJSON(value))
			}
		case *int64:
			if json.Unmarshal(value, into) != nil || kindOfJSON(value) != "a number" {
				errs.add(field, "invalid %s: must be a whole number of seconds since 1970", key)
			}
		default:
			errs.add(field, "unknown field %q: use %s", clip(key, tasker.MaxName), signatureFields)
		}
	})
	if err == nil {
		err = duplicates.err()
	}
	if err != nil {
		errs.add("/signature", "invalid signature: %v", err)
	}
	if len(errs.errs) == 0 {
		if wrong, ok := errors.AsType[*tasker.Error](signature.CheckForm(&s)); ok {
			errs.add("/signature"+wrong.Field, "%s", wrong.Message)
		}
	}
	return &s
}

// checkSigned adds what a signed task cannot have: who signs must know all that is signed.
func (in *taskRequest) checkSigned(errs *inputErrors) {
	if in.signature == nil {
		return
	}
	if in.identifier == "" {
		errs.add("/identifier", "missing identifier: a signed task has the one that was signed")
	}
	if in.where.frozen() {
		errs.add("/signature", "a signed task lists its endpoints, or is for all: ask for those that select and limit choose with "+
			"?dry_run=true, and sign their names")
	}
	if size := len(tasker.SignedTargets(in.endpoints)); size > tasker.MaxSignedTargets {
		errs.add("/endpoints", "too many endpoints for a signed task: their names take %d bytes, the limit is %d: create several tasks, "+
			"or one for all", size, tasker.MaxSignedTargets)
	}
}

// verifySignature checks that the signature of a task, if it has one, is of that task.
func verifySignature(task *tasker.Task) error {
	s := task.Signature
	if s == nil {
		return nil
	}
	parsed, err := signature.Parse(s.SSHSig)
	if err != nil {
		return tasker.FieldErrorf("/signature/sshsig", "invalid sshsig: %v", err)
	}
	s.Targets, s.Key = tasker.SignedTargets(task.Endpoints), parsed.Fingerprint()
	if parsed.Verify(signature.Of(task, wire.PayloadSHA256(task.Payload))) != nil {
		return tasker.FieldErrorf("/signature/sshsig", "not a signature of this task for namespace %s: it must be of the lines that "+
			"docs/protocol.md lists under Signed tasks, with the identifier, the endpoints and the bytes of the payload of this POST",
			signature.Namespace)
	}
	return nil
}

// checkWindow checks that a signature is valid at a time and, if that is later, when its
// task starts.
func checkWindow(s *tasker.Signature, now time.Time, start *time.Time) error {
	if s == nil {
		return nil
	}
	expires := s.Until()
	switch {
	case now.Add(signature.MaxSkew).Unix() < s.Issued:
		return tasker.FieldErrorf("/signature/issued", "invalid issued: it is in the future: is a clock wrong?")
	case now.After(expires):
		return tasker.FieldErrorf("/signature/expires", "invalid expires: the signature expired at %s", expires.Format(time.RFC3339))
	case start != nil && start.After(expires):
		return tasker.FieldErrorf("/signature/expires", "invalid expires: the task starts at %s, after its signature has expired",
			start.Format(time.RFC3339))
	}
	return nil
}
