// Package listen holds a replica's subscriptions in Redis. It keeps one connection that has all of them, whatever
// happens to Redis and the network, and tells a [Receiver] what comes in and when something may have been missed.
//
// It knows names of Redis channels, markers and probes. It does not know events, histories, feeds or streams: package
// pubsub is the Receiver and compares a channel with the store when this package says that it must.
//
// # Model
//
// A [Listener] has one session at a time. A session is the life of one connection: it subscribes to everything that is
// wanted, reads until something breaks, and a new one begins. Four goroutines work on it:
//
//	read    reads the connection, names raw messages, and hands everything over
//	write   subscribes and unsubscribes, in batches
//	watch   sends a PING every second
//	probe   publishes a probe every second, by the ordinary client
//
// The reader reads, and nothing else: announcements go into a [Queue], and others handle them. So it is never behind for
// long, whatever an announcement costs.
//
// A probe is a message of this replica to itself that must arrive on the subscribed connection. So it finds a dead peer, a
// failover that left the old connection open, and a Redis that lost the subscription. While the ordinary client cannot
// publish, only the PING finds out whether the connection is dead. [Listener.Ready] returns an error if a probe was not
// taken, or has not come back in time.
//
// A probe arrives twice. When the reader has it, the connection works. Then it goes through the Queue, behind everything
// that was handed over before. When it comes out, everything that was published before it has been handled
// ([Listener.Fence]).
//
// # Design
//
// A RESP client of its own. redis.PubSub cannot put a SUBSCRIBE and a PUBLISH into one transaction, and it reconnects
// by itself and does not report it. Both matter: marker and subscription go in one transaction (MULTI, SUBSCRIBE,
// PUBLISH, EXEC) on the subscribing connection. Otherwise a raw message could arrive between the two at a replica that
// is the only one, and it would have no name: Redis would have told the publisher that it has a receiver, and nobody
// would store it. Dialling, addresses, TLS and users are still those of go-redis.
//
// Two servers need something else. A Redis that is full refuses everything inside a transaction. Outside of one it
// accepts SUBSCRIBE, and it carries out the commands of one short write in one step. miniredis does not accept PUBLISH
// on a subscribed connection; there the ordinary client publishes the marker once the subscription is confirmed. The
// embedded Redis has one replica, which is not ready before its marker has come, so no message can come in between
// either.
//
// Names for raw messages. The reading goroutine asks an [ingest.Sequencer] for them. It must see every marker and every
// raw message in the order of one connection, and cannot be used once that connection ends. So each session has one,
// and this package imports ingest. Otherwise the Receiver would have to know sessions, sources and markers.
//
// Busy is not deaf. A probe that does not come back ends the session, but only at a moment, some time after Redis took it,
// at which the reader has handled everything it has read and finds its socket empty. Other messages prove nothing: a Redis
// that was demoted sends them for ever, but never our probe. On Linux the system is asked what lies in the socket. The
// PING once a second brings the reader to that moment on a connection on which nothing comes.
//
// Reading to the end. Redis counts this replica as a receiver until it has carried out UNSUBSCRIBE, or the connection is
// gone. So whatever the reason is for which a session ends, it asks Redis to end all subscriptions, and reads until Redis
// has done that, or the connection breaks, or a second has passed.
//
// One connection, one name. Each connection is subscribed to a pub/sub channel that nobody else has, and the Receiver is told
// its name. Whoever asks Redis about something that came by the connection can have Redis look whether it is still there:
// PUBSUB NUMSUB is 0 on a Redis that was restarted, and on another node.
//
// What may be lost all the same is counted, by cause. It is not lost if another replica that follows the channel has it; a
// replica cannot know that.
//
//	connection   The connection broke. How many raw messages Redis had sent by then is estimated: as many as came per
//	             second in the last ten, for the time of which nothing is known. That time ends with the session. It
//	             begins with the last thing that was read, or with the oldest probe that has not come back: since then
//	             messages may have waited in Redis. The estimate is too high if publishers were disturbed as well, when
//	             Redis stood still for example. It is too low if Redis goes on counting a connection that no longer exists,
//	             behind a network that swallows everything.
//	paused       They lay in the socket while this process did not run for too long; see below. They are read, counted and
//	             thrown away.
//	unnamed      They came between subscription and marker, on a channel that nobody else followed. That happens with a
//	             full Redis and with miniredis only.
//
// Forged markers. Whoever may publish on the gateway's own channels is trusted as Redis is. But a marker that comes once
// more, which needs no bad will, must not begin a new count: the store would take the next messages for those that it
// has. The newest 8,192 markers under which something was named are remembered, over all connections (about 150 bytes
// each). A replica that did not see the marker the first time begins a new count; so each one that has publishes a new
// marker, at most every 10 seconds.
//
// Far away. A login takes one round trip, and a probe has time for a new connection of the ordinary client, so Redis may
// be two seconds away.
//
// The log has one line when Redis does not work any more, and one when it is back. Tries in between are logged at the level
// Debug.
//
// Time. A raw message may lie in the socket while the process is paused or the machine asleep, for longer than the store
// remembers its marker. A session therefore ends when it finds that it was not running for 10 seconds. It measures with
// package boottime: a wall clock that is set back or forward must not end a session or keep a dead one.
//
//	time between two probes, and two PINGs      1 second
//	a probe that is not back ends the session   after 4 seconds, when the socket is empty
//	silence that ends the session               4 seconds
//	time to read to the end                     1 second
//	pause of the process that ends a session    10 seconds
//	connecting                                  10 seconds; the options of the client say less
//	logging in                                  3 seconds
//	publishing a probe                          15 seconds
//	time between two sessions                   50 ms, doubled up to 2 seconds, random from half of it
//
// What it costs, measured with 200 bytes of data on two cores of an AMD EPYC:
//
//	an announcement        0.4 µs in the reader and the queue when many come, 0.7 µs and a switch of goroutines for a single one
//	a replica, per second  a PING, a PUBLISH, and what comes back
//	an outage              two lines of log
package listen
