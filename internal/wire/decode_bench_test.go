package wire_test

import (
	"strings"
	"testing"

	"github.com/taskerhq/tasker/internal/wire"
)

func BenchmarkDecodeTask(b *testing.B) {
	body := []byte(`{"v":1,"task_id":17,"identifier":"e7bd91d0","type":"worker","payload":{"x":"` + strings.Repeat("a", 1000) +
		`"},"start_time":"2026-11-22T04:04:58.143502Z"}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := wire.DecodeTask(body); err != nil {
			b.Fatal(err)
		}
	}
}
