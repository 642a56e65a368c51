package store

import (
	"bytes"
	"fmt"
	"strconv"
)

// Announcement is what Redis publishes on a channel's [LiveChannel] when it has stored an event.
type Announcement struct {
	Event Event
	// Marker and Number are the name of the raw message that the event was made from. An event that was published by a
	// POST has the empty marker.
	Marker string
	Number uint64
}

// ParseAnnouncement reads an announcement. The event's data is a part of payload, which must not be changed afterwards.
func ParseAnnouncement(channel string, payload []byte) (Announcement, error) {
	var a Announcement
	text := payload
	if len(text) > 0 && text[0] != '{' { // an adopted event has "marker number\n" in front of it
		line, rest, _ := bytes.Cut(text, []byte("\n"))
		marker, number, _ := bytes.Cut(line, []byte(" "))
		n, err := strconv.ParseUint(string(number), 10, 64)
		if err != nil {
			return a, fmt.Errorf("announcement on channel %q: %w", channel, err)
		}
		a.Marker, a.Number, text = string(marker), n, rest
	}
	var err error
	a.Event, err = parseEvent(channel, text)
	return a, err
}

// Notice says that a raw message is stored or rejected, and so are those before it that have its channel and its marker.
type Notice struct {
	Channel string
	Marker  string
	Number  uint64
}

// ParseNotice reads what Redis publishes on [AdoptedChannel]: "marker number channel". A channel is any text, because
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
