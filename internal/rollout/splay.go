package rollout

import (
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// Delay returns how long after its wave opens an endpoint begins: the same for the same
// seed, at random between 0 and Splay.
func (s Settings) Delay(name string) time.Duration {
	if s.Splay == 0 {
		return 0
	}
	sum := sha256.Sum256([]byte(s.Seed + "/splay/" + name))
	return time.Duration(binary.BigEndian.Uint64(sum[:8]) % uint64(s.Splay)).Truncate(time.Microsecond)
}
