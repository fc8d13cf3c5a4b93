// Package identity makes the tokens by which endpoints, and people at the API, are
// known, and finds the endpoint that a token belongs to without asking the database
// each time.
package identity

import (
	"crypto/rand"
	"crypto/sha256"
	"hash/crc32"
	"strings"

	"github.com/taskerhq/tasker"
)

// A token is a prefix, random characters, and a checksum of both. Whoever scans
// text for leaked secrets recognizes it, and a mistyped one is told from one that
// is not valid any more.
const (
	// Prefix begins the token of an endpoint.
	Prefix = "tasker_ep_"
	// PrincipalPrefix begins the token of somebody who uses the API.
	PrincipalPrefix = "tasker_"
	// randomLength is the number of random characters: 256 bits.
	randomLength   = 43
	checksumLength = 6
)

const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// Digest is the SHA-256 of a token. It stands for the token wherever that is
// stored or compared.
type Digest [sha256.Size]byte

// NewToken returns a new token of an endpoint.
func NewToken() string { return newToken(Prefix) }

// NewPrincipalToken returns a new token of somebody who uses the API.
func NewPrincipalToken() string { return newToken(PrincipalPrefix) }

func newToken(prefix string) string {
	var b strings.Builder
	b.Grow(lengthOf(prefix))
	b.WriteString(prefix)
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

// lengthOf returns the length of the tokens with a prefix.
func lengthOf(prefix string) int { return len(prefix) + randomLength + checksumLength }

// Sum returns the digest of an endpoint's token. The error, for something that is not
// a token, does not contain it.
func Sum(token string) (Digest, error) {
	return sum(token, Prefix, "the token of an endpoint begins with "+Prefix+"; tasker endpoints add NAME prints it")
}

// SumPrincipal is [Sum] for the token of somebody who uses the API.
func SumPrincipal(token string) (Digest, error) {
	return sum(token, PrincipalPrefix, "it must begin with "+PrincipalPrefix+"; tasker auth token prints one")
}

// sum returns the digest of a token with a prefix. origin says how to get one.
func sum(token, prefix, origin string) (Digest, error) {
	rest, isToken := strings.CutPrefix(token, prefix)
	length := lengthOf(prefix)
	switch {
	case !isToken:
		return Digest{}, tasker.Errorf(tasker.Unauthorized, "invalid token: %s", origin)
	case len(token) != length || strings.Trim(rest, alphabet) != "" ||
		checksum(token[:length-checksumLength]) != token[length-checksumLength:]:
		return Digest{}, tasker.Errorf(tasker.Unauthorized,
			"invalid token: it was not copied completely: it has %d characters, the last %d of which are a checksum",
			length, checksumLength)
	}
	return sha256.Sum256([]byte(token)), nil
}
