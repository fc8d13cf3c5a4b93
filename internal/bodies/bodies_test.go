package bodies_test

import (
	"io"
	"strings"
	"testing"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/bodies"
)

// What is held grows with what arrives, small bodies pass, and all is given
// back.
func TestBodiesAreBounded(t *testing.T) {
	b := bodies.NewPool(1 << 20)
	large := func() io.Reader { return strings.NewReader(strings.Repeat("x", 600<<10)) }
	body, release, err := b.Read(large())
	if err != nil || len(body) != 600<<10 || b.Held() != 1<<20 {
		t.Fatalf("%d bytes, %d held, %v", len(body), b.Held(), err)
	}
	_, refused, err := b.Read(large())
	if tasker.CodeOf(err) != tasker.Overloaded {
		t.Errorf("a second one: %v", err)
	}
	refused()
	if body, small, err := b.Read(strings.NewReader(strings.Repeat("x", bodies.Free-1))); err != nil || len(body) != bodies.Free-1 {
		t.Errorf("a small one: %d bytes, %v", len(body), err)
	} else {
		small()
	}
	release()
	if held := b.Held(); held != 0 {
		t.Errorf("%d bytes are held", held)
	}
}
