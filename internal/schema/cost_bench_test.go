package schema_test

import (
	"encoding/json"
	"strings"
	"testing"
)

// BenchmarkValidate validates payloads of 910 kB against simple schemas, from many
// goroutines at once, as the requests of one task type do.
func BenchmarkValidate(b *testing.B) {
	for name, tt := range map[string]struct{ schema, payload string }{
		"small":   {`{"type":"object","properties":{"n":{"type":"integer","minimum":0}},"required":["n"]}`, `{"n":1}`},
		"string":  {`{"type":"object","properties":{"text":{"type":"string"}}}`, `{"text":"` + strings.Repeat("a", 910_000) + `"}`},
		"numbers": {`{"type":"array","items":{"type":"integer","minimum":0}}`, `[` + strings.Repeat("1,", 455_000) + `1]`},
		"wrong":   {`{"type":"array","items":{"type":"string"}}`, `[` + strings.Repeat("1,", 455_000) + `1]`},
		"objects": {`{"items":{"type":"object","properties":{"host":{"type":"string"},"port":{"type":"integer"}}}}`, `[` + strings.Repeat(`{"host":"web1","port":80},`, 35_000) + `{}]`},
	} {
		b.Run(name, func(b *testing.B) {
			s := compile(b, tt.schema)
			payload := json.RawMessage(tt.payload)
			b.SetBytes(int64(len(payload)))
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					_ = s.Validate(payload)
				}
			})
		})
	}
}
