package store

import (
	"gorm.io/gorm"

	"github.com/taskerhq/tasker"
)

// A task has its signature from when it is stored on, and nothing changes it. What people
// see of it is small, and is in every list; the rest is read for the endpoints alone. The
// database is not trusted with any of it: each endpoint verifies what it reads.

// signatureProof is what endpoints verify of a signature, besides what is shown of it.
type signatureProof struct {
	Targets string `json:"targets"`
	SSHSig  string `json:"sshsig"`
}

// setSignature stores the signature of a new task; nil means that it has none.
func (r *taskRow) setSignature(s *tasker.Signature) {
	if s == nil {
		return
	}
	r.UID = &s.UID
	r.Signature = &document[tasker.Signature]{*s}
	r.SignatureProof = &document[signatureProof]{signatureProof{Targets: s.Targets, SSHSig: s.SSHSig}}
}

// signature returns the signature as far as it was read.
func (r *taskRow) signature() *tasker.Signature {
	if r.Signature == nil {
		return nil
	}
	s := r.Signature.value
	if r.SignatureProof != nil {
		s.Targets, s.SSHSig = r.SignatureProof.value.Targets, r.SignatureProof.value.SSHSig
	}
	return &s
}

// refuseUsed refuses those of the tasks whose signature is another task's, and returns the
// others.
func (s *DB) refuseUsed(db *gorm.DB, tasks []*newTask) (left []*newTask, err error) {
	var uids []string
	for _, n := range tasks {
		if n.row.UID != nil {
			uids = append(uids, *n.row.UID)
		}
	}
	if len(uids) == 0 {
		return tasks, nil
	}
	var rows []taskRow
	if err := db.Select("id", "type", "identifier", "uid").Where("uid IN ?", uids).Find(&rows).Error; err != nil {
		return nil, err
	}
	used := make(map[string]taskKey, len(rows))
	for _, row := range rows {
		used[*row.UID] = taskKey{row.Type, row.Identifier}
	}
	for _, n := range tasks {
		var by taskKey
		found := false
		if n.row.UID != nil {
			by, found = used[*n.row.UID]
		}
		if !found {
			left = append(left, n)
			continue
		}
		n.creation.Err = &tasker.Error{
			Code: tasker.Conflict, Field: "/signature/uid",
			Message: "the uid of the signature is that of task " + by.Type + "/" + by.Identifier + ": sign each task anew",
		}
	}
	return left, nil
}
