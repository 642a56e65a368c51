package writer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"sluice/gateway/wire"
	"sluice/pubsub"
)

// Config says how streams are written.
type Config struct {
	Heartbeat time.Duration        // silence after which a stream gets a heartbeat
	Retry     func() time.Duration // returns the reconnection time for one client; called from several goroutines
	Stall     time.Duration        // how long a client may take nothing before its stream is ended; 0: 30 s
	// Revoked reports whether a stream must end because its client may not read any more. It is asked once for each stream that
	// begins, and for each again after Swept's channel was closed or Loops.Sweep was called. It is called from several
	// goroutines and must not block. nil: no stream must end.
	Revoked func(Source) bool
	// Swept returns a channel that is closed when Carry is to ask Revoked again; nil: never.
	Swept func() <-chan struct{}
}

func (c Config) revoked(src Source) bool { return c.Revoked != nil && c.Revoked(src) }

func (c Config) swept() <-chan struct{} {
	if c.Swept == nil {
		return nil
	}
	return c.Swept()
}

// withDefaults returns the settings with the zero values replaced.
func (c Config) withDefaults() Config {
	if c.Stall == 0 {
		c.Stall = stallTime
	}
	return c
}

const (
	stallTime   = 30 * time.Second
	kernelExtra = 5 * time.Second  // by which the kernel waits longer than Config.Stall
	endDelay    = time.Second      // between the last frame of a source and the end of the connection
	waitTime    = 10 * time.Second // for what a stream needs before its next part can be made
	sendBuffer  = 128 << 10        // bytes that the kernel keeps for a client; left to itself, it keeps megabytes
)

// Source is what a stream has to say. *pubsub.Stream is one, and its methods say what each of these does. The writer calls
// them from one goroutine at a time.
type Source interface {
	Next(a *pubsub.Answer) (b []byte, same bool, err error)
	Idle() []byte
	Advance() (wait func(context.Context) error)
}

// Stream is one stream in the hands of a writer.
type Stream struct {
	Source Source
	Feeds  []*pubsub.Feed // wake the writer when the source may have something new; at least one
	// Expires is when the stream is ended although its source goes on, to the second. The zero value stands for never.
	Expires time.Time
	Done    func(reason error) // is called once, when the stream is over; it must not block
}

var (
	// ErrDraining ends a stream because the server stops.
	ErrDraining = errors.New("server is stopping")
	// ErrExpired ends a stream at Stream.Expires. The client gets wire.Expired first.
	ErrExpired = errors.New("session has ended")
	// ErrRevoked ends a stream because of Config.Revoked. The client gets wire.Revoked first.
	ErrRevoked = errors.New("credential was revoked")
	// ErrUnavailable ends a stream whose client has missed something that cannot be read now.
	ErrUnavailable = errors.New("what comes next cannot be read")
	// ErrClientLeft ends a stream whose client has closed the connection.
	ErrClientLeft = errors.New("client left")
)

// idle returns what a stream gets that has had nothing for a while.
func idle(src Source) []byte {
	if b := src.Idle(); len(b) > 0 {
		return b
	}
	return []byte(wire.Heartbeat)
}

// await waits until the next part of a stream can be made. wait is what Source.Advance returned.
func await(ctx context.Context, wait func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, waitTime)
	defer cancel()
	if err := wait(ctx); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return nil
}

// drainDelay returns when one stream is ended after draining began. Streams are spread over the first three quarters of the
// drain time, so that their clients do not arrive at the other replicas all at once. The rest is for the last ones.
func drainDelay(drainTime time.Duration) time.Duration { return rand.N(drainTime*3/4 + 1) }
