// Package pubsub takes events from Redis channels to feeds: logs of ready frames that streams read with a cursor.
//
//	Redis channel ──► listener ──► Channel (positions in order; repairs holes) ──► Feed (encoded once) ──► Stream (a cursor)
//	raw PUBLISH   ──► listener ──► naming ──► ingest ──► store
//
// # Promise
//
// A stream gets every event of its channels after the place it starts from: in the channel's order, each once, on any
// replica, whatever happens to Redis, the network and the replicas in between. What cannot be delivered because it is
// no longer stored is announced by a gap notice. Redis pub/sub itself promises nothing (a message to a connection that
// breaks is gone), so the stored history is the truth, and an announcement only says that there is more of it:
//
//   - An event is delivered at once if it follows the last one: its offset is the next, and it names the last one's
//     nonce as its predecessor's. Anything else is compared with what Redis has stored (see catchUp).
//   - After every reconnection all channels are compared; quiet ones also every few seconds.
//   - Every second a probe goes the whole way: published by the ordinary client, expected on the subscribing
//     connection. A connection that does not deliver is replaced, whatever TCP says of it. Readiness hangs on it.
//
// # Design
//
// Channel. A replica keeps the newest events of each channel it follows in memory, so that clients that come back
// together cost one reading of Redis per channel, not one each. It also remembers up to 4096 delivered positions. When
// Redis comes back from an older snapshot, the newest of them that Redis still knows is the last common event;
// everything after it is delivered, nothing before it is repeated, and a client that reconnects with a position of the
// lost branch goes on from the common event. A replica that was not there, or a snapshot older than that, ends in a gap
// notice "reset".
//
// A client may be ahead of a replica: it got event 7 from another one, and this one has heard of 6. A position that is
// unknown here is therefore never called lost before Redis was asked.
//
// Feed. One for all streams with the same channels, filter and encoding. It has no ring buffer: memory grows in chunks
// with what is published, and goes after 30 seconds, so a feed that nothing happens on costs a few hundred bytes. A
// stream that is further behind than the feed's limit, or than 30 seconds, is closed; it resumes from its last event id.
//
// Stream. It starts with a copy of its own of what its client has missed, 32 KiB at a time: that, and what the kernel
// buffers, is all that a client costs that comes back and takes nothing. When the writer has written one part it asks for
// the next, until the rest leads to the feed. The client notices nothing of it. A client that is always slower than its
// channel stays with the parts, and is told of a gap when they are no longer stored.
//
// Locks. Channels' locks are taken in the order of their names, then a feed's; the broker's lock may be held when a
// channel's is taken, never the other way round. A channel's lock is held while its events are appended to feeds. So
// whoever holds the locks of all channels of a feed sees the feed exactly at their tips, and a stream that starts there
// misses nothing and gets nothing twice.
//
// # Markers
//
// A raw PUBLISH arrives at every replica and must be stored once. Redis delivers the same messages in the same order to
// every connection, so a message can be named by its place: the newest marker, and how many messages of the channel
// came since. A marker is a random text that a replica publishes when it subscribes. The adopt script remembers the
// highest number taken in per channel and marker, and takes in only higher ones, so every replica may present every
// message, in order, as often as it likes. No leader, no lease, no comparison of payloads.
//
// Marker and subscription go in one transaction (MULTI, SUBSCRIBE, PUBLISH, EXEC) on the subscribing connection.
// Otherwise a message could arrive between the two on a replica that is the only one, and have no name: Redis would
// have told the publisher that it has a receiver, and nobody would store it. go-redis cannot send that, and reconnects
// on its own terms, hence the small RESP client in conn.go. Its dialler, addresses, TLS and users are go-redis's.
// (miniredis does not take PUBLISH on a subscribed connection; there the marker goes by another one. The embedded Redis
// has one replica, which is ready only after its marker, so nothing can come in between either.)
//
// Markers are random rather than numbered: a number would come again after Redis came back from a snapshot.
//
// To save Redis the work of refusing all replicas but one, a replica that was beaten to a channel waits 40 ms before it
// presents the next message, and presents only what nobody announced meanwhile. A replica that has just subscribed
// while others exist waits a second: a slow one may still have older messages to present.
//
// Limits. While Redis takes nothing, raw messages wait in memory, at most 64 MiB and 15 minutes, far less
// than the hour that the adopt script remembers. What is dropped then is counted and logged. A replica that was paused
// for ten seconds or more throws its connection away and begins anew.
package pubsub
