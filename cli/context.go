package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/taskerhq/tasker"
)

// apiContext is a named API: where it is, and how this user reaches it.
type apiContext struct {
	URL   string `json:"url"`
	Token string `json:"token,omitempty"`
	// The absolute paths of files, as in apiFlags.
	CA   string `json:"ca,omitempty"`
	Cert string `json:"cert,omitempty"`
	Key  string `json:"key,omitempty"`
}

// contexts are the named APIs of the user. Each has a file of its own, and one more file
// names the one in use.
type contexts struct{ dir string }

// contexts returns those of the user. Without a home directory there are none.
func (r *run) contexts() contexts {
	dir := r.variable("XDG_CONFIG_HOME", "")
	if home := r.variable("HOME", ""); dir == "" && home != "" {
		dir = filepath.Join(home, ".config")
	}
	if !filepath.IsAbs(dir) {
		return contexts{}
	}
	return contexts{filepath.Join(dir, "tasker")}
}

// contextSuffix ends the names of the files of contexts.
const contextSuffix = ".json"

func (c contexts) file(name string) string {
	return filepath.Join(c.dir, "contexts", name+contextSuffix)
}
func (c contexts) inUse() string { return filepath.Join(c.dir, "context") }

// validContext checks the name of a context.
func validContext(name string) error {
	if tasker.ValidateIdentifier(name) != nil {
		return usagef("invalid name of a context %q: must be 1-64 letters, digits, '.', '_' or '-', starting with a letter or digit", name)
	}
	return nil
}

// maxContext bounds the file of a context.
const maxContext = 128 << 10

// readPrivate reads a file that nobody but its owner may be able to read or change.
func readPrivate(file string) ([]byte, error) {
	f, err := os.Open(file) //nolint:gosec // the user's own
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", file)
	case info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("%s is accessible to others (its mode is %04o): chmod 600 %s", file, info.Mode().Perm(), file)
	}
	return io.ReadAll(io.LimitReader(f, maxContext))
}

// read returns a context; found is false if it does not exist.
func (c contexts) read(name string) (ctx apiContext, found bool, err error) {
	if err := validContext(name); err != nil {
		return ctx, false, err
	}
	if c.dir == "" {
		return ctx, false, nil
	}
	content, err := readPrivate(c.file(name))
	if errors.Is(err, fs.ErrNotExist) {
		return ctx, false, nil
	}
	if err != nil {
		return ctx, false, usagef("context %s: %v", name, err)
	}
	dec := json.NewDecoder(bytes.NewReader(content))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&ctx); err != nil || ctx.URL == "" {
		return ctx, false, usagef("context %s: invalid file %s: log in again: tasker login %s --api URL", name, c.file(name), name)
	}
	return ctx, true, nil
}

// get returns a context that must exist.
func (c contexts) get(name string) (apiContext, error) {
	ctx, found, err := c.read(name)
	if err == nil && !found {
		err = usagef("unknown context %q: \"tasker context list\" shows them, \"tasker login %s --api URL\" adds it", name, name)
	}
	return ctx, err
}

// current returns the name of the context in use; empty if none is.
func (c contexts) current() (string, error) {
	if c.dir == "" {
		return "", nil
	}
	content, err := readPrivate(c.inUse())
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", usagef("context in use: %v", err)
	}
	return strings.TrimSpace(string(content)), nil
}

// names returns the names of all, sorted.
func (c contexts) names() ([]string, error) {
	if c.dir == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(filepath.Join(c.dir, "contexts"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list the contexts: %w", err)
	}
	var names []string
	for _, entry := range entries {
		if name, ok := strings.CutSuffix(entry.Name(), contextSuffix); ok && validContext(name) == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// store stores a context.
func (c contexts) store(name string, ctx apiContext) error {
	content, err := json.MarshalIndent(ctx, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the context: %w", err)
	}
	return c.write(c.file(name), append(content, '\n'))
}

// use puts a context in use.
func (c contexts) use(name string) error { return c.write(c.inUse(), []byte(name+"\n")) }

// remove deletes a context. One that is in use is so no more.
func (c contexts) remove(name string) error {
	current, err := c.current()
	if err != nil {
		return err
	}
	if current == name {
		if err := os.Remove(c.inUse()); err != nil {
			return fmt.Errorf("delete the context: %w", err)
		}
	}
	if err := os.Remove(c.file(name)); err != nil {
		return fmt.Errorf("delete the context: %w", err)
	}
	return nil
}

// write replaces a file, which its owner alone can read, as a whole.
func (c contexts) write(file string, content []byte) error {
	if c.dir == "" {
		return usagef("no place for contexts: HOME or XDG_CONFIG_HOME must be set")
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("store the context: %w", err)
	}
	temporary, err := os.CreateTemp(filepath.Dir(file), ".context-") // for its owner alone
	if err != nil {
		return fmt.Errorf("store the context: %w", err)
	}
	defer func() { _ = os.Remove(temporary.Name()) }()
	_, err = temporary.Write(content)
	err = errors.Join(err, temporary.Sync(), temporary.Close())
	if err == nil {
		err = os.Rename(temporary.Name(), file)
	}
	if err != nil {
		return fmt.Errorf("store the context: %w", err)
	}
	return nil
}
