package batch_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskerhq/tasker/internal/x/batch"
)

// What is submitted while a batch is written goes out together as the next one.
func TestWriter(t *testing.T) {
	first, goOn := make(chan struct{}), make(chan struct{})
	var sizes []int
	w := batch.New(3, func(_ context.Context, items []int) ([]int, error) {
		sizes = append(sizes, len(items))
		if len(sizes) == 1 {
			close(first)
			<-goOn
		}
		if items[0] == 99 {
			return nil, errors.New("refused")
		}
		outs := make([]int, len(items))
		for i, item := range items {
			outs[i] = 10 * item
		}
		return outs, nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { w.Run(ctx); close(ended) }()
	var callers sync.WaitGroup
	submit := func(item int) {
		callers.Go(func() {
			if out, err := w.Do(item); err != nil || out != 10*item {
				t.Errorf("Do(%d) = %d, %v", item, out, err)
			}
		})
	}
	submit(1)
	<-first
	for item := 2; item <= 5; item++ {
		submit(item)
	}
	close(goOn)
	callers.Wait()
	if _, err := w.Do(99); err == nil || err.Error() != "refused" {
		t.Errorf("got %v, want the error of the write", err)
	}
	cancel()
	<-ended
	for _, size := range sizes {
		if size > 3 {
			t.Errorf("a batch has %d items, the limit is 3", size)
		}
	}
	if _, err := w.Do(1); !errors.Is(err, batch.ErrEnded) {
		t.Errorf("got %v, want ErrEnded", err)
	}
}

// A batch waits as long as the function says, and takes what comes meanwhile; a full
// one does not wait.
func TestGatherPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sizes []int
		w := batch.New(3, func(_ context.Context, items []int) ([]int, error) {
			sizes = append(sizes, len(items))
			return items, nil
		})
		var asked []int
		w.Gather(func(waiting int) time.Duration {
			asked = append(asked, waiting)
			return time.Second
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { w.Run(ctx); close(ended) }()
		synctest.Wait()
		begin := time.Now()
		var callers sync.WaitGroup
		submit := func() {
			callers.Go(func() {
				if _, err := w.Do(1); err != nil {
					t.Error(err)
				}
			})
		}
		submit()
		synctest.Wait()
		for range 4 { // two join the first, and two are left
			submit()
		}
		callers.Wait()
		if took := time.Since(begin); !slices.Equal(sizes, []int{3, 2}) || !slices.Equal(asked, []int{1, 2}) || took != 2*time.Second {
			t.Errorf("batches of %v after questions with %v, in %v", sizes, asked, took)
		}
		cancel()
		<-ended
	})
}

// What is submitted before Run is written by then; what waits when its context ends
// is not written.
func TestWriterBeginAndEnd(t *testing.T) {
	writing, goOn := make(chan struct{}), make(chan struct{})
	w := batch.New(1, func(ctx context.Context, items []int) ([]int, error) {
		writing <- struct{}{}
		<-goOn
		return items, context.Cause(ctx)
	})
	errs := make(chan error, 3)
	submit := func() {
		_, err := w.Do(1)
		errs <- err
	}
	go submit()
	ctx, cancel := context.WithCancelCause(t.Context())
	go w.Run(ctx)
	<-writing
	go submit()
	go submit()
	goOn <- struct{}{}
	if err := <-errs; err != nil {
		t.Errorf("got %v", err)
	}
	<-writing
	end := errors.New("the end")
	cancel(end)
	select {
	case <-w.Ended():
		t.Error("it ended during a write")
	default:
	}
	// The third one may be written as well, before the writer notices the end.
	close(goOn)
	for {
		select {
		case <-writing:
			continue
		case <-w.Ended():
		}
		break
	}
	first, second := <-errs, <-errs
	if errors.Is(first, batch.ErrEnded) {
		first, second = second, first
	}
	if !errors.Is(first, end) || !errors.Is(second, batch.ErrEnded) && !errors.Is(second, end) {
		t.Errorf("got %v and %v, want the error of the write and ErrEnded", first, second)
	}
}

// BenchmarkDo measures what a single caller pays.
func BenchmarkDo(b *testing.B) {
	b.ReportAllocs()
	w := batch.New(100, func(_ context.Context, items []int) ([]int, error) { return items, nil })
	go w.Run(b.Context())
	for b.Loop() {
		if _, err := w.Do(1); err != nil {
			b.Fatal(err)
		}
	}
}

func TestGather(t *testing.T) {
	queue := make(chan int, 5)
	for i := range 5 {
		queue <- i
	}
	if got := batch.Gather(t.Context(), queue, 3); len(got) != 3 {
		t.Errorf("got %v, want three items", got)
	}
	if got := batch.Gather(t.Context(), queue, 3); len(got) != 2 {
		t.Errorf("got %v, want the two that are left", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got := batch.Gather(ctx, queue, 3); got != nil {
		t.Errorf("got %v after the end of the context, want nil", got)
	}
}
