package wire

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"

	"sluice/store"
	"sluice/store/kind"
)

// Heartbeat is a line that keeps proxies from closing a stream on which nothing happens. It is a comment without an empty
// line behind it: an empty line would end a block without data, and some clients hand such a block to their user.
const Heartbeat = ":\n"

// Names of events that are the gateway's own. Package kind reserves them, so that no publisher can use them as a type.
const (
	gapEvent      = "gap"
	positionEvent = "position"
)

// Expired is the frame after which a stream is broken off because its client's session has ended. It has no id, so the client
// comes back with the last one it got. Its data is that of a refusal.
const Expired = "event: expired\n" +
	"data: {\"error\":\"The session has ended: a valid credential is needed\",\"code\":\"expired\"}\n\n"

// Revoked is the frame after which a stream ends for good because its client's credential was revoked, or
// because a newer stream has its ticket.
const Revoked = "event: revoked\n" +
	"data: {\"error\":\"The credential was revoked, or its ticket is used by a newer stream\",\"code\":\"revoked\"}\n\n"

// encoder is what the encoders have in common.
type encoder struct{}

// ID encodes the id of an event as a line. It is the first line of the event's block.
func (encoder) ID(dst, id []byte) []byte {
	return append(append(append(dst, "id: "...), id...), '\n')
}

// Gap encodes a gap notice.
func (encoder) Gap(dst []byte, channel string, reason store.Reason) []byte {
	dst = append(append(dst, "event: "+gapEvent+"\ndata: {\"channel\":\""...), channel...)
	return append(append(append(dst, `","reason":"`...), reason...), "\"}\n\n"...)
}

// Position encodes a named event that carries nothing but its id, also as data: {"id"}. A page's onmessage does not hear it
// (WHATWG HTML 9.2.6, "dispatch the event"), and EventSource resumes from it.
func (e encoder) Position(dst, id []byte) []byte {
	dst = append(append(e.ID(dst, id), "event: "+positionEvent+"\ndata: {\"id\":\""...), id...)
	return append(dst, "\"}\n\n"...)
}

// Plain encodes the events of a stream that follows one channel: the data of the frame is the data of the event. It
// implements pubsub.Encoder. The zero value is ready for use.
type Plain struct{ encoder }

// Event encodes an event. The events of a channel with a shape of its own have no event field, so that a browser hands
// them to onmessage; those of a general channel have their type as the event field.
func (Plain) Event(dst []byte, e store.Event) []byte {
	if e.Type != "" && kind.Of(e.Channel).EventByType {
		dst = append(append(append(dst, "event: "...), e.Type...), '\n')
	}
	return append(appendData(dst, e.Data), '\n')
}

// Envelope encodes the events of a stream that follows several channels: the data of the frame is the event inside a JSON
// object that names its channel. It implements pubsub.Encoder. The zero value is ready for use.
type Envelope struct{ encoder }

// Event encodes an event as {"channel","id","type","time","data"}.
func (Envelope) Event(dst []byte, e store.Event) []byte {
	if oneLine(e.Data) {
		return append(AppendEnvelope(append(dst, "data: "...), e), "\n\n"...)
	}
	return append(appendData(dst, AppendEnvelope(nil, e)), '\n')
}

// AppendEnvelope appends an event as JSON: {"channel","id","type","time","data"}. The names of channels and types have no
// character that JSON would escape.
func AppendEnvelope(dst []byte, e store.Event) []byte {
	dst = append(append(dst, `{"channel":"`...), e.Channel...)
	dst = e.Position.Append(append(dst, `","id":"`...))
	dst = append(append(dst, `","type":"`...), e.Type...)
	dst = strconv.AppendInt(append(dst, `","time":`...), e.Time, 10)
	return append(append(append(dst, `,"data":`...), e.Data...), '}')
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

// oneLine reports whether data has no line end. Stored data is compact JSON and has none, unless a program other than the
// gateway wrote it into Redis.
func oneLine(data []byte) bool {
	return bytes.IndexByte(data, '\n') < 0 && bytes.IndexByte(data, '\r') < 0
}

// AppendRetry appends the reconnection time as a line. The client waits for that long after the connection has ended, in
// milliseconds (WHATWG HTML 9.2.6). The line takes effect when it is read: it needs no empty line, and is a part of the block
// that follows, if one does.
func AppendRetry(dst []byte, retry time.Duration) []byte {
	dst = strconv.AppendInt(append(dst, "retry: "...), retry.Milliseconds(), 10)
	return append(dst, '\n')
}

// AppendComment appends a line that clients ignore, for people who read the stream with curl. text has one line.
func AppendComment(dst []byte, text string) []byte {
	return append(append(append(dst, ": "...), text...), '\n')
}

// JSON encodes v as a frame without an id. It panics if v cannot be encoded, because that is a mistake of the caller.
func JSON(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic("wire: " + err.Error())
	}
	return append(appendData(nil, data), '\n')
}
