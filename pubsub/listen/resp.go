package listen

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// maxNameBytes bounds what is kept of a name in a push message. No name that this package subscribes to is longer.
const maxNameBytes = 1024

// respReader reads the part of RESP3 that a subscribing connection meets
// (https://redis.io/docs/latest/develop/reference/protocol-spec/). It is used by one goroutine.
type respReader struct {
	r        *bufio.Reader
	maxBytes int // of a payload
}

// messageKind tells what next returned.
type messageKind int

const (
	otherReply     messageKind = iota // a reply of no interest: OK, QUEUED, PONG
	channelMessage                    // a message to a subscribed channel
	patternMessage                    // a message to a channel that matches a subscribed pattern
	integerReply                      // the reply to PUBLISH, or a number in the one to PUBSUB NUMSUB
	arrayReply                        // the header of an array, such as the reply to EXEC or PUBSUB NUMSUB
	errorReply                        // the reply to any command that failed
	subscribed                        // a subscription to a channel or a pattern is confirmed
	unsubscribed                      // the end of a subscription is confirmed
)

// message is one thing that Redis sent.
type message struct {
	kind    messageKind
	channel string // of a message; the channel or pattern of a confirmation
	pattern string // the subscription that a patternMessage matches
	payload []byte // of a message; it is not used again by the reader
	integer int64  // of an integerReply
	text    string // of an errorReply
}

var errProtocol = errors.New("not a RESP reply")

// next returns the next message. Of an array it returns the header and then the elements, one by one: no caller needs to
// know where an array ends.
func (r *respReader) next() (message, error) {
	for {
		line, err := r.line()
		if err != nil {
			return message{}, err
		}
		switch line[0] {
		case '>':
			m, err := r.push(line)
			if err != nil || m.kind != otherReply {
				return m, err
			}
		case ':':
			n, err := strconv.ParseInt(string(line[1:]), 10, 64)
			return message{kind: integerReply, integer: n}, err
		case '-':
			return message{kind: errorReply, text: string(line[1:])}, nil
		case '+':
			return message{kind: otherReply}, nil
		case '$': // an element of an array, such as the reply of miniredis to a PING
			n, err := strconv.Atoi(string(line[1:]))
			if err != nil {
				return message{}, fmt.Errorf("%w: %.40q", errProtocol, line)
			}
			if _, err := r.r.Discard(max(n+len("\r\n"), 0)); err != nil {
				return message{}, err
			}
			return message{kind: otherReply}, nil
		case '*':
			return message{kind: arrayReply}, nil
		case '_':
		default:
			return message{}, fmt.Errorf("%w: %.40q", errProtocol, line)
		}
	}
}

// push reads the elements of a push message.
func (r *respReader) push(header []byte) (message, error) {
	n, err := strconv.Atoi(string(header[1:]))
	if err != nil || n < 1 {
		return message{}, fmt.Errorf("%w: %.40q", errProtocol, header)
	}
	var elements [4][]byte
	for i := range n {
		limit := maxNameBytes
		if i == n-1 {
			limit = r.maxBytes // the last element is the payload
		}
		b, err := r.element(limit)
		if err != nil {
			return message{}, err
		}
		if i < len(elements) {
			elements[i] = b
		}
	}
	switch kind := string(elements[0]); {
	case kind == "message" && n == 3:
		return message{kind: channelMessage, channel: string(elements[1]), payload: elements[2]}, nil
	case kind == "pmessage" && n == 4:
		return message{
			kind: patternMessage, pattern: string(elements[1]), channel: string(elements[2]), payload: elements[3],
		}, nil
	case (kind == "subscribe" || kind == "psubscribe") && n == 3:
		return message{kind: subscribed, channel: string(elements[1])}, nil
	case (kind == "unsubscribe" || kind == "punsubscribe") && n == 3:
		return message{kind: unsubscribed, channel: string(elements[1])}, nil
	default:
		return message{}, nil // pong, invalidate, …
	}
}

// element reads a bulk string or a number. It keeps at most limit+1 bytes of a string: the extra byte shows that the
// string was longer.
func (r *respReader) element(limit int) ([]byte, error) {
	line, err := r.line()
	if err != nil {
		return nil, err
	}
	switch line[0] {
	case ':', '+', '_':
		return nil, nil
	case '$':
	default:
		return nil, fmt.Errorf("%w: %.40q", errProtocol, line)
	}
	size, err := strconv.Atoi(string(line[1:]))
	if err != nil || size < -1 {
		return nil, fmt.Errorf("%w: %.40q", errProtocol, line)
	}
	if size == -1 {
		return nil, nil
	}
	kept := make([]byte, min(size, limit+1))
	if _, err := io.ReadFull(r.r, kept); err != nil {
		return nil, err
	}
	_, err = r.r.Discard(size - len(kept) + len("\r\n"))
	return kept, err
}

// line reads a line without its end. It is valid until the next read.
func (r *respReader) line() ([]byte, error) {
	line, err := r.r.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	line = bytes.TrimRight(line, "\r\n")
	if len(line) == 0 {
		return nil, errProtocol
	}
	return line, nil
}

// skipReply reads one whole reply of any type. It returns an error reply as an error.
func (r *respReader) skipReply() error {
	line, err := r.line()
	if err != nil {
		return err
	}
	n, _ := strconv.Atoi(string(line[1:]))
	switch line[0] {
	case '-':
		return errors.New(string(line[1:]))
	case '$':
		_, err = r.r.Discard(max(n+len("\r\n"), 0))
		return err
	case '%':
		n *= 2
		fallthrough
	case '*', '~', '>':
		for range n {
			if err := r.skipReply(); err != nil {
				return err
			}
		}
	}
	return nil
}
