package proc

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"
)

// readBuffer is how much is read of a program's output at once.
const readBuffer = 16 << 10

// streams are the pipes between a program and its caller.
type streams struct {
	child []*os.File // the program's, by descriptor
	owned []*os.File // those of child to close here
	in    *os.File   // the pipe to the standard input, or nil
	stdin io.Reader  // what to copy to in
	outs  []outPipe
	tasks sync.WaitGroup
}

type outPipe struct {
	file *os.File
	sink io.Writer
}

func openStreams(spec *Spec) (*streams, error) {
	s := &streams{child: make([]*os.File, 3, 4)}
	err := s.open(spec)
	if err != nil {
		s.closeChild()
		s.abandon()
		return nil, fmt.Errorf("open the program's input and output: %w", err)
	}
	return s, nil
}

func (s *streams) open(spec *Spec) error {
	switch stdin := spec.Stdin.(type) {
	case nil:
	case *os.File:
		s.child[0] = stdin
	default:
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		s.child[0], s.owned = r, append(s.owned, r)
		s.in, s.stdin = w, stdin
	}
	for fd, sink := range []io.Writer{1: spec.Stdout, 2: spec.Stderr, 3: spec.Extra} {
		if sink == nil {
			continue
		}
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		s.owned = append(s.owned, w)
		s.outs = append(s.outs, outPipe{r, sink})
		if fd == 3 {
			s.child = append(s.child, nil)
		}
		s.child[fd] = w
	}
	for fd, file := range s.child {
		if file != nil {
			continue
		}
		null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		s.child[fd], s.owned = null, append(s.owned, null)
	}
	return nil
}

// closeChild closes the files that only the program uses.
func (s *streams) closeChild() {
	for _, file := range s.owned {
		_ = file.Close()
	}
	s.owned = nil
}

// abandon closes the caller's ends after a failed start.
func (s *streams) abandon() {
	for _, out := range s.outs {
		_ = out.file.Close()
	}
	s.closeStdin()
}

func (s *streams) closeStdin() {
	if s.in == nil {
		return
	}
	_ = s.in.Close()
	if c, ok := s.stdin.(io.Closer); ok {
		_ = c.Close()
	}
}

func (s *streams) start() {
	for _, out := range s.outs {
		s.tasks.Go(func() { out.pump() })
	}
	if s.in != nil {
		s.tasks.Go(func() {
			// A program need not read its input.
			_, _ = io.Copy(s.in, s.stdin)
			_ = s.in.Close()
		})
	}
}

// finish waits until all output is read. If other processes hold a pipe open after the
// program has exited, it waits for at most grace.
func (s *streams) finish(grace time.Duration) {
	s.closeStdin()
	deadline := time.Now().Add(grace)
	for _, out := range s.outs {
		_ = out.file.SetReadDeadline(deadline)
	}
	s.tasks.Wait()
}

// pump reads the pipe to its end, or until its deadline.
func (o *outPipe) pump() {
	defer func() { _ = o.file.Close() }()
	buf := make([]byte, readBuffer)
	for {
		n, err := o.file.Read(buf)
		if n > 0 {
			_, _ = o.sink.Write(buf[:n])
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			o.drain(buf)
			return
		}
		if err != nil {
			return
		}
	}
}

// drain reads what is in the pipe at the deadline, without waiting: the program may have
// written it before it exited.
func (o *outPipe) drain(buf []byte) {
	const capacity = 1 << 20 // the maximum of a pipe
	_ = o.file.SetReadDeadline(time.Time{})
	conn, err := o.file.SyscallConn()
	if err != nil {
		return
	}
	for total := 0; total < capacity; {
		n := 0
		err := conn.Read(func(fd uintptr) bool {
			for {
				if n, err = readNow(fd, buf); !errors.Is(err, syscall.EINTR) {
					return true
				}
			}
		})
		if err != nil || n <= 0 {
			return
		}
		_, _ = o.sink.Write(buf[:n])
		total += n
	}
}
