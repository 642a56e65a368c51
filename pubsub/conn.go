package pubsub

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// conn is a connection to Redis that subscribes. One goroutine may read from it while another one writes.
//
// It speaks the little of RESP3 that takes (https://redis.io/docs/latest/develop/reference/protocol-spec/), because
// redis.PubSub cannot do two things the delivery promise needs: put a SUBSCRIBE and a PUBLISH into one transaction
// (see doc.go, "Markers"), and leave it to us when to reconnect.
type conn struct {
	net.Conn
	r        *bufio.Reader
	maxBytes int // of a payload; what is longer is cut off

	// canPublish reports whether the server takes PUBLISH on a connection that has subscribed. Redis does, in RESP3;
	// miniredis does not.
	canPublish bool
}

// Timeouts of one step towards Redis.
const (
	dialTimeout  = 3 * time.Second
	writeTimeout = 5 * time.Second
)

// dial connects and logs in with the options of an ordinary client, so that addresses, TLS, users and Sentinel are
// go-redis's business. It subscribes to the names given (at least one) before it returns.
func dial(ctx context.Context, o *redis.Options, maxBytes int, names ...string) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	nc, err := o.Dialer(ctx, o.Network, o.Addr)
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: nc, r: bufio.NewReaderSize(nc, 64<<10), maxBytes: maxBytes}
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Now()) }) // cuts a login that hangs
	err = c.login(ctx, o, names)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = nc.Close()
		return nil, err
	}
	return c, nc.SetDeadline(time.Time{})
}

// login says HELLO and subscribes to names.
func (c *conn) login(ctx context.Context, o *redis.Options, names []string) error {
	hello := []string{"HELLO", "3"}
	user, password := o.Username, o.Password
	if o.CredentialsProvider != nil {
		user, password = o.CredentialsProvider()
	}
	if o.CredentialsProviderContext != nil {
		var err error
		if user, password, err = o.CredentialsProviderContext(ctx); err != nil {
			return err
		}
	}
	if password != "" {
		if user == "" {
			user = "default"
		}
		hello = append(hello, "AUTH", user, password)
	}
	if err := c.send(hello); err != nil {
		return err
	}
	if err := c.skipReply(); err != nil {
		return fmt.Errorf("HELLO 3 (Redis 6 or newer is needed): %w", err)
	}
	// Try out whether PUBLISH is allowed here: on our own name, which nobody else listens to.
	if err := c.send(append([]string{"SUBSCRIBE"}, names...), []string{"PUBLISH", names[0], ""}); err != nil {
		return err
	}
	for {
		m, err := c.next()
		if err != nil {
			return err
		}
		switch m.kind {
		case integerReply:
			c.canPublish = true
			return nil
		case errorReply:
			if m.text == "" || bytes.HasPrefix([]byte(m.text), []byte("NOAUTH")) ||
				bytes.HasPrefix([]byte(m.text), []byte("NOPERM")) {
				return errors.New(m.text)
			}
			return nil
		}
	}
}

// send writes commands in one piece.
func (c *conn) send(commands ...[]string) error {
	var b []byte
	for _, args := range commands {
		b = append(b, '*')
		b = strconv.AppendInt(b, int64(len(args)), 10)
		b = append(b, "\r\n"...)
		for _, a := range args {
			b = append(b, '$')
			b = strconv.AppendInt(b, int64(len(a)), 10)
			b = append(b, "\r\n"...)
			b = append(b, a...)
			b = append(b, "\r\n"...)
		}
	}
	if err := c.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	_, err := c.Write(b)
	return err
}

// messageKind tells what next returned.
type messageKind int

const (
	otherReply     messageKind = iota // a reply of no interest: OK, QUEUED, PONG
	channelMessage                    // to a channel we subscribed to
	patternMessage                    // to a channel that matches a pattern we subscribed to
	integerReply                      // to a PUBLISH
	errorReply                        // to anything
	subscribed                        // to channel, or to a pattern
	unsubscribed                      // likewise
)

// message is one thing that Redis sent.
type message struct {
	kind    messageKind
	channel string
	pattern string // of a patternMessage
	payload []byte // the receiver's to keep
	integer int64
	text    string // of an errorReply
}

var errProtocol = errors.New("not a RESP reply")

// next reads until there is something to say. The replies inside an EXEC come one by one: we only ever ask what each
// of them says, never which command it belongs to, so the array around them is passed over.
func (c *conn) next() (message, error) {
	for {
		line, err := c.line()
		if err != nil {
			return message{}, err
		}
		switch line[0] {
		case '>':
			m, err := c.push(line)
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
		case '$': // an element of an array, such as miniredis's answer to a PING
			n, err := strconv.Atoi(string(line[1:]))
			if err != nil {
				return message{}, fmt.Errorf("%w: %.40q", errProtocol, line)
			}
			if _, err := c.r.Discard(max(n+len("\r\n"), 0)); err != nil {
				return message{}, err
			}
			return message{kind: otherReply}, nil
		case '*', '_':
		default:
			return message{}, fmt.Errorf("%w: %.40q", errProtocol, line)
		}
	}
}

// push reads the elements of a push message.
func (c *conn) push(header []byte) (message, error) {
	n, err := strconv.Atoi(string(header[1:]))
	if err != nil || n < 1 {
		return message{}, fmt.Errorf("%w: %.40q", errProtocol, header)
	}
	var elements [4][]byte
	for i := range n {
		limit := 1024
		if i == n-1 {
			limit = c.maxBytes // only the last one is a payload
		}
		b, err := c.element(limit)
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

// element reads a bulk string (at most limit+1 bytes of it: the receiver sees that it was longer) or a number.
func (c *conn) element(limit int) ([]byte, error) {
	line, err := c.line()
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
	if _, err := io.ReadFull(c.r, kept); err != nil {
		return nil, err
	}
	_, err = c.r.Discard(size - len(kept) + len("\r\n"))
	return kept, err
}

// line reads a line without its end. It is valid until the next read.
func (c *conn) line() ([]byte, error) {
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	line = bytes.TrimRight(line, "\r\n")
	if len(line) == 0 {
		return nil, errProtocol
	}
	return line, nil
}

// skipReply reads one whole reply of any type and returns it as an error if it is one.
func (c *conn) skipReply() error {
	line, err := c.line()
	if err != nil {
		return err
	}
	n, _ := strconv.Atoi(string(line[1:]))
	switch line[0] {
	case '-':
		return errors.New(string(line[1:]))
	case '$':
		_, err = c.r.Discard(max(n+len("\r\n"), 0))
		return err
	case '%':
		n *= 2
		fallthrough
	case '*', '~', '>':
		for range n {
			if err := c.skipReply(); err != nil {
				return err
			}
		}
	}
	return nil
}
