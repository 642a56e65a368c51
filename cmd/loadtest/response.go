//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// longestLine bounds what a client keeps of a line whose end has not come yet.
const longestLine = 2 * mostBytes

// sink receives what a stream carries.
type sink interface {
	event(n int, at int64) // event n, published at this time
	unreadable()           // an event whose data is not a payload of this command
	gap()                  // a gap event
}

// phase is the part of a response that the next byte belongs to.
type phase uint8

const (
	inHead     phase = iota
	inSize           // the line with the size of a chunk
	inChunk          // the bytes of a chunk
	inChunkEnd       // the end of line after a chunk
	inBody           // a body that ends with its connection
	ended            // after the last chunk
)

// response parses one HTTP/1.1 response and the event stream in it, in whatever pieces it arrives. It copies bytes only
// if a line is split between two reads: a general parser would cost more than the servers that are measured. So it
// knows only what these servers send. Lines end with LF or CR LF, but not with CR alone, which WHATWG HTML 9.2.6 also
// allows.
type response struct {
	phase   phase
	chunked bool
	typed   bool   // the head has the content type of an event stream
	status  int    // 0 until the first line has come
	left    int    // bytes of the chunk that have not come yet
	carry   []byte // beginning of a line whose end has not come; mostly nil

	frame frame   // the event that is being read
	newID eventID // its id, if it has one
	id    eventID // last event id, which a client sends when it reconnects
}

// frame is an event that is being read.
type frame struct {
	lines int  // of data
	gap   bool // its type is gap
	place bool // its type is position: it only tells the client its place
	ours  bool // its data is a payload of this command, with n and at
	n     int
	at    int64
}

// longestID bounds an event id. That of a stream of 50 channels has about 1,000 characters.
const longestID = 2000

// eventID is a text that needs no allocation if it is short, as those of streams of one or two channels are.
type eventID struct {
	text [40]byte
	size uint8
	long []byte // a text that is longer; nil: there is none
}

// set reports whether the text fits.
func (e *eventID) set(text []byte) bool {
	e.long = nil
	if len(text) > len(e.text) {
		e.long = bytes.Clone(text)
	}
	e.size = uint8(copy(e.text[:], text))
	return len(text) <= longestID
}

func (e *eventID) bytes() []byte {
	if e.long != nil {
		return e.long
	}
	return e.text[:e.size]
}

// restart prepares for the response on another connection. Only the last event id is kept.
func (r *response) restart() { *r = response{id: r.id, newID: r.id} }

// opened reports whether the head has come and is that of an event stream.
func (r *response) opened() bool { return r.phase != inHead }

// feed parses the next bytes. It returns an error if they do not belong to an event stream.
func (r *response) feed(b []byte, out sink) error {
	for len(b) > 0 {
		switch r.phase {
		case inHead:
			line, rest, whole := r.line(b)
			b = rest
			if whole {
				if err := r.headLine(line); err != nil {
					return err
				}
			}
		case inSize:
			if err := r.sizeDigit(b[0]); err != nil {
				return err
			}
			b = b[1:]
		case inChunk:
			n := min(r.left, len(b))
			if err := r.body(b[:n], out); err != nil {
				return err
			}
			b = b[n:]
			if r.left -= n; r.left == 0 {
				r.phase = inChunkEnd
			}
		case inChunkEnd:
			if b[0] == '\n' {
				r.phase = inSize
			}
			b = b[1:]
		case inBody:
			if err := r.body(b, out); err != nil {
				return err
			}
			b = nil
		case ended:
			return nil
		}
		if len(r.carry) > longestLine {
			return errors.New("a line is too long")
		}
	}
	return nil
}

// line returns the next line without its end. If its end has not come, whole is false, and the bytes are kept for the
// next call.
func (r *response) line(b []byte) (line, rest []byte, whole bool) {
	line, rest, whole = bytes.Cut(b, []byte{'\n'})
	if !whole {
		r.carry = append(r.carry, b...)
		return nil, nil, false
	}
	if r.carry != nil {
		line = append(r.carry, line...)
		r.carry = nil
	}
	return bytes.TrimSuffix(line, []byte{'\r'}), rest, true
}

// headLine parses a line of the response's head. An empty line ends the head.
func (r *response) headLine(line []byte) error {
	if r.status == 0 {
		_, text, _ := bytes.Cut(line, []byte{' '})
		text, _, _ = bytes.Cut(text, []byte{' '})
		status, err := strconv.Atoi(string(text))
		if err != nil || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
			return fmt.Errorf("not an HTTP/1.1 response: %.60q", line)
		}
		r.status = status
		return nil
	}
	if len(line) > 0 {
		name, value, _ := bytes.Cut(line, []byte{':'})
		value = bytes.ToLower(bytes.TrimSpace(value))
		switch {
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			r.chunked = bytes.Equal(value, []byte("chunked"))
		case bytes.EqualFold(name, []byte("Content-Type")):
			r.typed = bytes.HasPrefix(value, []byte("text/event-stream"))
		}
		return nil
	}
	if r.status != 200 || !r.typed {
		return fmt.Errorf("refused with status %d", r.status)
	}
	r.phase = inBody
	if r.chunked {
		r.phase = inSize
	}
	return nil
}

// sizeDigit parses a character of the line with the size of a chunk.
func (r *response) sizeDigit(c byte) error {
	switch {
	case c >= '0' && c <= '9':
		r.left = r.left<<4 | int(c-'0')
	case c >= 'a' && c <= 'f':
		r.left = r.left<<4 | int(c-'a'+10)
	case c >= 'A' && c <= 'F':
		r.left = r.left<<4 | int(c-'A'+10)
	case c == '\r':
	case c == '\n' && r.left == 0:
		r.phase = ended
	case c == '\n':
		r.phase = inChunk
	default:
		return fmt.Errorf("not a chunk size: %q", c)
	}
	if r.left > 1<<30 {
		return errors.New("a chunk is too large")
	}
	return nil
}

// body parses bytes of the event stream.
func (r *response) body(b []byte, out sink) error {
	for len(b) > 0 {
		line, rest, whole := r.line(b)
		b = rest
		if !whole {
			break
		}
		if err := r.field(line, out); err != nil {
			return err
		}
	}
	return nil
}

// field parses a line of a frame as WHATWG HTML 9.2.6 says, as far as the servers here need it.
func (r *response) field(line []byte, out sink) error {
	if len(line) == 0 {
		r.dispatch(out)
		return nil
	}
	name, value, _ := bytes.Cut(line, []byte{':'})
	value = bytes.TrimPrefix(value, []byte{' '})
	switch string(name) {
	case "data":
		r.frame.lines++
		if r.frame.lines == 1 {
			r.frame.n, r.frame.at, r.frame.ours = parsePayload(value)
		}
	case "id":
		if !r.newID.set(value) {
			return fmt.Errorf("an id is too long: %q", value)
		}
	case "event":
		r.frame.gap, r.frame.place = bytes.Equal(value, []byte("gap")), bytes.Equal(value, []byte("position"))
	}
	return nil
}

// dispatch ends a frame. Only now its id becomes the last event id, also if the frame has no data.
func (r *response) dispatch(out sink) {
	r.id = r.newID
	switch f := r.frame; {
	case f.lines == 0, f.place:
	case f.gap:
		out.gap()
	case f.ours && f.lines == 1:
		out.event(f.n, f.at)
	default:
		out.unreadable()
	}
	r.frame = frame{}
}
