package store

import (
	"bytes"
	"fmt"
	"strconv"
)

// Announcement is what Redis publishes on a channel's [Names.Live] when it has stored events: one message for all events
// that were stored together.
type Announcement struct {
	Events []Event // in the order of their offsets, without a hole
	// Marker and Number name the last of the raw messages that were taken in together; the events were made from them. If
	// the events were appended, Marker is empty.
	Marker string
	Number uint64
}

// announcementHead is the greatest length of the line in front of adopted events.
const announcementHead = 128

// ParseAnnouncement reads an announcement. The data of a single event is a part of payload, which must not be changed
// afterwards. Of several events each has its own data: whoever keeps one of them does not keep all.
func ParseAnnouncement(channel string, payload []byte) (Announcement, error) {
	var a Announcement
	text := payload
	if len(text) > 0 && text[0] != '{' { // adopted events have "marker number\n" in front of them
		line, rest, _ := bytes.Cut(text, []byte("\n"))
		marker, number, _ := bytes.Cut(line, []byte(" "))
		n, err := strconv.ParseUint(string(number), 10, 64)
		if err != nil {
			return a, fmt.Errorf("announcement on channel %q: %w", channel, err)
		}
		a.Marker, a.Number, text = string(marker), n, rest
	}
	a.Events = make([]Event, 0, 1+bytes.Count(text, []byte("\n")))
	for more := true; more; {
		var line []byte
		line, text, more = bytes.Cut(text, []byte("\n"))
		e, err := parseEvent(channel, line)
		if err != nil {
			return a, err
		}
		if more || len(a.Events) > 0 {
			e.Data = bytes.Clone(e.Data)
		}
		a.Events = append(a.Events, e)
	}
	return a, nil
}

// MaxAnnouncement returns the greatest length of an announcement in bytes.
func (s *Store) MaxAnnouncement() int {
	// A payload that is not JSON becomes a JSON string, six times as long at worst, among some fields.
	return max(stepBytes, 8*s.cfg.MaxBodyBytes+4096) + announcementHead
}

// Notice says that a raw message is stored or rejected, and so are those before it that have its channel and its marker.
type Notice struct {
	Channel string
	Marker  string
	Number  uint64
}

// ParseNotice reads what Redis publishes on [Names.Adopted]: "marker number channel". A channel is any text, because
// raw messages to names that no channel may have are rejected, which is a notice too.
func ParseNotice(payload []byte) (Notice, error) {
	marker, rest, _ := bytes.Cut(payload, []byte(" "))
	number, channel, _ := bytes.Cut(rest, []byte(" "))
	n, err := strconv.ParseUint(string(number), 10, 64)
	if err != nil {
		return Notice{}, fmt.Errorf("notice of adopted messages: %w", err)
	}
	return Notice{Channel: string(channel), Marker: string(marker), Number: n}, nil
}
