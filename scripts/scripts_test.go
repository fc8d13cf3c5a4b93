// Package scripts_test tests behaviour of the shell scripts in this directory
// that no other test covers.
package scripts_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// bash runs a script in an empty directory, after sourcing lib.sh and the named
// libraries, with extra descriptors from 3 on, and returns its output.
func bash(t *testing.T, script string, libraries []string, extra ...*os.File) string {
	t.Helper()
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("bash is not installed")
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	source := "set -euo pipefail\nroot=$1\n. \"$root/scripts/lib.sh\"\n"
	for _, name := range libraries {
		source += ". \"$root/scripts/" + name + "\"\n"
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-c", source+script, "bash", root)
	cmd.Dir, cmd.ExtraFiles = t.TempDir(), extra
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s%s", err, out, stderr.String())
	}
	return string(out)
}

// A server that services.sh starts outlives it, and must not keep its caller's
// locks.
func TestDaemonsInheritNoDescriptors(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		t.Skip("needs /proc")
	}
	lock, err := os.Create(filepath.Join(t.TempDir(), "lock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lock.Close() })
	got := bash(t, `
exec 7<&3 {high}<&3
(become_daemon sleeper.log sh -c 'echo started; exec sleep 60') &
trap 'kill $!' EXIT
until [ -s sleeper.log ]; do sleep 0.05; done
ls "/proc/$!/fd"
`, []string{"services-lib.sh"}, lock)
	for name := range strings.FieldsSeq(got) {
		if fd, err := strconv.Atoi(name); err != nil || fd > 2 {
			t.Errorf("the daemon has descriptor %s", name)
		}
	}
}

// The versions of packages are in the order of the releases.
func TestDebianVersion(t *testing.T) {
	t.Parallel()
	ordered := [][2]string{ // in the order of their age
		{"1a2b3c4", "0~1a2b3c4"},
		{"1234567-dirty", "0~1234567+dirty"},
		{"v1.2.0-rc.1", "1.2.0~rc.1"},
		{"v1.2.0-rc.1-3-g1a2b3c4", "1.2.0~rc.1+3+g1a2b3c4"},
		{"v1.2.0", "1.2.0"},
		{"v1.2.0-4-g1a2b3c4", "1.2.0+4+g1a2b3c4"},
		{"v1.2.0-4-g1a2b3c4-dirty", "1.2.0+4+g1a2b3c4+dirty"},
		{"v1.2.1", "1.2.1"},
		{"1.10.0", "1.10.0"},
	}
	var script strings.Builder
	for _, version := range ordered {
		script.WriteString("debian_version " + version[0] + "\n")
	}
	got := strings.Fields(bash(t, script.String(), []string{"release-lib.sh"}))
	for i, version := range ordered {
		if i >= len(got) || got[i] != version[1] {
			t.Fatalf("got %q, want %q of %s", got, version[1], version[0])
		}
	}
	if _, err := exec.LookPath("dpkg"); err != nil {
		return
	}
	for i := 2; i < len(got); i++ { // two commits without a tag have no order
		if out, err := exec.CommandContext(t.Context(), "dpkg", "--compare-versions", got[i-1], "lt", got[i]).CombinedOutput(); err != nil {
			t.Errorf("%s is not older than %s: %v %s", got[i-1], got[i], err, out)
		}
	}
}
