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

// sink is told what a stream carries.
type sink interface {
	event(n int, at int64)
	unreadable() // an event whose data is none of ours
	gap()        // a gap notice
}

// phase is where in a response the next byte belongs.
type phase uint8

const (
	inHead     phase = iota
	inSize           // the line with a chunk's size
	inChunk          // a chunk's bytes
	inChunkEnd       // the line end behind a chunk
	inBody           // a body that ends with its connection
	ended            // a chunked body's end has come
)

// response takes one HTTP/1.1 response apart into the events of its stream, whatever the pieces it arrives in. It keeps
// bytes only of a line that is split between two reads. Line ends are LF or CR LF; a bare CR, which WHATWG HTML
// 9.2.6 also allows, no server here sends.
type response struct {
	phase   phase
	chunked bool
	typed   bool   // it said it is an event stream
	status  int    // 0 until the first line has come
	left    int    // bytes of the chunk to come
	carry   []byte // beginning of a line whose end has not come; nil mostly

	frame frame // under way
	newID eventID
	id    eventID // last event id: what a client that comes back sends
}

// frame is an event under way.
type frame struct {
	lines int // of data
	gap   bool
	ours  bool
	n     int
	at    int64
}

// eventID is a short text without memory of its own.
type eventID struct {
	text [40]byte
	size uint8
}

func (e *eventID) set(text []byte) bool {
	e.size = uint8(copy(e.text[:], text))
	return len(text) <= len(e.text)
}

func (e *eventID) bytes() []byte { return e.text[:e.size] }

// restart makes the response ready for another connection. Only the last event id stays.
func (r *response) restart() { *r = response{id: r.id, newID: r.id} }

// opened reports whether a good head has come.
func (r *response) opened() bool { return r.phase != inHead }

// feed takes the next bytes. It returns an error if they are no event stream.
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

// line returns the next line without its end. If its end has not come, what there is is kept and whole is false.
func (r *response) line(b []byte) (line, rest []byte, whole bool) {
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		r.carry = append(r.carry, b...)
		return nil, nil, false
	}
	line, rest = b[:i], b[i+1:]
	if r.carry != nil {
		line = append(r.carry, line...)
		r.carry = nil
	}
	return bytes.TrimSuffix(line, []byte{'\r'}), rest, true
}

// headLine takes a line of the response's head; the empty one ends it.
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

// sizeDigit takes a character of a chunk's size line.
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

// body takes bytes of the event stream itself.
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

// field takes a line of a frame: WHATWG HTML 9.2.6, as far as the servers here use it.
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
		r.frame.gap = bytes.Equal(value, []byte("gap"))
	}
	return nil
}

// dispatch ends a frame. Its id counts only now, and also if it has no data.
func (r *response) dispatch(out sink) {
	r.id = r.newID
	switch f := r.frame; {
	case f.lines == 0:
	case f.gap:
		out.gap()
	case f.ours && f.lines == 1:
		out.event(f.n, f.at)
	default:
		out.unreadable()
	}
	r.frame = frame{}
}
