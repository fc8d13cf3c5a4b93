package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/internal/signature"
	"github.com/taskerhq/tasker/internal/wire"
	"github.com/taskerhq/tasker/internal/x/clock"
	"github.com/taskerhq/tasker/internal/x/text"
)

// signFlags are the flags of commands that sign tasks.
type signFlags struct {
	key      string // empty if nothing is to be signed
	validity string
}

// agentKey is the value of --sign without one: the only key of the agent.
const agentKey = "agent"

func (f *signFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.key, "sign", "", "sign it with the key of ssh-agent, or with =`KEY`: a file, or the fingerprint of a key of it")
	flags.Lookup("sign").NoOptDefVal = agentKey
	flags.StringVar(&f.validity, "signed-for", "24h", "the `duration` after which the signature expires, at most 720h")
}

// signs reports whether the task is to be signed.
func (f *signFlags) signs() bool { return f.key != "" }

// settle makes the task one that can be signed: with the bytes of its payload as they are
// stored, and with the names of the endpoints that are chosen.
func (f *signFlags) settle(ctx context.Context, c *client.Client, taskType string, t *client.NewTask) error {
	if t.Payload != nil {
		payload, err := encodeJSON(t.Payload)
		if err != nil {
			return fmt.Errorf("encode the payload: %w", err)
		}
		t.Payload = json.RawMessage(text.VisibleJSON(payload)) // which printing leaves as it is
	}
	if len(t.Select) == 0 && t.Limit == "" {
		return nil
	}
	chosen := *t
	chosen.Identifier = "" // the task may exist, with the endpoints that were chosen then
	plan, err := c.PlanTask(ctx, taskType, chosen)
	if err != nil {
		return refused(err)
	}
	if len(plan.Endpoints) == 0 {
		return usagef("nothing was signed: no endpoints are chosen")
	}
	t.Select, t.All, t.Limit, t.Seed, t.Plan = nil, false, "", "", ""
	t.Endpoints = plan.Endpoints
	return nil
}

// sign signs a task that is settled.
func (f *signFlags) sign(r *run, taskType string, t *client.NewTask) error {
	validity, ok := clock.Parse(f.validity)
	if !ok || validity < time.Second || validity > tasker.MaxSignatureValidity {
		return usagef("invalid --signed-for %q: must be a duration from 1s to 720h", f.validity)
	}
	payload, err := encodeJSON(t.Payload)
	if err != nil {
		return fmt.Errorf("encode the payload: %w", err)
	}
	signer, end, err := r.signer(f.key)
	if err != nil {
		return err
	}
	defer end()
	slices.Sort(t.Endpoints)
	now := time.Now()
	statement := signature.Statement{
		UID: signature.NewUID(), Type: taskType, Identifier: t.Identifier, Issued: now.Unix(), Expires: now.Add(validity).Unix(),
		Targets: tasker.SignedTargets(t.Endpoints), PayloadSHA256: wire.PayloadSHA256(payload),
	}
	sshsig, err := signature.Sign(signer, statement)
	if err != nil {
		return err
	}
	t.Signature = &client.NewSignature{UID: statement.UID, Issued: statement.Issued, Expires: statement.Expires, SSHSig: sshsig}
	return nil
}

// signer returns the key to sign with: the only one of ssh-agent, the one of it that has a
// fingerprint, or that of a file. end closes the connection to the agent, if there is one.
func (r *run) signer(key string) (signer ssh.Signer, end func(), err error) {
	nothing := func() {}
	if key == agentKey {
		return r.agentSigner(nil, "")
	}
	if strings.HasPrefix(key, "SHA256:") {
		return r.agentSigner(nil, key)
	}
	content, err := os.ReadFile(key) //nolint:gosec // the path is the user's to choose
	if err != nil {
		return nil, nothing, usagef("--sign: %v", err)
	}
	if public, _, _, _, err := ssh.ParseAuthorizedKey(content); err == nil {
		return r.agentSigner(public, "")
	}
	signer, err = ssh.ParsePrivateKey(content)
	if locked, ok := errors.AsType[*ssh.PassphraseMissingError](err); ok {
		if locked.PublicKey != nil {
			if signer, end, err := r.agentSigner(locked.PublicKey, ""); err == nil {
				return signer, end, nil
			}
		}
		return nil, nothing, usagef("--sign: %s has a passphrase: give it to ssh-agent first, with ssh-add %[1]s", key)
	}
	if err != nil {
		return nil, nothing, usagef("--sign: %s is no SSH key: %v", key, err)
	}
	return signer, nothing, nil
}

// agentSigner returns the key of ssh-agent that is public, or has a fingerprint; nil and
// empty mean the only one.
func (r *run) agentSigner(public ssh.PublicKey, fingerprint string) (signer ssh.Signer, end func(), err error) {
	nothing := func() {}
	socket := r.variable("SSH_AUTH_SOCK", "")
	if socket == "" {
		return nil, nothing, usagef("--sign: no ssh-agent: start one and give it a key with ssh-add, or name a file with --sign=KEY")
	}
	conn, err := net.Dial("unix", socket) //nolint:noctx // on this machine
	if err != nil {
		return nil, nothing, usagef("--sign: could not reach ssh-agent (SSH_AUTH_SOCK): %v", err)
	}
	end = func() { _ = conn.Close() }
	signers, err := agent.NewClient(conn).Signers()
	if err != nil {
		end()
		return nil, nothing, usagef("--sign: could not ask ssh-agent for its keys: %v", err)
	}
	var found []ssh.Signer
	var names []string
	for _, s := range signers {
		key := s.PublicKey()
		name := ssh.FingerprintSHA256(key)
		names = append(names, name)
		if (public == nil || bytes.Equal(public.Marshal(), key.Marshal())) && (fingerprint == "" || fingerprint == name) {
			found = append(found, s)
		}
	}
	switch {
	case len(signers) == 0:
		err = usagef("--sign: ssh-agent has no keys: give it one with ssh-add")
	case len(found) == 0:
		err = usagef("--sign: ssh-agent does not have that key: give it to it with ssh-add")
	case len(found) > 1:
		err = usagef("--sign: ssh-agent has %d keys: say which, with --sign=FINGERPRINT (%s) or the file of a public key", len(found),
			strings.Join(names, ", "))
	default:
		return found[0], end, nil
	}
	end()
	return nil, nothing, err
}

func signCommand(r *run) *cobra.Command {
	f := &runFlags{}
	var api *apiFlags
	cmd := &cobra.Command{
		Use:   "sign TYPE IDENTIFIER [KEY=VALUE | KEY:=JSON]...",
		Short: "Sign a task, and print the body of its POST",
		Long: `Sign a task with a key of yours, and print the body of its POST, which anybody can
send within the time for which it is signed. Nothing is stored.

The arguments and flags are those of "tasker run". The API is asked for the schema of
KEY=VALUE, and for the endpoints that --select and --limit choose, and otherwise need
not be reachable.`,
		Example: `  tasker sign deploy dep-7 --payload '{"version":"2.4"}' -e web1 -e web2 > body.json
  curl -H 'Content-Type: application/json' --data-binary @body.json http://127.0.0.1:8888/deploy
  tasker sign backup bak-7 --all --sign=$HOME/.ssh/id_ed25519 --signed-for 1h`,
		RunE: func(cmd *cobra.Command, args []string) error {
			parsed, err := parseRunArguments(args)
			if err == nil && parsed.identifier == "" {
				err = usagef("missing identifier: who signs a task says which it is")
			}
			if err != nil {
				return err
			}
			c, err := api.client(cmd)
			if err != nil {
				return err
			}
			return f.printSigned(r, cmd, c, parsed)
		},
	}
	api = r.addAPIFlags(cmd)
	f.addTask(cmd)
	cmd.ValidArgsFunction = r.completeTypes(api)
	r.completeEndpoints(cmd, api)
	return cmd
}

// printSigned prints the body of the POST of a signed task.
func (f *runFlags) printSigned(r *run, cmd *cobra.Command, c *client.Client, args runArguments) error {
	f.key = cmp.Or(f.key, agentKey)
	t, err := f.task(r, cmd, c, args)
	if err != nil {
		return err
	}
	if err := f.sign(r, args.taskType, &t); err != nil {
		return err
	}
	body, err := encodeJSON(t)
	if err != nil {
		return fmt.Errorf("encode the task: %w", err)
	}
	return r.printDocument(json.RawMessage(body))
}
