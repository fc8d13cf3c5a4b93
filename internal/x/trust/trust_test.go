//go:build unix

package trust_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/taskerhq/tasker/internal/x/trust"
)

const stranger = 65534

// tree makes DIR/a/file, readable by all and writable by its owner.
func tree(t *testing.T) (dir, file string) {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(dir, "a", "file")
	if err := errors.Join(os.Mkdir(filepath.Dir(file), 0o755), os.WriteFile(file, nil, 0o644), os.Chmod(dir, 0o755)); err != nil { //nolint:gosec // as files of a configuration are
		t.Fatal(err)
	}
	return dir, file
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		spoil  func(dir string) error // changes DIR/a/file
		policy func(dir string) trust.Policy
		want   string // of the message; DIR stands for the directory, "" for no error
	}{
		"as it is":              {func(string) error { return nil }, nil, ""},
		"a file for all":        {func(d string) error { return os.Chmod(d+"/a/file", 0o666) }, nil, "DIR/a/file is writable by all users (its mode is -rw-rw-rw-): chmod go-w DIR/a/file"},
		"a file for all alone":  {func(d string) error { return os.Chmod(d+"/a/file", 0o646) }, nil, "DIR/a/file is writable by all users"},
		"a directory for all":   {func(d string) error { return os.Chmod(d+"/a", 0o777) }, nil, "DIR/a is writable by all users (its mode is drwxrwxrwx): chmod go-w DIR/a"},
		"a parent for all":      {func(d string) error { return os.Chmod(d, 0o777) }, nil, "DIR is writable by all users"},
		"a sticky directory":    {func(d string) error { return os.Chmod(d+"/a", 0o777|fs.ModeSticky) }, nil, ""},
		"a file of another":     {func(d string) error { return os.Chown(d+"/a/file", stranger, -1) }, nil, "DIR/a/file belongs to the user 65534, neither to root nor to the user of this process: chown root DIR/a/file"},
		"in another's":          {func(d string) error { return os.Chown(d+"/a", stranger, -1) }, nil, "DIR/a belongs to the user 65534"},
		"of one who is trusted": {func(d string) error { return os.Chown(d+"/a/file", stranger, -1) }, func(string) trust.Policy { return trust.Policy{Owners: []int{stranger}} }, ""},
		"a strict directory, sticky": {
			func(d string) error { return os.Chmod(d+"/a", 0o777|fs.ModeSticky) },
			func(d string) trust.Policy { return trust.Policy{Strict: []string{d + "/a"}} }, "DIR/a is writable by all users (its mode is dtrwxrwxrwx)",
		},
		"a link to a file for all": {func(d string) error {
			return errors.Join(os.Rename(d+"/a/file", d+"/real"), os.Chmod(d+"/real", 0o666), os.Symlink("../real", d+"/a/file"))
		}, nil, "DIR/real is writable by all users"},
		"a link through a directory for all": {func(d string) error {
			return errors.Join(os.Mkdir(d+"/b", 0o755), os.Chmod(d+"/b", 0o777), os.Remove(d+"/a/file"), os.WriteFile(d+"/real", nil, 0o600),
				os.Symlink(d+"/real", d+"/b/link"), os.Symlink(d+"/b/link", d+"/a/file"))
		}, nil, "DIR/b is writable by all users"},
		"links, as Kubernetes has them": {func(d string) error {
			return errors.Join(os.Mkdir(d+"/a/..1", 0o755), os.Rename(d+"/a/file", d+"/a/..1/file"), os.Symlink("..1", d+"/a/..data"), os.Symlink("..data/file", d+"/a/file"))
		}, nil, ""},
		"a link to itself": {func(d string) error {
			return errors.Join(os.Remove(d+"/a/file"), os.Symlink("file", d+"/a/file"))
		}, nil, "too many levels of symbolic links"},
		"nothing": {func(d string) error { return os.Remove(d + "/a/file") }, nil, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, file := tree(t)
			if err := test.spoil(dir); errors.Is(err, fs.ErrPermission) {
				t.Skip("only root can give a file away")
			} else if err != nil {
				t.Fatal(err)
			}
			var policy trust.Policy
			if test.policy != nil {
				policy = test.policy(dir)
			}
			err := policy.Check(file)
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want != "" && (err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), dir, "DIR"), test.want)):
				t.Errorf("got %v\nwant %s", err, test.want)
			}
		})
	}
}

// TestGroups: a group that is the user's own is nobody else; for root, and for
// users of services, there is none.
func TestGroups(t *testing.T) {
	t.Parallel()
	_, file := tree(t)
	if err := os.Chmod(file, 0o664); err != nil { //nolint:gosec // the fault
		t.Fatal(err)
	}
	own := os.Geteuid() >= 1000 && os.Geteuid() == os.Getegid()
	if err := trust.Check(file); (err == nil) != own {
		t.Errorf("got %v", err)
	}
}
