// Package store keeps events in Redis. In one atomic step it numbers an event, stores it in the list of its channel, and
// announces it on a pub/sub channel. Which channels there are and which events they take is said by package kind.
//
// The package does not deliver events. Package pubsub follows the announcements, and reads here what it has missed.
//
// # Keys
//
// In the names below, C is the channel. All keys of a channel share the hash tag {C}, so that one script may use all of
// them in a Redis Cluster. The name of a channel has no braces (see [kind.CheckChannel]), so no channel reaches the keys
// of another one.
//
//	key                   type    holds                                                       kept
//	sluice:{C}:history    list    events, newest first: JSON {"id","prev","time","type","data"}   as kind.Rule says
//	sluice:{C}:meta       hash    offset and nonce of the newest event, base, final, progress     as kind.Rule says
//	sluice:{C}:once:H     string  the result of a publish with an Idempotency-Key, whose hash is H    5 minutes
//	sluice:{C}:adopted:M  string  the highest number since marker M of a raw message taken in     1 hour
//	sluice:{C}:rejected   list    raw messages that were not understood, newest first             100, for 24 hours
//
// Announcements go over the pub/sub channel sluice:{C}:live.
//
// # Design
//
// The position of an event is its offset in the channel (1, 2, 3, without holes) and a random nonce. When Redis comes
// back from an older snapshot, it counts the same offsets again, but the events get other nonces. So a position of the
// lost events is recognised.
//
// Every event also has the nonce of the event before it ("prev"). That chain proves two things that offsets cannot. The
// position right before the oldest stored event can still be verified, so a client that missed nothing is not told of a
// gap. And a replica that sees an announcement knows whether its own newest event is really the one before.
//
// Offset 0 has a nonce too, the base. A client that connects to an empty channel has the position (0, base). It is
// different after Redis was emptied, so even this client is told.
//
// The script puts an event together from strings, not with cjson, because cjson changes data: it makes 1 of 1.0, {} of []
// and floating-point numbers of big integers. A publisher's data is delivered byte for byte. The time of an event is
// Redis's own, so that all events of a channel have the same clock, whichever replica took them.
//
// A channel of which only the newest event matters, a task's, is a history of one event. After a final event the channel
// takes no more ([ErrEnded]), and its keys expire a minute later.
package store
