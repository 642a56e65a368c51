package listen

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Timeouts of one step towards Redis.
const (
	connectTimeout = 10 * time.Second // connecting; the client's options may set a shorter one
	loginTimeout   = 3 * time.Second  // logging in and the first subscriptions, in one round trip
	writeTimeout   = 5 * time.Second
)

// conn is a connection to Redis that subscribes. One goroutine may read from it while another one writes. The package
// comment says why it is not a redis.PubSub.
type conn struct {
	*socket
	respReader

	// canPublish is true if the server accepts PUBLISH on a connection that has subscribed. Redis does, in RESP3;
	// miniredis does not.
	canPublish bool

	session string // the name of a pub/sub channel to which only this connection is subscribed
}

// newConn returns a connection that keeps at most maxBytes+1 bytes of a payload: the extra byte shows that it was
// longer.
func newConn(nc net.Conn, maxBytes int, now func() time.Duration) *conn {
	s := newSocket(nc, now)
	return &conn{socket: s, respReader: respReader{r: bufio.NewReaderSize(s, 64<<10), maxBytes: maxBytes}}
}

// dial connects and logs in with the options of an ordinary client, so that go-redis handles addresses, TLS, users and
// Sentinel. It subscribes to the given names (at least one) before it returns.
func dial(ctx context.Context, o *redis.Options, maxBytes int, now func() time.Duration, names ...string) (*conn, error) {
	nc, err := connect(ctx, o)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	c := newConn(nc, maxBytes, now)
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = nc.SetDeadline(time.Now()) // ends a login that hangs
		close(interrupted)
	})
	err = c.login(ctx, o, names)
	if !stop() {
		<-interrupted
		if err == nil {
			err = ctx.Err()
		}
	}
	if err != nil {
		_ = nc.Close()
		return nil, err
	}
	return c, nc.SetDeadline(time.Time{})
}

func connect(ctx context.Context, o *redis.Options) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	return o.Dialer(ctx, o.Network, o.Addr)
}

// login switches to RESP3 with HELLO (https://redis.io/docs/latest/commands/hello/), subscribes to names, and finds out
// whether the server accepts PUBLISH on this connection.
func (c *conn) login(ctx context.Context, o *redis.Options, names []string) error {
	hello := []string{"HELLO", "3"}
	user, password, err := credentials(ctx, o)
	if err != nil {
		return err
	}
	if password != "" {
		hello = append(hello, "AUTH", user, password)
	}
	// One write, since Redis may be far away. The attempt to publish goes to our own name, to which nobody else listens.
	err = c.send(hello, append([]string{"SUBSCRIBE"}, names...), []string{"PUBLISH", names[0], ""})
	if err != nil {
		return err
	}
	if err := c.skipReply(); err != nil {
		return fmt.Errorf("HELLO 3 (Redis 6 or newer is needed): %w", err)
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
			if m.text == "" || strings.HasPrefix(m.text, "NOAUTH") || strings.HasPrefix(m.text, "NOPERM") {
				return errors.New(m.text)
			}
			return nil
		}
	}
}

// credentials returns the user and password of an ordinary client's options. An empty password means none.
func credentials(ctx context.Context, o *redis.Options) (user, password string, err error) {
	user, password = o.Username, o.Password
	if o.CredentialsProvider != nil {
		user, password = o.CredentialsProvider()
	}
	if o.CredentialsProviderContext != nil {
		user, password, err = o.CredentialsProviderContext(ctx)
	}
	if user == "" {
		user = "default"
	}
	return user, password, err
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
