package copyfile

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

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/x/clock"
)

// copyBuffer is how much is copied between two checks of the context.
const copyBuffer = 256 << 10

// sourceFile is an open file that is to be copied.
type sourceFile struct {
	*os.File
	place place
	size  int64 // when it was opened
	mode  os.FileMode
}

// openSource opens a regular file: a pipe could block, and a device never ends.
func (h *handler) openSource(from place) (*sourceFile, error) {
	info, err := from.Stat(from.path)
	if err == nil && !info.Mode().IsRegular() {
		return nil, handlers.Permanent(from.errorf("must be a regular file, not %s", kindOf(info)))
	}
	if err != nil {
		return nil, from.errorf("%w", err)
	}
	file, err := from.OpenFile(from.path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, from.errorf("%w", err)
	}
	if info, err = file.Stat(); err == nil && !info.Mode().IsRegular() {
		err = handlers.Permanent(from.errorf("must be a regular file, not %s", kindOf(info)))
	}
	if err == nil && !h.conf.HardLinks && otherNames(from, info) {
		err = handlers.Permanent(from.errorf("has hard links, which may be outside of sources: copy it into sources, or set hard_links"))
	}
	if limit := int64(h.conf.MaxSize); err == nil && limit > 0 && info.Size() > limit {
		err = handlers.Permanent(from.errorf("has %d bytes, more than max_size (%d)", info.Size(), limit))
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	mode := info.Mode().Perm()
	if h.conf.Mode != nil {
		mode = os.FileMode(*h.conf.Mode)
	}
	return &sourceFile{file, from, info.Size(), mode}, nil
}

// otherNames reports whether a file has more names than its own and those of
// unfinished copies beside it.
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

// sumIfSame returns the checksum of the destination if it is what it should become,
// and an empty one if it has to be written. A file that must not be replaced is
// an error.
func (h *handler) sumIfSame(ctx context.Context, to place, source *sourceFile) (sum string, err error) {
	info, err := to.Lstat(to.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", to.errorf("%w", err)
	case !info.Mode().IsRegular():
		return "", handlers.Permanent(to.errorf("must be a regular file, not %s", kindOf(info)))
	case info.Size() == source.size && info.Mode().Perm() == source.mode:
		if sum, err = sameContent(ctx, to, source); err != nil || sum != "" {
			return sum, err
		}
	}
	if !h.conf.Overwrite {
		return "", handlers.Permanent(to.errorf("%w", errAnotherFile))
	}
	return "", nil
}

var errAnotherFile = errors.New("exists with other content or mode, and overwrite is not set")

// sameContent returns the checksum of both files, or an empty one if they differ.
// It leaves the source at its beginning.
func sameContent(ctx context.Context, to place, source *sourceFile) (sum string, err error) {
	file, err := to.OpenFile(to.path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", to.errorf("%w", err)
	}
	defer file.Close()
	old, err := copySum(ctx, io.Discard, file, source.size, nil)
	if err != nil {
		return "", to.errorf("%w", err)
	}
	sum, err = copySum(ctx, io.Discard, source, source.size, nil)
	if err == nil {
		_, err = source.Seek(0, io.SeekStart)
	}
	if err != nil {
		return "", source.place.errorf("%w", err)
	}
	if sum != old {
		return "", nil
	}
	return sum, nil
}

// replace writes the copy beside the destination and then moves it there. unchanged
// reports that somebody else has written the same there meanwhile, as endpoints
// do that share a disk.
func (h *handler) replace(
	ctx context.Context, req *handlers.Request, source *sourceFile, to place,
) (sum string, unchanged bool, err error) {
	file, name, err := createBeside(ctx, to)
	if err != nil {
		return "", false, to.errorf("%w", err)
	}
	gone := false
	defer func() {
		if gone {
			err = errors.Join(err, file.Close())
		} else if e := discard(to.Root, name, file); e != nil {
			err = errors.Join(err, to.errorf("%w", e))
		}
	}()
	sum, err = copySum(ctx, file, source, source.size, func(done int64) {
		req.Progress(done, source.size, "bytes")
	})
	if err != nil {
		return "", false, fmt.Errorf("copy %s to %s: %w", source.place.full, to.full, err)
	}
	if err := file.Chmod(source.mode); err != nil {
		return "", false, to.errorf("%w", err)
	}
	if err := file.Sync(); err != nil {
		return "", false, to.errorf("%w", err)
	}
	gone, err = h.moveInto(to, name)
	if errors.Is(err, fs.ErrExist) {
		if _, err = source.Seek(0, io.SeekStart); err != nil {
			return "", false, source.place.errorf("%w", err)
		}
		sum, err = h.sumIfSame(ctx, to, source)
		if err == nil && sum == "" { // removed since; the next run copies
			err = to.errorf("is being created and removed by somebody else")
		}
		return sum, err == nil, err
	}
	if err != nil {
		return "", false, to.errorf("%w", err)
	}
	if err := syncDir(to.Root, filepath.Dir(to.path)); err != nil {
		return "", false, to.errorf("%w", err)
	}
	return sum, false, nil
}

// moveInto moves the copy to the destination, and reports whether its old name is
// gone. If the file system has hard links, a file that somebody has created
// meanwhile is an [fs.ErrExist] unless it may be replaced.
func (h *handler) moveInto(to place, name string) (gone bool, err error) {
	if !h.conf.Overwrite {
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

// copySum copies size bytes and returns their SHA-256 in hexadecimal. It stops, with
// the cause, when ctx ends, and calls report, if not nil, after each piece.
func copySum(ctx context.Context, to io.Writer, from io.Reader, size int64, report func(done int64)) (string, error) {
	hash := sha256.New()
	both := io.MultiWriter(to, hash)
	buf := make([]byte, min(copyBuffer, size))
	for done := int64(0); done < size; {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		n, err := io.ReadFull(from, buf[:min(int64(len(buf)), size-done)])
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return "", fmt.Errorf("the file was shortened from %d to %d bytes", size, done+int64(n))
		}
		if err != nil {
			return "", err
		}
		if _, err := both.Write(buf[:n]); err != nil {
			return "", err
		}
		if done += int64(n); report != nil {
			report(done)
		}
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

const (
	// copiesAtOnce bounds the concurrent copies to one destination.
	copiesAtOnce = 16
	// copyPause is the pause before another try of a run beyond that.
	copyPause = 20 * time.Millisecond
)

// besideName returns the name of the nth unfinished copy to a destination. It is the
// same for each run, so that what a killed run left is found.
func besideName(to place, n int) string {
	hash := fnv.New64a()
	_, _ = io.WriteString(hash, filepath.Base(to.path)) // never fails
	return filepath.Join(filepath.Dir(to.path), fmt.Sprintf(".tasker-copy-%016x-%d", hash.Sum64(), n))
}

// removeLeftovers removes what killed runs left beside a destination.
func removeLeftovers(to place) error {
	for n := range copiesAtOnce {
		if err := removeAbandoned(to.Root, besideName(to, n)); err != nil {
			return to.errorf("remove leftovers of earlier runs: %w", err)
		}
	}
	return nil
}

// createBeside creates an empty file beside the destination, locked as long as it
// is open, so that nobody takes it for a leftover. It waits while too many runs
// copy to the destination.
func createBeside(ctx context.Context, to place) (file *os.File, name string, err error) {
	for {
		for n := range copiesAtOnce {
			if file, name, err = tryBeside(to, n); file != nil || err != nil {
				return file, name, err
			}
		}
		if err := clock.Sleep(ctx, copyPause); err != nil {
			return nil, "", fmt.Errorf("%d other runs are copying to it: %w", copiesAtOnce, err)
		}
		if err := removeLeftovers(to); err != nil {
			return nil, "", err
		}
	}
}

// tryBeside creates the nth file. It returns nil if another run has it.
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
	// Before it was locked, another run took it for a leftover.
	return nil, "", file.Close()
}

// isStill reports whether a name is still that of an open file.
func isStill(root *os.Root, name string, file *os.File) bool {
	named, err := root.Lstat(name)
	if err != nil {
		return false
	}
	opened, err := file.Stat()
	return err == nil && os.SameFile(named, opened)
}
