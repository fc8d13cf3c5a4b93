package handlers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// copyBuffer is how much is copied between two looks at the context.
const copyBuffer = 256 << 10

// sourceFile is an open file that is to be copied.
type sourceFile struct {
	*os.File
	place place
	size  int64 // when it was opened
	mode  os.FileMode
}

// openSource opens regular files only; a pipe would hang, and a device is
// endless.
func (c *copyfile) openSource(from place) (*sourceFile, error) {
	info, err := from.Stat(from.path)
	if err == nil && !info.Mode().IsRegular() {
		return nil, Permanent(from.wrong("it is no regular file but %s", kindOf(info)))
	}
	if err != nil {
		return nil, from.wrong("%w", err)
	}
	file, err := from.OpenFile(from.path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, from.wrong("%w", err)
	}
	if info, err = file.Stat(); err == nil && !info.Mode().IsRegular() {
		err = Permanent(from.wrong("it is no regular file but %s", kindOf(info)))
	}
	if err == nil && !c.conf.HardLinks && otherNames(from, info) {
		err = Permanent(from.wrong("it has other names (hard links), which may lie outside of sources: copy it there, or set hard_links"))
	}
	if limit := int64(c.conf.MaxSize); err == nil && limit > 0 && info.Size() > limit {
		err = Permanent(from.wrong("it has %d bytes, and the limit is %d", info.Size(), limit))
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	mode := info.Mode().Perm()
	if c.conf.Mode != nil {
		mode = os.FileMode(*c.conf.Mode)
	}
	return &sourceFile{file, from, info.Size(), mode}, nil
}

// otherNames reports whether a file has more names than its own one and that
// of a copy that has just been made there.
func otherNames(of place, info fs.FileInfo) bool {
	names := linkCount(info) - 1
	for n := 0; names > 0 && n < copiesAtOnce; n++ {
		if beside, err := of.Lstat(besideName(of, n)); err == nil && os.SameFile(beside, info) {
			names--
		}
	}
	return names > 0
}

func kindOf(info fs.FileInfo) string {
	switch mode := info.Mode(); {
	case mode.IsDir():
		return "a directory"
	case mode&fs.ModeSymlink != 0:
		return "a symbolic link"
	}
	return "a special file"
}

// alreadyThere gives the checksum of the destination where it is what it
// should become, and nothing where it is to be written. What must not be
// replaced is an error.
func (c *copyfile) alreadyThere(ctx context.Context, to place, source *sourceFile) (sum string, err error) {
	info, err := to.Lstat(to.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", to.wrong("%w", err)
	case !info.Mode().IsRegular():
		return "", Permanent(to.wrong("it is no regular file but %s", kindOf(info)))
	case info.Size() == source.size && info.Mode().Perm() == source.mode:
		if sum, err = sameContent(ctx, to, source); err != nil || sum != "" {
			return sum, err
		}
	}
	if !c.conf.Overwrite {
		return "", Permanent(to.wrong("%w", errAnotherFile))
	}
	return "", nil
}

var errAnotherFile = errors.New("there is another file already, which must not be replaced")

// sameContent gives the checksum that both files have, and nothing where they
// differ. It leaves the source at its beginning.
func sameContent(ctx context.Context, to place, source *sourceFile) (sum string, err error) {
	file, err := to.OpenFile(to.path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", to.wrong("%w", err)
	}
	defer file.Close()
	old, err := copySum(ctx, io.Discard, file, source.size, nil)
	if err != nil {
		return "", to.wrong("%w", err)
	}
	sum, err = copySum(ctx, io.Discard, source, source.size, nil)
	if err == nil {
		_, err = source.Seek(0, io.SeekStart)
	}
	if err != nil {
		return "", source.place.wrong("%w", err)
	}
	if sum != old {
		return "", nil
	}
	return sum, nil
}

// replace writes the copy beside its place and then moves it there. unchanged
// reports that somebody else had put the same there meanwhile: where endpoints
// share a disk, each of them copies.
func (c *copyfile) replace(ctx context.Context, req *Request, source *sourceFile, to place) (sum string, unchanged bool, err error) {
	file, name, err := createBeside(ctx, to)
	if err != nil {
		return "", false, to.wrong("%w", err)
	}
	gone := false
	defer func() {
		err = errors.Join(err, file.Close())
		if !gone {
			if e := to.Remove(name); e != nil && !errors.Is(e, fs.ErrNotExist) {
				err = errors.Join(err, to.wrong("%w", e))
			}
		}
	}()
	sum, err = copySum(ctx, file, source, source.size, func(done int64) {
		req.Progress(done, source.size, "bytes")
	})
	if err != nil {
		return "", false, fmt.Errorf("copy %s to %s: %w", source.place.full, to.full, err)
	}
	if err := file.Chmod(source.mode); err != nil {
		return "", false, to.wrong("%w", err)
	}
	if err := file.Sync(); err != nil {
		return "", false, to.wrong("%w", err)
	}
	gone, err = c.moveInto(to, name)
	if errors.Is(err, fs.ErrExist) {
		if _, err = source.Seek(0, io.SeekStart); err != nil {
			return "", false, source.place.wrong("%w", err)
		}
		sum, err = c.alreadyThere(ctx, to, source)
		if err == nil && sum == "" { // removed since; the next run copies
			err = to.wrong("somebody else makes and removes it at this moment")
		}
		return sum, err == nil, err
	}
	if err != nil {
		return "", false, to.wrong("%w", err)
	}
	if err := syncDir(to.Root, filepath.Dir(to.path)); err != nil {
		return "", false, to.wrong("%w", err)
	}
	return sum, false, nil
}

// moveInto gives the copy its name, and reports whether the other one is gone.
// A file that somebody has made meanwhile is an [fs.ErrExist], unless it may be
// replaced, wherever the file system knows hard links.
func (c *copyfile) moveInto(to place, name string) (gone bool, err error) {
	if !c.conf.Overwrite {
		err := to.Link(name, to.path)
		if err == nil || !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, fs.ErrPermission) {
			return false, err
		}
	}
	if err := to.Rename(name, to.path); err != nil {
		return false, err
	}
	return true, nil
}

// copySum copies size bytes and gives their SHA-256 in hexadecimal. It ends
// with the cause of ctx; told is called after each piece.
func copySum(ctx context.Context, to io.Writer, from io.Reader, size int64, told func(done int64)) (string, error) {
	hash := sha256.New()
	both := io.MultiWriter(to, hash)
	buf := make([]byte, min(copyBuffer, size))
	for done := int64(0); done < size; {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		n, err := io.ReadFull(from, buf[:min(int64(len(buf)), size-done)])
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return "", fmt.Errorf("the file has become shorter: %d bytes instead of %d", done+int64(n), size)
		}
		if err != nil {
			return "", err
		}
		if _, err := both.Write(buf[:n]); err != nil {
			return "", err
		}
		if done += int64(n); told != nil {
			told(done)
		}
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

const (
	// copiesAtOnce bounds the copies to one destination at a time.
	copiesAtOnce = 16
	// copyPause is how long a run that finds as many waits between two looks.
	copyPause = 20 * time.Millisecond
)

// besideName is the name of the nth unfinished copy to a place. The same
// destination has the same names, so that what a killed run left is found.
func besideName(to place, n int) string {
	hash := fnv.New64a()
	_, _ = io.WriteString(hash, filepath.Base(to.path)) // never fails
	return filepath.Join(filepath.Dir(to.path), fmt.Sprintf(".tasker-copy-%016x-%d", hash.Sum64(), n))
}

// removeLeftovers removes what killed runs left beside a destination.
func removeLeftovers(to place) error {
	for n := range copiesAtOnce {
		if err := removeAbandoned(to.Root, besideName(to, n)); err != nil {
			return to.wrong("remove what an earlier run left: %w", err)
		}
	}
	return nil
}

// createBeside makes an empty file beside the destination, locked as long as
// it is open: nobody may take it for a leftover. It waits where too many runs
// copy to the destination.
func createBeside(ctx context.Context, to place) (file *os.File, name string, err error) {
	for {
		for n := range copiesAtOnce {
			if file, name, err = tryBeside(to, n); file != nil || err != nil {
				return file, name, err
			}
		}
		select {
		case <-time.After(copyPause):
		case <-ctx.Done():
			return nil, "", fmt.Errorf("%d runs copy to it at this moment: %w", copiesAtOnce, context.Cause(ctx))
		}
		if err := removeLeftovers(to); err != nil {
			return nil, "", err
		}
	}
}

// tryBeside makes the nth file, and returns nothing where another run has it.
func tryBeside(to place, n int) (file *os.File, name string, err error) {
	name = besideName(to, n)
	file, err = to.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	if lockFile(file) && isStill(to.Root, name, file) {
		return file, name, nil
	}
	// Another run was faster than the lock, and removes it.
	return nil, "", file.Close()
}

// isStill tells whether a name still is that of an open file.
func isStill(root *os.Root, name string, file *os.File) bool {
	named, err := root.Lstat(name)
	if err != nil {
		return false
	}
	opened, err := file.Stat()
	return err == nil && os.SameFile(named, opened)
}
