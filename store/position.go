package store

import (
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// nonceSize is the number of random bytes in a Nonce: 48 bits, so that two events which get the same offset in two
// lives of a channel differ for all practical purposes, and a position stays short enough for a header.
const nonceSize = 6

// Nonce is a random tag of one event. It tells the event from another one with the same offset, which exists when
// Redis came back from an older snapshot and numbered on from there.
type Nonce [nonceSize]byte

// nonceText is base 32 in lower case: no character needs escaping in a header, a URL or a log line.
var nonceText = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// NewNonce returns a fresh random nonce. It is safe for concurrent use.
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
	if _, err := nonceText.Decode(n[:], []byte(s)); err != nil || n.String() != s { // its last bits are not used
		return n, errPosition
	}
	return n, nil
}

var errPosition = errors.New("not a position")

// Position is the place of an event in its channel: everything before it was delivered, it was delivered, nothing
// after it was. Offset 0 is the place before the first event; its nonce is the channel's base.
type Position struct {
	Offset uint64
	Nonce  Nonce
}

// String returns the position as text, for example "42-3k9pqz01hx". On a stream of one channel this is the event id.
func (p Position) String() string { return string(p.Append(make([]byte, 0, 32))) }

// Append appends what String returns.
func (p Position) Append(dst []byte) []byte {
	dst = append(strconv.AppendUint(dst, p.Offset, 10), '-')
	return nonceText.AppendEncode(dst, p.Nonce[:])
}

// ParsePosition reads what [Position.String] wrote.
func ParsePosition(s string) (Position, error) {
	offset, nonce, found := strings.Cut(s, "-")
	if !found || len(offset) > 16 { // beyond 2^53 Redis's Lua could not count anyway
		return Position{}, errPosition
	}
	o, err := strconv.ParseUint(offset, 10, 64)
	if err != nil || strconv.FormatUint(o, 10) != offset { // one text per position: no "+1", no "01"
		return Position{}, errPosition
	}
	n, err := parseNonce(nonce)
	if err != nil {
		return Position{}, fmt.Errorf("%w: bad nonce", errPosition)
	}
	return Position{Offset: o, Nonce: n}, nil
}
