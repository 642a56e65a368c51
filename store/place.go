package store

import (
	"cmp"
	"encoding/binary"
	"strings"
)

// Place is where a client stands in a channel: at a position, of which it has seen everything before and nothing after.
// There is one exception, which Left tells: events after the position that Redis has lost.
//
// When Redis comes back from an older snapshot, a client has to go back to the newest event that is still stored. A replica
// that has not noticed the loss yet has the lost events in memory, and a newer snapshot brings them back. In both cases they
// follow the client's position, and only Left tells that the client has seen them.
type Place struct {
	Offset uint64
	Nonce  Nonce
	Left   Mark // of the first event after the position that the client has seen and that was lost; 0: there is none
}

// Position returns the position of the place.
func (p Place) Position() Position { return Position{Offset: p.Offset, Nonce: p.Nonce} }

// Place returns the place of a client that has seen nothing after the position.
func (p Position) Place() Place { return Place{Offset: p.Offset, Nonce: p.Nonce} }

// Mark stands for a nonce in two bytes. Two nonces have the same mark in one of 65,535 cases. It is never 0.
type Mark uint16

// Mark returns what stands for the nonce.
func (n Nonce) Mark() Mark { return cmp.Or(Mark(binary.BigEndian.Uint16(n[:])), 1) }

// Append appends the place as text: its position, and the mark if there is one. On a stream of one channel this is the event
// id.
func (p Place) Append(dst []byte) []byte {
	dst = p.Position().Append(dst)
	if p.Left != 0 {
		dst = append(dst, '-')
		dst = nonceText.AppendEncode(dst, binary.BigEndian.AppendUint16(nil, uint16(p.Left)))
	}
	return dst
}

// parsePlace reads what [Place.Append] wrote.
func parsePlace(s string) (Place, error) {
	offset, rest, _ := strings.Cut(s, "-")
	nonce, mark, marked := strings.Cut(rest, "-")
	position, err := ParsePosition(offset + "-" + nonce)
	p := position.Place()
	if err != nil || !marked {
		return p, err
	}
	raw, err := nonceText.DecodeString(mark)
	if err != nil || len(raw) != 2 || nonceText.EncodeToString(raw) != mark || binary.BigEndian.Uint16(raw) == 0 {
		return Place{}, errPosition
	}
	p.Left = Mark(binary.BigEndian.Uint16(raw))
	return p, nil
}
