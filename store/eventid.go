package store

import (
	"encoding/base64"
	"encoding/binary"
	"hash/fnv"
	"slices"
	"strings"
)

// What begins the event id of a stream of several channels. The id of a stream of one channel is a place, which begins with
// a digit. The first edition's ids of several channels began with m.
const (
	severalPlaces = "n" // none of the places has a mark
	severalMarks  = "l" // each of the places is followed by its mark, or by 0
)

// EndMark ends the event id of a channel's final event, on a stream of one channel. It tells that a client which comes back
// with this id has seen the end, even when nothing of the channel is stored any more.
const EndMark = "-end"

// AppendEventID appends the event id of a stream that has brought its client to the place at[i] of channels[i].
//
// For one channel the id is the place as text. For several channels it has, for each of them, a hash of the name, the
// nonce and the offset. That is about 15 characters per channel, so that 50 channels fit in a header of 1 KiB. Marks are rare
// and take three more. Because of the names, an id is still of use to a stream that follows one channel more or less.
func AppendEventID(dst []byte, channels []string, at []Place) []byte {
	if len(channels) == 1 {
		return at[0].Append(dst)
	}
	begin := severalPlaces
	if slices.ContainsFunc(at, func(p Place) bool { return p.Left != 0 }) {
		begin = severalMarks
	}
	raw := make([]byte, 0, len(channels)*(4+nonceSize+5))
	for i, c := range channels {
		raw = binary.BigEndian.AppendUint32(raw, nameHash(c))
		raw = append(raw, at[i].Nonce[:]...)
		raw = binary.AppendUvarint(raw, at[i].Offset)
		if begin == severalMarks {
			raw = binary.BigEndian.AppendUint16(raw, uint16(at[i].Left))
		}
	}
	dst = append(dst, begin...)
	return base64.RawURLEncoding.AppendEncode(dst, raw)
}

// EventID is what a last event id says about some channels, in their order.
type EventID struct {
	Places []Place
	Known  []bool // false: the id says nothing readable about this channel
	End    bool   // the id is that of the final event of the one channel
}

// ParseEventID reads what a last event id says about channels. It never fails: an id that is not one of ours, or was
// changed, says nothing about any channel.
func ParseEventID(text string, channels []string) EventID {
	id := EventID{Places: make([]Place, len(channels)), Known: make([]bool, len(channels))}
	text, end := strings.CutSuffix(text, EndMark)
	encoded, several := strings.CutPrefix(text, severalPlaces)
	marked := false
	if !several {
		encoded, marked = strings.CutPrefix(text, severalMarks)
	}
	if several || marked {
		byName := parsePlaces(encoded, marked)
		for i, c := range channels {
			p, known := byName[nameHash(c)]
			id.Places[i], id.Known[i] = p, known
		}
		return id
	}
	if len(channels) == 1 {
		if p, err := parsePlace(text); err == nil {
			id.Places[0], id.Known[0], id.End = p, true, end
		}
	}
	return id
}

// parsePlaces reads the inside of an id of several channels: places by the hash of the channel's name. It returns none if
// the id was cut off or changed.
func parsePlaces(encoded string, marked bool) map[uint32]Place {
	raw, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		return nil
	}
	byName := make(map[uint32]Place)
	for len(raw) > 4+nonceSize {
		name := binary.BigEndian.Uint32(raw)
		var p Place
		copy(p.Nonce[:], raw[4:])
		offset, n := binary.Uvarint(raw[4+nonceSize:])
		if n <= 0 {
			return nil
		}
		p.Offset = offset
		raw = raw[4+nonceSize+n:]
		if marked {
			if len(raw) < 2 {
				return nil
			}
			p.Left, raw = Mark(binary.BigEndian.Uint16(raw)), raw[2:]
		}
		byName[name] = p
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
