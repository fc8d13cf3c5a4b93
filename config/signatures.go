package config

import (
	"fmt"

	"github.com/taskerhq/tasker/internal/signature"
	"github.com/taskerhq/tasker/manager"
)

const (
	verifyKey  = "manager.verify"
	allowedKey = "manager.allowed_signers"
	stateKey   = "manager.state_dir"
)

// signatureKeys are those of the verification of signed tasks.
func signatureKeys(d *draft) []key {
	return []key{
		{
			verifyKey, forMgr, "what becomes of a task whose signature does not permit it here: `warn` logs why, and `require` refuses " +
				"it; with `off` nothing is verified",
			oneOf(&d.Manager.Verify, manager.VerifyModes()...),
		},
		{
			allowedKey, forMgr, "file with the keys whose signatures of tasks count, as `ssh-keygen` has it under ALLOWED SIGNERS, " +
				"read again when it changes",
			text(&d.allowedSigners),
		},
		{
			stateKey, forMgr, "directory that keeps which signatures were used, on a disk of the machine itself; relative to the " +
				"configuration file, and in production by default to `/var/lib/tasker`",
			text(&d.Manager.StateDir),
		},
	}
}

// checkSignatures reads the allowed signers.
func (c *checker) checkSignatures() {
	if c.without&PartManager != 0 {
		return
	}
	if c.Manager.StateDir == "" && !c.bad[stateKey] {
		c.invalid(stateKey, "must be a directory on a disk of this machine that the manager may write to")
	}
	if c.allowedSigners == "" {
		if c.Manager.Verify != manager.VerifyOff && !c.bad[allowedKey] && !c.bad[verifyKey] {
			c.missing(allowedKey, "the file with the keys whose signatures count, since "+verifyKey+" is "+c.Manager.Verify)
		}
		return
	}
	path := c.path(allowedKey, c.allowedSigners)
	content, err := c.files.read(path, signature.MaxAllowed)
	if err != nil {
		c.invalid(allowedKey, "%v", err)
		return
	}
	if c.Manager.Allowed, err = signature.ParseAllowed(content); err != nil {
		c.invalid(allowedKey, "%s: %v", path, err)
	}
}

// signedBy reads a principal, or a list of them, each with endpoints or without.
func signedBy(at *[]string) codec {
	const wrong = "must be a principal of manager.allowed_signers, or a list such as [alice, bob at db*]"
	c := texts(at, func(one string) []string { return []string{one} }, wrong)
	set := c.set
	c.set = func(value any) error {
		if err := set(value); err != nil {
			return err
		}
		for _, rule := range *at {
			if _, err := signature.ParseRule(rule); err != nil {
				return err
			}
		}
		if len(*at) == 0 {
			return fmt.Errorf("%s: nobody could sign", wrong)
		}
		return nil
	}
	return c
}

// warnOfSignatures warns of what has no effect, and of uses of signatures that others
// could remove.
func (w *warner) warnOfSignatures() {
	if w.without&PartManager != 0 {
		return
	}
	if w.Manager.Verify != manager.VerifyOff {
		w.warnOfDir(stateKey, w.Manager.StateDir, "others can have signatures used again")
		return
	}
	if w.allowedSigners != "" {
		w.warn(allowedKey, "has no effect while %s is %s", verifyKey, manager.VerifyOff)
	}
}
