// Package eventsource reads event streams as a browser does (WHATWG HTML, section 9.2.6).
package eventsource

import (
	"bytes"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Parser reads an event stream as WHATWG HTML 9.2.6 says, byte by byte, so that nothing waits for a line break
// that is still to come. It is ours on purpose: the program under test must not share it.
type Parser struct {
	Dispatch func(kind, data, id string) // a whole event with data
	Settle   func(id string)             // a blank line: id is now the last event id
	Retry    func(time.Duration)

	line      []byte
	started   bool // past the byte order mark
	afterCR   bool
	data      []byte
	hasData   bool
	eventType string
	id        string // see Resume
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
	switch string(name) { // an empty name is a comment
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

// blank ends an event. The last event id is taken even if there is no data; the type and the data are forgotten
// in any case. What follows the last blank line of a broken stream is never dispatched, as the standard says.
func (p *Parser) blank() {
	p.Settle(p.id)
	if p.hasData {
		p.Dispatch(p.eventType, text(p.data[:len(p.data)-1]), p.id)
	}
	p.data, p.hasData, p.eventType = p.data[:0], false, ""
}

func text(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	return strings.ToValidUTF8(string(b), "\uFFFD")
}
