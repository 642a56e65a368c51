package store

import (
	"encoding/base64"
	"encoding/binary"
	"hash/fnv"
	"strings"
)

// eventIDMark starts the event id of a stream of several channels. A position starts with a digit, so the two
// cannot be taken for one another.
const eventIDMark = "m"

// EndMark ends the event id of a channel's final event, on a stream of one channel. A client that comes back with it has
// seen the end, which can be told even when nothing of the channel is stored any more.
const EndMark = "-end"

// AppendEventID appends the event id of a stream that has delivered at[i] of channels[i], for all i.
//
// For one channel that is the position as text. For several it holds, per channel, a hash of the name, the nonce
// and the offset, about 15 characters each: 50 channels fit in a header of 1 KiB. The name is in it so that an id
// still means something to a stream of other channels (one more, one less), and never another channel's place.
func AppendEventID(dst []byte, channels []string, at []Position) []byte {
	if len(channels) == 1 {
		return at[0].Append(dst)
	}
	raw := make([]byte, 0, len(channels)*(4+nonceSize+3))
	for i, c := range channels {
		raw = binary.BigEndian.AppendUint32(raw, nameHash(c))
		raw = append(raw, at[i].Nonce[:]...)
		raw = binary.AppendUvarint(raw, at[i].Offset)
	}
	dst = append(dst, eventIDMark...)
	return base64.RawURLEncoding.AppendEncode(dst, raw)
}

// EventID is what a last event id says about some channels, in their order.
type EventID struct {
	Positions []Position
	Known     []bool // false: the id says nothing readable about this channel
	End       bool   // the id is that of the final event of the one channel
}

// ParseEventID reads what a last event id says about channels. It never fails: an id that was tampered with, or comes from
// somewhere else, just knows no channel.
func ParseEventID(text string, channels []string) EventID {
	id := EventID{Positions: make([]Position, len(channels)), Known: make([]bool, len(channels))}
	text, end := strings.CutSuffix(text, EndMark)
	if encoded, several := strings.CutPrefix(text, eventIDMark); several {
		byName := parsePositions(encoded)
		for i, c := range channels {
			p, known := byName[nameHash(c)]
			id.Positions[i], id.Known[i] = p, known
		}
		return id
	}
	if len(channels) == 1 {
		if p, err := ParsePosition(text); err == nil {
			id.Positions[0], id.Known[0], id.End = p, true, end
		}
	}
	return id
}

// parsePositions reads the inside of an id of several channels: positions by the hash of the channel's name. It returns
// none if the id was cut off or changed.
func parsePositions(encoded string) map[uint32]Position {
	raw, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		return nil
	}
	byName := make(map[uint32]Position)
	for len(raw) > 4+nonceSize {
		name := binary.BigEndian.Uint32(raw)
		var p Position
		copy(p.Nonce[:], raw[4:])
		offset, n := binary.Uvarint(raw[4+nonceSize:])
		if n <= 0 {
			return nil
		}
		p.Offset = offset
		byName[name] = p
		raw = raw[4+nonceSize+n:]
	}
	if len(raw) != 0 {
		return nil // cut off: what came before may be cut off as well
	}
	return byName
}

// nameHash stands for a channel's name inside an event id. A collision does no harm: the nonce would not fit.
func nameHash(channel string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(channel)) // never fails
	return h.Sum32()
}
