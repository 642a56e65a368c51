// Package pubsub takes events from Redis channels to feeds: logs of ready frames, from which each stream reads at its own
// place.
//
//	announcement ──► listen ──► Channel (puts events in order, repairs holes) ──► Feed (encodes once) ──► Stream
//	raw PUBLISH  ──► listen (names it) ──► ingest (presents it) ──► store, which announces it
//
// The sub-packages know less: package listen holds the subscriptions and knows no events, package ingest has raw messages
// stored and knows no connections. Their comments explain them.
//
// # Promise
//
// A stream gets every event of its channels after the place from which it starts: in the channel's order, each once, on
// any replica, whatever happens to Redis, the network and the replicas in between. What cannot be delivered because it is
// no longer stored is announced to the client by a gap notice.
//
// Redis pub/sub itself promises nothing: a message to a connection that breaks is gone. So the stored history is the
// truth, and an announcement only says that there is more of it:
//
//   - An event is delivered at once if it follows the last one: its offset is the next, and it names the nonce of the
//     last one as that of its predecessor. Otherwise the channel is compared with what Redis has stored.
//   - After every reconnection all channels are compared with Redis.
//   - Channels with events are compared one after the other, each every ten seconds.
//   - Every second Redis is asked which dataset it has. When it is another one, all channels are compared.
//   - Every second a probe is published and must arrive. A connection that does not deliver it is replaced, even if TCP
//     takes it for alive, and the replica is not ready until then.
//
// # Model
//
// A [Broker] has the channels that the replica follows and the feeds that its streams share. Its files are its parts: the
// registry makes and removes channels and feeds, the synchronising part compares channels with Redis.
//
// A channel is in one of three states:
//
//	lost          events may pass without reaching this replica
//	subscribed    events reach it and wait: those that were published before must be read from Redis first
//	live          nothing is missing: events are delivered as they come
//
// The listener takes a channel from lost to subscribed and back. Synchronising takes it from subscribed to live. An event
// that does not follow the last one, dropped announcements, and a comparison that finds a difference take it from live back to
// subscribed. Each time it becomes subscribed a new epoch of the channel begins: what was read from Redis before that must not
// be used any more.
//
// A [Feed] is the log of one channel's ready frames in one representation. A [Stream] is a place in the feed of each of its
// channels.
//
// # Design
//
// Channel. A replica keeps the newest events of each channel in memory, so that clients that come back together cost one
// reading of Redis per channel, not one each. It also remembers the newest 4,096 positions of each channel that it has
// delivered or read, its trail.
//
// Branches. When Redis comes back from an older snapshot and goes on, its history has two branches. The newest position of
// the trail that Redis still knows is the last common event: everything after it is delivered, nothing before it is repeated,
// and clients, those that reconnect with a position of the lost branch too, go back to it. When there is no common event,
// because the snapshot is older than the trail or this replica was not there, clients are told of a gap with the reason
// "reset". Of a channel that never had an event nothing is lost: its clients are told their new place.
//
// A client that went back has seen what comes after its place on the lost branch. Its place has a mark that says so
// (store.Place). A replica that is still on the lost branch, because it has not noticed the loss, recognises the mark and asks
// Redis before it serves the client.
//
// A newer snapshot may bring the lost branch back. Some clients have had its events already, and others have not. So all
// streams of the channel are told of a reset, and then get everything that is stored. A client that comes back with a place
// of the branches between is told so too.
//
// Events may still be repeated without a reset in two cases: a client went back and moves to a replica that has missed two
// losses of Redis in a row, or to one that knows nothing of the branch that the client had left and that comes back later.
//
// What a channel remembers is bounded, and so is what all of them remember together (memory.go); sluice_history_bytes tells how
// much it is:
//
//	one channel         256 KiB of events, with 224 bytes for each beside its data, and 80 KiB of trail
//	just read           a history that a client needed as a whole stays for a minute, whatever its size
//	all channels        beyond 256 MiB each keeps its share, 1 KiB at least, a minute becomes two seconds, and a trail has 64
//	                    positions. What is dropped because of that is counted by sluice_history_evicted_total
//
// Events that Redis has dropped, because none has followed them for the time that the channel's rule says, are dropped here
// too. Redis's clock and that of the replica may differ: so that decides only what is read from Redis again.
//
// A client may be ahead of a replica: it got event 7 from another one, and this one has heard of 6. A position that is
// unknown here is therefore never reported as lost before Redis was asked.
// Meanwhile the channel stays live for all others: anybody can make up positions.
//
// Synchronising. Each channel is synchronised on its own, and tried again on its own if that fails. The tips of up to 1,000
// channels are read at once. Of these, channels that are not at their tip read their histories, 16 at the same time; a channel
// whose history does not come holds up no other until 16 of them hang.
//
// Dataset. A channel without events is not read from Redis once it is live, however long it is watched: there is nothing to
// read. What tells that Redis has lost everything, or has become another Redis, is asked for once a second: the epoch (see
// [store.Epoch]), the run_id and the master_replid of INFO. If one of them changes, all channels are compared. So connected
// clients of empty channels learn within a second or two that Redis was emptied. They have missed nothing, so they are told
// their new place and no gap. A client that comes back with a place of the earlier epoch is told of a gap with the reason
// "reset": nobody knows what there was.
//
// If the epoch is missing, a replica looks for an event that it knew when it last saw the epoch. If Redis still has one, only
// the key was lost, and the same epoch is put back. If not, Redis gets a new one. A replica that knows no event waits three
// seconds for others that do, unless the format is missing as well, which is made together with the epoch.
//
// Rounds. Comparing channels with events one after the other finds what nothing else does: an event that was stored and whose
// announcement got lost, a channel that has expired, and keys that somebody has deleted. When Redis has forgotten a channel by
// itself, because nothing was published for a week and the time of its history, connected clients have missed nothing, and are
// told their new place. Where Redis has no INFO (the embedded one, some that are rented, or a user without the right to it),
// a Redis that was exchanged for another one while the connection stayed is found by the rounds alone; that means that a
// channel without events is not compared then.
//
// BenchmarkWatchedChannels, redis-server 7.0.15, 10,000 channels on which nothing is published, beside other work:
//
//	                                    first edition   now
//	without events: keys                10,000          0
//	without events: bytes of Redis      612             440      for each, of which 440 are the subscriptions
//	without events: commands of Redis   1,490           7        a second, all together
//	with events: commands of Redis      1,501           1,016    a second, all together
//
// Feed. An event is encoded once for each representation of its channel that somebody follows, by the goroutine that reads
// Redis, whoever follows the channel together with what other channels and through which filter. What differs from stream to
// stream is done by its writer: a filter chooses among frames, and a stream of several channels replaces the first line of
// a frame, the id, by its own, which holds the place in all its channels. Frames that are due at one time are merged by their
// arrival at the replica. So the cost follows the events, not the audiences:
//
//	per event             one encoding per representation, some 0.8 µs, and a wake-up per writer loop
//	per event and stream  nothing but the write for a stream of one channel; 0.08 µs with a filter, 0.14 µs with two
//	                      channels, 3.4 µs with fifty (BenchmarkFeedEvent, BenchmarkNext)
//	per stream            64 bytes, and 32 for each channel that it follows
//	per feed              some 200 bytes, and the frames of the last 30 seconds
//
// A feed has no ring buffer. Its memory grows in chunks with what is published, and is freed after 30 seconds. A stream that
// is further behind than the feed keeps is ended as too slow; its client resumes by its last event id. An anonymous reader
// can make a replica keep feeds for the channels that it names, and those are bounded together (plentyBytes).
//
// Filter. A stream whose filter passes nothing is told its place, at the latest after a quarter of what the channel stores:
// otherwise its client would come back with a place that is no longer stored, and be told of a gap that it does not have.
//
// Stream. It begins with what its client has missed, in parts of 32 KiB that are its own: a client that comes back and
// reads nothing costs one part and what the kernel buffers. When the client has one part, the next is made, until the last
// one leads to the feed; the client sees no difference. A client that is always slower than its channel stays with the
// parts, and is told of a gap when they are no longer stored.
//
// Locks. The broker's lock is taken before a channel's, and that before a feed's. Nobody holds the locks of two channels. A
// channel's lock is held while its events are appended to feeds. So whoever holds it sees the channel's feeds exactly at its
// tip, and a stream that starts there misses nothing and gets nothing twice.
package pubsub
