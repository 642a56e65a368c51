package store

import (
	"encoding/base64"
	"encoding/binary"
	"hash/fnv"
	"strings"
)

// eventIDMark begins the event id of a stream of several channels. The id of a stream of one channel is a position, which
// begins with a digit.
const eventIDMark = "m"

// EndMark ends the event id of a channel's final event, on a stream of one channel. It tells that a client which comes back
// with this id has seen the end, even when nothing of the channel is stored any more.
const EndMark = "-end"

// AppendEventID appends the event id of a stream that has delivered everything up to the position at[i] of channels[i].
//
// For one channel the id is the position as text. For several channels it has, for each of them, a hash of the name, the
// nonce and the offset. That is about 15 characters per channel, so that 50 channels fit in a header of 1 KiB. Because of
// the names, an id is still of use to a stream that follows one channel more or less.
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

// ParseEventID reads what a last event id says about channels. It never fails: an id that is not one of ours, or was
// changed, says nothing about any channel.
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
		return nil // the id was cut off, maybe in the middle of the last offset
	}
	return byName
}

// nameHash stands for a channel's name inside an event id. If two names have the same hash, the nonce still tells that the
// position is of another channel.
func nameHash(channel string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(channel)) // never fails
	return h.Sum32()
}
