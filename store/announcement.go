package store

import (
	"bytes"
	"fmt"
	"strconv"
)

// Announcement is what a replica hears of a new event.
type Announcement struct {
	Event  Event
	Marker string // of the raw message it was adopted from; empty for an appended event
	Number uint64 // of the raw message since the marker
}

// ParseAnnouncement reads an announcement from a channel's live channel. The event's data is a part of payload, which
// must not be changed afterwards.
func ParseAnnouncement(channel string, payload []byte) (Announcement, error) {
	var a Announcement
	text := payload
	if len(text) > 0 && text[0] != '{' { // "marker number\n" is in front of an adopted one
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
