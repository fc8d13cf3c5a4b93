package cli_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/taskerhq/tasker/cli"
)

// sshKey is a key in files.
type sshKey struct {
	private     ed25519.PrivateKey
	fingerprint string
	line        string // of the public key
	file        string // of the private one; with .pub that of the public one
}

func newSSHKey(t *testing.T, passphrase string) sshKey {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := ssh.NewPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	var block *pem.Block
	if passphrase == "" {
		block, err = ssh.MarshalPrivateKey(private, "")
	} else {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	k := sshKey{private, ssh.FingerprintSHA256(public), string(ssh.MarshalAuthorizedKey(public)), filepath.Join(t.TempDir(), "key")}
	for path, content := range map[string]string{k.file: string(pem.EncodeToMemory(block)), k.file + ".pub": k.line} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return k
}

// sshAgent runs an ssh-agent with keys, and returns the variable that names it.
func sshAgent(t *testing.T, keys ...sshKey) string {
	t.Helper()
	ring := agent.NewKeyring()
	for _, k := range keys {
		if err := ring.Add(agent.AddedKey{PrivateKey: k.private}); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := os.MkdirTemp("", "agent") // short, as addresses of sockets must be
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_ = agent.ServeAgent(ring, conn) // until the client closes it
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-done
		_ = os.RemoveAll(dir)
	})
	return "SSH_AUTH_SOCK=" + filepath.Join(dir, "s")
}

// Endpoints that require signatures perform what an allowed signer has signed, with each
// kind of key, and nothing else. They work over a gateway.
func TestRunSigned(t *testing.T) {
	t.Parallel()
	alice, second, mallory, locked := newSSHKey(t, ""), newSSHKey(t, ""), newSSHKey(t, ""), newSSHKey(t, "secret")
	allowed := filepath.Join(t.TempDir(), "allowed")
	lines := "alice " + alice.line + "alice " + second.line + "locked " + locked.line
	if err := os.WriteFile(allowed, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	addr := devTLS(t, t.TempDir(), "TASKER_MANAGER_VERIFY=require", "TASKER_MANAGER_ALLOWED_SIGNERS="+allowed)
	env := []string{"TASKER_API_URL=http://" + addr}
	withAgent := append(env, sshAgent(t, alice, locked))
	ran := func(o outcome) {
		t.Helper()
		o.want(t, cli.ExitOK, "DONE: ", "")
	}
	ran(execute(t, env, "", "run", "worker", "file", "--all", "--yes", "--sign="+alice.file))
	ran(execute(t, env, "", "run", "worker", "listed", "-e", "console1,console2", "--sign="+second.file))
	ran(execute(t, env, "", "run", "worker", "chosen", "-S", "type=worker", "--limit", "1", "--sign="+alice.file))
	ran(execute(t, env, "", "run", "worker", "any", "--any", "--sign="+alice.file))
	ran(execute(t, env, "", "run", "worker", "waves", "-S", "type=worker", "--rollout", "1,100%", "--sign="+alice.file))
	ran(execute(t, withAgent, "", "run", "worker", "public", "-e", "console1", "--sign="+alice.file+".pub"))
	ran(execute(t, withAgent, "", "run", "worker", "fingerprint", "-e", "console1", "--sign="+alice.fingerprint))
	ran(execute(t, withAgent, "", "run", "worker", "locked", "-e", "console1", "--sign="+locked.file))
	ran(execute(t, append(env, sshAgent(t, alice)), "", "run", "worker", "agent", "-e", "console1", "--sign"))
	ran(execute(t, env, "", "run", "worker", "html", "-e", "console1", "--sign="+alice.file, "--payload", "{ \"a\" : \"<&\u2028\u009b\" }"))
	// The same command is the same task.
	execute(t, env, "", "run", "worker", "listed", "-e", "console1,console2", "--sign="+second.file).
		want(t, cli.ExitOK, "worker/listed exists already\n", "")
	execute(t, env, "", "show", "worker/listed").want(t, cli.ExitOK, " by "+second.fingerprint+", until ", "")

	execute(t, env, "", "run", "worker", "unsigned", "-e", "console1").
		want(t, cli.ExitSomeFailed, "", "not signed, and this endpoint requires signatures (manager.verify)")
	execute(t, env, "", "run", "worker", "mallory", "-e", "console1", "--sign="+mallory.file).
		want(t, cli.ExitSomeFailed, "", "signed by an unknown key "+mallory.fingerprint)
	execute(t, env, "", "run", "worker", "unsigned", "-e", "console1", "--sign="+alice.file).
		want(t, cli.ExitUsage, "", "worker/unsigned exists already, and nobody signed it")

	for args, want := range map[string]string{
		"--sign":                                      "no ssh-agent: start one",
		"--sign=/nowhere":                             "no such file",
		"--sign=" + allowed:                           "",
		"--sign=" + alice.file + ".pub":               "no ssh-agent",
		"--sign=" + locked.file:                       "has a passphrase: give it to ssh-agent first, with ssh-add " + locked.file,
		"--sign=" + alice.file + " --signed-for x":    "invalid --signed-for",
		"--sign=" + alice.file + " --signed-for 721h": "invalid --signed-for",
		"--sign=" + alice.file + " --in 25h":          "after its signature has expired",
	} {
		execute(t, env, "", append([]string{"run", "worker", "wrong", "-e", "console1"}, strings.Fields(args)...)...).want(t, cli.ExitUsage, "", want)
	}
	execute(t, append(env, sshAgent(t)), "", "run", "worker", "-e", "console1", "--sign").want(t, cli.ExitUsage, "", "ssh-agent has no keys")
	execute(t, append(env, sshAgent(t, alice, second)), "", "run", "worker", "-e", "console1", "--sign").
		want(t, cli.ExitUsage, "", "ssh-agent has 2 keys: say which, with --sign=FINGERPRINT ("+alice.fingerprint+", "+second.fingerprint+")")
	execute(t, append(env, sshAgent(t, alice)), "", "run", "worker", "-e", "console1", "--sign="+second.fingerprint).
		want(t, cli.ExitUsage, "", "ssh-agent does not have that key")
}

// What tasker sign prints can be sent as it is, and needs no API to be made.
func TestSign(t *testing.T) {
	t.Parallel()
	alice := newSSHKey(t, "")
	down := []string{"TASKER_API_URL=http://127.0.0.1:1"}
	o := execute(t, down, "", "sign", "worker", "w1", "-e", "console2,console1", "--sign="+alice.file, "--signed-for", "1h", "--label", "change=CHG-7",
		"--payload", `{ "b": 1, "a": "<x>\u009b" }`)
	o.want(t, cli.ExitOK, `"payload":{"b":1,"a":"<x>\u009b"},"endpoints":["console1","console2"],`, "")
	var body struct {
		Identifier string
		Signature  struct {
			UID, SSHSig     string
			Issued, Expires int64
		}
	}
	if err := json.Unmarshal([]byte(o.stdout), &body); err != nil || body.Identifier != "w1" || len(body.Signature.UID) != 26 ||
		body.Signature.Expires-body.Signature.Issued != 3600 {
		t.Fatalf("%v: %s", err, o.stdout)
	}
	env := devAPI(t)
	url := strings.TrimPrefix(env[0], "TASKER_API_URL=")
	response, err := http.Post(url+"/worker", "application/json", strings.NewReader(o.stdout)) //nolint:noctx // it ends with the server
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusCreated {
		t.Errorf("POST: %s", response.Status)
	}
	execute(t, env, "", "show", "worker/w1").want(t, cli.ExitOK, " by "+alice.fingerprint, "")
	execute(t, down, "", "sign", "worker", "w2", "--all", "--sign="+alice.file).want(t, cli.ExitOK, `"all":true`, "")
	execute(t, down, "", "sign", "worker", "--all", "--sign="+alice.file).want(t, cli.ExitUsage, "", "missing identifier")
	execute(t, down, "", "sign", "worker", "w3", "--sign="+alice.file).want(t, cli.ExitUsage, "", "say whom")
	execute(t, down, "", "sign", "worker", "w4", "--all").want(t, cli.ExitUsage, "", "no ssh-agent")
	execute(t, down, "", "sign", "worker", "w5", "-S", "role=web", "--sign="+alice.file).want(t, cli.ExitFailure, "", "cannot reach the API")
}
