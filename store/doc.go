// Package store keeps events in Redis. In one atomic step it numbers an event, stores it in the list of its channel,
// and announces it on a pub/sub channel. Package kind says which channels there are and which events they accept.
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
//	sluice:{C}:adopted:M  string  highest number since marker M among the raw messages that were stored or rejected    1 hour
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
// Every event also has the nonce of the event before it ("prev"). This chain proves two things that offsets cannot
// prove. The position right before the oldest stored event can still be verified, so a client that missed nothing gets
// no gap notice. And a replica that gets an announcement knows whether its own newest event is really the event before.
//
// Offset 0 has a nonce too, the base. A client that connects to an empty channel has the position (0, base). It is
// different after Redis was emptied, so even this client gets a gap notice.
//
// The script puts an event together from strings, not with cjson, because cjson changes data: it makes 1 of 1.0, {} of
// [] and floating-point numbers of big integers. A publisher's data is delivered byte for byte. The time of an event is
// Redis's own, so that all events of a channel have the same clock, whichever replica stored them.
//
// In the channel of a task only the newest event matters, so its history has one event. After a final event the channel
// accepts no more ([ErrEnded]), and its keys expire a minute later.
package store
