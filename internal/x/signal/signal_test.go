package signal_test

import (
	"testing"

	"github.com/taskerhq/tasker/internal/x/signal"
)

func TestSignal(t *testing.T) {
	s := signal.New()
	for range 3 {
		s.Raise()
	}
	<-s
	select {
	case <-s:
		t.Error("raised three times before a look, it wakes twice")
	default:
	}
	s.Raise()
	<-s
}
