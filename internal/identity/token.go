// Package identity knows endpoints by their tokens: it makes tokens, and finds
// the endpoint that a token belongs to without asking the database each time.
package identity

import (
	"crypto/rand"
	"crypto/sha256"
	"hash/crc32"
	"strings"

	"github.com/taskerhq/tasker"
)

// A token is Prefix, random characters, and a checksum of both. Whoever scans
// text for leaked secrets recognizes it, and a mistyped one is told from one that
// is not valid any more.
const (
	// Prefix begins the token of an endpoint.
	Prefix = "tasker_ep_"
	// randomLength is the number of random characters: 256 bits.
	randomLength   = 43
	checksumLength = 6
	tokenLength    = len(Prefix) + randomLength + checksumLength
)

const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// Digest is the SHA-256 of a token. It stands for the token wherever that is
// stored or compared.
type Digest [sha256.Size]byte

// NewToken returns a new token.
func NewToken() string {
	var b strings.Builder
	b.Grow(tokenLength)
	b.WriteString(Prefix)
	var random [2 * randomLength]byte
	for n := 0; n < randomLength; {
		_, _ = rand.Read(random[:]) // never fails
		for _, r := range random {
			// The rest would make some characters likelier than others.
			if int(r) < 256/len(alphabet)*len(alphabet) && n < randomLength {
				b.WriteByte(alphabet[int(r)%len(alphabet)])
				n++
			}
		}
	}
	return b.String() + checksum(b.String())
}

// checksum returns the CRC-32 of the rest of a token, in base 62.
func checksum(rest string) string {
	sum := crc32.ChecksumIEEE([]byte(rest))
	var digits [checksumLength]byte
	for i := range digits {
		digits[len(digits)-1-i] = alphabet[sum%uint32(len(alphabet))]
		sum /= uint32(len(alphabet))
	}
	return string(digits[:])
}

// Sum returns the digest of a token. The error, for something that is not a
// token, does not contain it.
func Sum(token string) (Digest, error) {
	rest, isToken := strings.CutPrefix(token, Prefix)
	switch {
	case !isToken:
		return Digest{}, tasker.Errorf(tasker.Unauthorized,
			"invalid token: the token of an endpoint begins with %s; tasker endpoints add NAME prints it", Prefix)
	case len(token) != tokenLength || strings.Trim(rest, alphabet) != "" ||
		checksum(token[:tokenLength-checksumLength]) != token[tokenLength-checksumLength:]:
		return Digest{}, tasker.Errorf(tasker.Unauthorized,
			"invalid token: it was not copied completely: it has %d characters, the last %d of which are a checksum",
			tokenLength, checksumLength)
	}
	return sha256.Sum256([]byte(token)), nil
}
