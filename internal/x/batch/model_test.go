package batch_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/taskerhq/tasker/internal/x/batch"
)

// writes is what a writer of batches has been asked to write.
type writes struct {
	took     time.Duration // of a write
	failures map[int]bool  // the calls that fail, by number
	batches  [][]int
	writing  bool
	overlap  bool
}

var errWrite = errors.New("the write failed")

func (w *writes) write(_ context.Context, items []int) ([]string, error) {
	w.overlap = w.overlap || w.writing
	w.writing = true
	n := len(w.batches)
	w.batches = append(w.batches, append([]int(nil), items...))
	time.Sleep(w.took)
	w.writing = false
	if w.failures[n] {
		return nil, errWrite
	}
	outs := make([]string, len(items))
	for i, item := range items {
		outs[i] = fmt.Sprint(item)
	}
	return outs, nil
}

type answer struct {
	item  int
	out   string
	err   error
	asked time.Time
	at    time.Time
}

// Whenever callers come and Run begins and ends, and whichever writes fail: each
// caller gets its own answer, or the error of its write, or ErrEnded if it was not
// written; nobody is written twice, or hangs; one write goes on at a time, of no
// more than the limit; and a lone one is not delayed.
func TestWriterInAnyOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		limit := rapid.IntRange(1, 5).Draw(rt, "limit")
		w := &writes{took: time.Duration(rapid.IntRange(0, 3).Draw(rt, "write")) * time.Millisecond, failures: map[int]bool{}}
		for n := range 30 {
			w.failures[n] = rapid.IntRange(0, 4).Draw(rt, "fails") == 4
		}
		arrivals := rapid.SliceOfN(rapid.IntRange(0, 20), 0, 40).Draw(rt, "arrivals") // in ms
		begins := rapid.IntRange(0, 10).Draw(rt, "Run begins")
		ends := begins + rapid.IntRange(0, 30).Draw(rt, "Run ends after")
		var answers []answer
		synctest.Test(t, func(t *testing.T) {
			writer := batch.New(limit, w.write)
			answered := make(chan answer, len(arrivals))
			for item, after := range arrivals {
				go func() {
					time.Sleep(time.Duration(after) * time.Millisecond)
					asked := time.Now()
					out, err := writer.Do(item)
					answered <- answer{item, out, err, asked, time.Now()}
				}()
			}
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Duration(ends)*time.Millisecond, cancel)
			time.Sleep(time.Duration(begins) * time.Millisecond)
			writer.Run(ctx)
			<-writer.Ended()
			for range arrivals {
				answers = append(answers, <-answered) // synctest panics if one hangs
			}
		})
		judge(rt, w, limit, answers)
	})
}

func judge(t *rapid.T, w *writes, limit int, answers []answer) {
	in := map[int]int{} // the batch of each item
	for n, items := range w.batches {
		if len(items) > limit || len(items) == 0 {
			t.Errorf("a batch of %d", len(items))
		}
		for _, item := range items {
			if _, twice := in[item]; twice {
				t.Errorf("%d was written twice", item)
			}
			in[item] = n
		}
	}
	if w.overlap {
		t.Error("two writes went on at once")
	}
	for _, a := range answers {
		n, written := in[a.item]
		switch {
		case !written && !errors.Is(a.err, batch.ErrEnded),
			written && w.failures[n] && !errors.Is(a.err, errWrite),
			written && !w.failures[n] && (a.err != nil || a.out != fmt.Sprint(a.item)):
			t.Errorf("%d, written %t in batch %d: %q, %v", a.item, written, n, a.out, a.err)
		}
	}
}

// A lone item is written at once.
func TestLoneItemIsNotDelayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &writes{took: time.Millisecond}
		writer := batch.New(500, w.write)
		ctx, cancel := context.WithCancel(t.Context())
		go writer.Run(ctx)
		synctest.Wait()
		for item := range 3 {
			begin := time.Now()
			if _, err := writer.Do(item); err != nil || time.Since(begin) != w.took {
				t.Errorf("answered after %v, %v", time.Since(begin), err)
			}
			time.Sleep(time.Second)
		}
		cancel()
		<-writer.Ended()
	})
}
