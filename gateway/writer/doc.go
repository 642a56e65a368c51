// Package writer moves the bytes of streams to their connections. What a stream has to say is its [Source]'s business; when
// it is said, how fast a client must take it, and how a stream ends is this package's.
//
// There are two writers, and both pass the same tests:
//
//	Loops  Linux, plain HTTP/1.1   a few goroutines for all streams, epoll, raw sockets
//	Carry  everything else         one goroutine for each stream: HTTP/2, TLS, other systems
//
// The package knows neither requests nor events: its caller takes a connection over from net/http and hands it on.
//
// # How a stream ends
//
//	reason                  when
//	pubsub.ErrEnded         the source has ended; the connection is closed a second later
//	pubsub.ErrTooSlow       the client took nothing for Config.Stall, or the source fell off its feed
//	ErrUnavailable          what the client has missed cannot be read now
//	ErrExpired              Stream.Expires has come
//	ErrRevoked              Config.Revoked says so
//	ErrDraining             Loops.Drain or Loops.Close, or the drain channel of Carry
//	ErrClientLeft, others   the client closed the connection, or the connection broke
//
// # Design
//
// A stream in a loop has no goroutine, no timer and no buffer. It is a socket, a source with a cursor, and a place in a
// timing wheel. The kernel's send path is nearly the whole cost of a delivery, so a socket gets at most one write for each
// time that its feed wakes the loop, with everything in it that is due. Sockets at the same place share one answer of the
// source.
//
// Between two writes a socket is always at the end of a frame, or full: then it keeps what the kernel did not take, and goes on
// with exactly that. So a heartbeat and a reconnection time, which go only to sockets that are not full, never land in the
// middle of a frame.
//
// A response is a sequence of chunks (RFC 9112, section 7.1), one for each write. The last chunk, a clean end, means that the
// stream is over for good; several clients in wide use do not come back after it. So only pubsub.ErrEnded and ErrRevoked have
// one. After every other reason the connection is closed without it, which is what a replica that was killed looks like as
// well.
//
// A stream that expires has no timer and no place in a list for it. The wheel, which looks at each stream now and then for
// its heartbeat, looks at it in time, too. With the heartbeat's time in milliseconds a socket takes the 96 bytes it took before.
//
// Who may not read any more is asked for all streams of a loop at once, 1,000 of them between two turns of others, and not kept
// in an index: revocations are rare, and streams are many.
//
// One clock tells whether a client takes anything: Config.Stall, in both writers. The kernel's own timeout for
// unacknowledged data (TCP_USER_TIMEOUT) is a little longer, so that a client that reads nothing is counted as too slow, and
// only one that is gone without a word as gone. All times are read from the monotonic clock: setting the machine's clock
// neither delays a heartbeat nor ends a stream.
package writer
