package wire_test

import (
	"strings"
	"testing"

	"github.com/taskerhq/tasker/internal/wire"
)

// BenchmarkDecodeTask reads messages with payloads of a kilobyte: by the scanner,
// and by the parser alone.
func BenchmarkDecodeTask(b *testing.B) {
	task := aTask
	task.Payload = []byte(`{"x":"` + strings.Repeat("a", 1000) + `"}`)
	for name, form := range map[string]wire.Form{
		"v1": {Version: wire.Version1}, "v2": {Version: wire.Version, MaxPayload: 64 << 10}, "v2-without": {Version: wire.Version},
	} {
		body, err := form.Encode(task)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := wire.DecodeTask(body); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"-parser", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := wire.ParseTask(body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
