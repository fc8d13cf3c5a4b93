package rollout_test

import (
	"fmt"
	"testing"
	"time"
)

// Delays are the same each time, differ by endpoint and by seed, and use the whole time.
func TestDelay(t *testing.T) {
	t.Parallel()
	s := settings(t, `{"batch":10,"splay":"1m","seed":"a"}`)
	other := settings(t, `{"batch":10,"splay":"1m","seed":"b"}`)
	var early, late, same int
	for i := range 1000 {
		name := fmt.Sprint("web", i)
		d := s.Delay(name)
		switch {
		case d < 0 || d >= time.Minute || d != s.Delay(name) || d%time.Microsecond != 0:
			t.Fatalf("%s begins after %s", name, d)
		case d < 15*time.Second:
			early++
		case d >= 45*time.Second:
			late++
		}
		if d == other.Delay(name) {
			same++
		}
	}
	if early < 200 || late < 200 || same > 10 {
		t.Errorf("%d begin in the first quarter, %d in the last, %d with any seed", early, late, same)
	}
	if d := settings(t, `{"batch":10}`).Delay("web1"); d != 0 {
		t.Errorf("without splay it begins after %s", d)
	}
}
