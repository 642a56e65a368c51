// Package listen holds a replica's subscriptions in Redis. It keeps one connection that has all of them, whatever
// happens to Redis and the network, and tells a [Receiver] what comes in and when something may have been missed.
//
// It knows names of Redis channels, markers and probes. It does not know events, histories, feeds or streams: package
// pubsub is the Receiver and compares a channel with the store when this package says that it must.
//
// # Model
//
// A [Listener] has one session at a time. A session is the life of one connection: it subscribes to everything that is
// wanted, reads until something breaks, and a new one begins. Three goroutines work on it:
//
//	read    reads the connection and calls the Receiver
//	write   subscribes and unsubscribes, in batches
//	watch   sends a PING and a probe every second
//
// A probe is a message that the ordinary client publishes to this replica's own probe channel, and that must arrive on
// the subscribed connection. So a probe finds a dead peer, a failover that left the old connection open, and a Redis
// that lost the subscription. While the ordinary client cannot publish, only the PING finds out whether the connection
// is dead. [Listener.Ready] returns the result of the last probe.
//
// A probe is also a fence: when it has come back, everything that was published before it has been handed to the
// Receiver ([Listener.Fence]).
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
// Time. A raw message may lie in the socket while the process is paused or the machine asleep, for longer than the store
// remembers its marker. A session therefore ends when it finds that it was not running for 10 seconds. It measures with
// package boottime: a wall clock that is set back or forward must not end a session or keep a dead one.
//
//	time between two probes                     1 second
//	a probe that is not back ends the session   after 4 seconds
//	silence that ends the session               5 seconds
//	pause of the process that ends it           10 seconds
//	time between two sessions                   50 ms, doubled up to 2 seconds, random from half of it
package listen
