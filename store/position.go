package store

import (
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// nonceSize is the number of random bytes in a Nonce. With 48 bits, two events practically never have the same nonce, and
// the positions of many channels still fit in a header.
const nonceSize = 6

// Nonce is a random tag of one event. When Redis comes back from an older snapshot, it gives offsets a second time. The
// two events with the same offset then have different nonces.
type Nonce [nonceSize]byte

// nonceText is base 32 in lower case, because it needs no escaping in a header, a URL or a log line.
var nonceText = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// NewNonce returns a random nonce. It is safe for concurrent use.
func NewNonce() Nonce {
	var n Nonce
	_, _ = rand.Read(n[:]) // never fails, see crypto/rand.Read
	return n
}

// String returns the nonce as ten characters.
func (n Nonce) String() string { return nonceText.EncodeToString(n[:]) }

// parseNonce reads what String wrote.
func parseNonce(s string) (Nonce, error) {
	var n Nonce
	if len(s) != nonceText.EncodedLen(nonceSize) {
		return n, errPosition
	}
	// The last character can have bits that the nonce does not use: then it is not what String writes.
	if _, err := nonceText.Decode(n[:], []byte(s)); err != nil || n.String() != s {
		return n, errPosition
	}
	return n, nil
}

var errPosition = errors.New("not a position")

// Position is a place in a channel: right after the event with this offset and nonce. Offset 0 is the place before the
// first event, and its nonce is the channel's base.
type Position struct {
	Offset uint64
	Nonce  Nonce
}

// String returns the position as text, for example "42-3k9pqz01hx". This is the event's id.
func (p Position) String() string { return string(p.Append(make([]byte, 0, 32))) }

// Append appends what String returns.
func (p Position) Append(dst []byte) []byte {
	dst = append(strconv.AppendUint(dst, p.Offset, 10), '-')
	return nonceText.AppendEncode(dst, p.Nonce[:])
}

// ParsePosition reads what [Position.String] wrote.
func ParsePosition(s string) (Position, error) {
	offset, nonce, found := strings.Cut(s, "-")
	if !found || len(offset) > 16 { // Lua in Redis counts to 2^53, which has 16 digits
		return Position{}, errPosition
	}
	o, err := strconv.ParseUint(offset, 10, 64)
	if err != nil || strconv.FormatUint(o, 10) != offset { // a position has exactly one text, so "+1" and "01" are refused
		return Position{}, errPosition
	}
	n, err := parseNonce(nonce)
	if err != nil {
		return Position{}, fmt.Errorf("%w: bad nonce", errPosition)
	}
	return Position{Offset: o, Nonce: n}, nil
}
