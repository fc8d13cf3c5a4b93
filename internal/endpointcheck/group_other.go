//go:build !unix

package endpointcheck

import "os/exec"

func ownGroup(*exec.Cmd) {}

// killGroup kills a command.
func killGroup(cmd *exec.Cmd) { _ = cmd.Process.Kill() }

// terminate kills a command: it cannot be asked.
func terminate(cmd *exec.Cmd) { _ = cmd.Process.Kill() }
