//go:build unix

package proc

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"syscall"
)

func readNow(fd uintptr, buf []byte) (int, error) { return syscall.Read(int(fd), buf) }

func executable(info fs.FileInfo) bool { return info.Mode()&0o111 != 0 }

// credential returns nil if the program has the caller's rights.
func (s *Spec) credential() (*syscall.Credential, error) {
	if s.User == "" && s.Group == "" {
		return nil, nil
	}
	c := &syscall.Credential{Uid: uint32(os.Geteuid()), Gid: uint32(os.Getegid())}
	if s.User != "" {
		u, err := LookupUser(s.User)
		if err != nil {
			return nil, err
		}
		groups, err := u.GroupIds()
		if err != nil {
			return nil, cannot(err, "groups of user %s: %v", s.User, err)
		}
		for _, id := range groups {
			c.Groups = append(c.Groups, number(id))
		}
		c.Uid, c.Gid = number(u.Uid), number(u.Gid)
	}
	if s.Group != "" {
		g, err := runGroup(s.Group)
		if err != nil {
			return nil, err
		}
		c.Gid = number(g.Gid)
	}
	if os.Geteuid() == 0 {
		return c, nil
	}
	if int(c.Uid) == os.Geteuid() && int(c.Gid) == os.Getegid() {
		return nil, nil
	}
	return nil, cannot(errors.ErrUnsupported, "only root can run a program as another user or group")
}

// RunsAsRoot reports whether the program has root's rights.
func (s *Spec) RunsAsRoot() bool {
	c, err := s.credential()
	return err == nil && (c == nil && os.Geteuid() == 0 || c != nil && c.Uid == 0)
}

// Owner returns the ids of the user and the group to which a file for the program must
// belong. ok is false if they are the caller's.
func (s *Spec) Owner() (uid, gid int, ok bool, err error) {
	c, err := s.credential()
	if err != nil || c == nil {
		return 0, 0, false, err
	}
	return int(c.Uid), int(c.Gid), true, nil
}

func number(id string) uint32 {
	n, err := strconv.ParseUint(id, 10, 32)
	if err != nil {
		return 65534 // nobody; ids in the user database are numbers
	}
	return uint32(n)
}
