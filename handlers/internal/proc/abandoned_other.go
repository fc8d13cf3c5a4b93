//go:build !linux

package proc

func (p *Process) record() error { return nil }

func (p *Process) forget() {}

// KillAbandoned does nothing: only on Linux can the processes be recognized.
func KillAbandoned(string, string) (ended []Abandoned, err error) { return nil, nil }
