// Package eventsource reads event streams as a browser does.
package eventsource

import (
	"bytes"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Parser reads an event stream as WHATWG HTML 9.2.6 describes it. It works byte by byte: an event must not wait until
// the line feed behind a carriage return has arrived. It shares no code with the gateway, so that a mistake there
// cannot hide itself.
type Parser struct {
	Dispatch func(kind, data, id string) // is called for each event that has data
	Position func(id string)             // is called at each blank line with the last event id
	Empty    func()                      // is called for each block without data
	Retry    func(time.Duration)         // is called for each valid retry field

	line      []byte // the current line so far
	started   bool   // the first line, which may begin with a byte order mark, has ended
	afterCR   bool   // the last byte was a carriage return, so a line feed belongs to it
	data      []byte
	hasData   bool
	eventType string
	id        string
}

// Resume sets the last event id that the client had before this stream.
func (p *Parser) Resume(id string) { p.id = id }

var byteOrderMark = []byte("\uFEFF")

// Write takes the next bytes of the stream.
func (p *Parser) Write(chunk []byte) {
	for _, b := range chunk {
		if p.afterCR {
			p.afterCR = false
			if b == '\n' {
				continue
			}
		}
		switch b {
		case '\r', '\n':
			p.afterCR = b == '\r'
			p.endLine()
		default:
			p.line = append(p.line, b)
		}
	}
}

func (p *Parser) endLine() {
	line := p.line
	p.line = p.line[:0]
	if !p.started {
		p.started = true
		line = bytes.TrimPrefix(line, byteOrderMark)
	}
	if len(line) == 0 {
		p.blank()
		return
	}
	name, value, _ := bytes.Cut(line, []byte(":"))
	value = bytes.TrimPrefix(value, []byte(" "))
	switch string(name) { // a comment is a line with an empty name
	case "data":
		p.data = append(append(p.data, value...), '\n')
		p.hasData = true
	case "event":
		p.eventType = text(value)
	case "id":
		if bytes.IndexByte(value, 0) < 0 {
			p.id = text(value)
		}
	case "retry":
		if n, err := strconv.ParseUint(string(value), 10, 31); err == nil && value[0] != '+' {
			p.Retry(time.Duration(n) * time.Millisecond)
		}
	}
}

// blank ends an event. Its id becomes the last event id even if the event has no data. What follows the last blank line
// of a broken stream is never dispatched, as the standard says.
func (p *Parser) blank() {
	p.Position(p.id)
	if p.hasData {
		p.Dispatch(p.eventType, text(p.data[:len(p.data)-1]), p.id)
	} else {
		p.Empty()
	}
	p.data, p.hasData, p.eventType = p.data[:0], false, ""
}

// text decodes UTF-8. Invalid bytes become U+FFFD, as the standard says.
func text(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	return strings.ToValidUTF8(string(b), "\uFFFD")
}
