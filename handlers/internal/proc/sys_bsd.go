//go:build unix && !linux

package proc

import "syscall"

func (s *Spec) attributes() (*syscall.SysProcAttr, error) {
	credential, err := s.credential()
	if err != nil {
		return nil, err
	}
	return &syscall.SysProcAttr{Setsid: true, Credential: credential}, nil
}
