package gateway

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"

	"sluice/store"
)

// This file is the only one that knows what a frame of an event stream looks like: WHATWG HTML, section 9.2.6.
//
// Nothing in an event can begin a field or a frame of its own: channel and type have no character that could end a
// line (package store hands out no others), and data is written line by line.

const heartbeatFrame = ": heartbeat\n\n"

// plainEncoder is for streams of one channel: a frame's data is the event's data. It implements pubsub.Encoder.
type plainEncoder struct{}

// Event encodes an event. The events of a channel with a shape of its own go to onmessage; those of a general channel
// have their type as the event field. The id of a channel's final event says so (see store.EndMark).
func (plainEncoder) Event(dst, id []byte, e store.Event) []byte {
	dst = append(append(dst, "id: "...), id...)
	if e.Final {
		dst = append(dst, store.EndMark...)
	}
	dst = append(dst, '\n')
	if e.Type != "" && !store.Typed(e.Channel) {
		dst = append(append(append(dst, "event: "...), e.Type...), '\n')
	}
	return append(appendData(dst, e.Data), '\n')
}

// Gap encodes a gap notice.
func (plainEncoder) Gap(dst, id []byte, channel string, reason store.Reason) []byte {
	return appendGap(dst, id, channel, reason)
}

// Position encodes a frame without data: EventSource takes the id and dispatches nothing (WHATWG HTML 9.2.6, "dispatch
// the event", steps 1 and 2).
func (plainEncoder) Position(dst, id []byte) []byte { return appendPosition(dst, id) }

// envelopeEncoder is for streams of several channels: a frame's data says which channel it is of.
type envelopeEncoder struct{}

// Event encodes an event as {"channel","id","type","time","data"}.
func (envelopeEncoder) Event(dst, id []byte, e store.Event) []byte {
	dst = append(append(dst, "id: "...), id...)
	dst = append(dst, '\n')
	if oneLine(e.Data) {
		return append(appendEnvelope(append(dst, "data: "...), e), "\n\n"...)
	}
	return append(appendData(dst, appendEnvelope(nil, e)), '\n')
}

// Gap encodes a gap notice.
func (envelopeEncoder) Gap(dst, id []byte, channel string, reason store.Reason) []byte {
	return appendGap(dst, id, channel, reason)
}

// Position encodes a frame without data.
func (envelopeEncoder) Position(dst, id []byte) []byte { return appendPosition(dst, id) }

// appendEnvelope appends an event as JSON. Channel and type consist of characters that need no escaping.
func appendEnvelope(dst []byte, e store.Event) []byte {
	dst = append(append(dst, `{"channel":"`...), e.Channel...)
	dst = e.Position.Append(append(dst, `","id":"`...))
	dst = append(append(dst, `","type":"`...), e.Type...)
	dst = strconv.AppendInt(append(dst, `","time":`...), e.Time, 10)
	return append(append(append(dst, `,"data":`...), e.Data...), '}')
}

func appendGap(dst, id []byte, channel string, reason store.Reason) []byte {
	if id != nil {
		dst = append(append(append(dst, "id: "...), id...), '\n')
	}
	dst = append(append(dst, "event: gap\ndata: {\"channel\":\""...), channel...)
	return append(append(append(dst, `","reason":"`...), reason...), "\"}\n\n"...)
}

func appendPosition(dst, id []byte) []byte {
	return append(append(append(dst, "id: "...), id...), "\n\n"...)
}

// appendData appends the data field, a line for each line of data.
func appendData(dst, data []byte) []byte {
	if oneLine(data) {
		return append(append(append(dst, "data: "...), data...), '\n')
	}
	data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
	data = bytes.ReplaceAll(data, []byte("\r"), []byte("\n"))
	for line := range bytes.SplitSeq(data, []byte("\n")) {
		dst = append(append(append(dst, "data: "...), line...), '\n')
	}
	return dst
}

// oneLine reports whether data has no line end. Stored data is compact JSON and has none, unless somebody else wrote it
// into Redis.
func oneLine(data []byte) bool {
	return bytes.IndexByte(data, '\n') < 0 && bytes.IndexByte(data, '\r') < 0
}

// appendRetry appends the reconnection time, as a field of the frame that follows or, with end, a frame of its own.
func appendRetry(dst []byte, retry time.Duration, end bool) []byte {
	dst = strconv.AppendInt(append(dst, "retry: "...), retry.Milliseconds(), 10)
	dst = append(dst, '\n')
	if end {
		dst = append(dst, '\n')
	}
	return dst
}

// jsonFrame encodes a value that always marshals as a frame without an id.
func jsonFrame(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic("gateway: " + err.Error()) // a struct of ours that cannot be JSON is a mistake in this package
	}
	return append(appendData(nil, data), '\n')
}
