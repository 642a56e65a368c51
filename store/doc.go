// Package store keeps events in Redis: it numbers them, stores the recent ones in a list per channel and
// announces each new one, in one atomic step. What channels there are and which events are valid on them, package kind
// says.
//
// It does not deliver anything: package pubsub follows the announcements, and reads what it missed from here.
//
// # Keys
//
// All keys of a channel share the hash tag {channel}, so that one script may touch all of them in Redis Cluster.
// Channel names hold no braces ([kind.CheckChannel]), so no channel can reach another one's keys.
//
//	sluice:{C}:history    list, newest first, of JSON {"id","prev","time","type","data"}   kind.Rule
//	sluice:{C}:meta       hash: offset and nonce of the newest event, base, final, progress  kind.Rule
//	sluice:{C}:once:H     the result of a publish with Idempotency-Key (H is its hash)     5 minutes
//	sluice:{C}:adopted:T  how many raw messages since marker T are stored                  1 hour
//	sluice:{C}:rejected   list, newest first, of raw messages that were not understood     100 entries, 24 hours
//	sluice:{C}:live       (a pub/sub channel) announcements
//
// # Design
//
// An event's position is its offset in the channel (1, 2, 3, without holes) and a random nonce. Redis that comes
// back from an older snapshot hands out the same offsets again, but not the same nonces, so a position from before
// is told from one after. Every event also carries the nonce of the one before it ("prev"). The chain does two
// things an offset alone cannot: the position just before the oldest stored event can still be verified (so a
// client that missed exactly nothing is not told of a gap), and a replica sees from the next event alone that the
// one it had before is no longer the true predecessor.
//
// Offset 0 has a nonce as well, the base: the channel's birth. A client that connects while a channel is empty
// holds position (0, base), and a channel that was emptied (FLUSHALL) and filled again is noticed even by it.
//
// The event is put together by the script, by string concatenation and never by cjson: a publisher's data comes
// out byte for byte as it went in (cjson would turn 1.0 into 1, [] into {} and big integers into floats).
// The clock is Redis's own (TIME), so that events of one channel have one clock whichever replica took them.
//
// A channel of which only the newest event matters (a task's progress) is a history of capacity one. A final event
// ends it: later ones are refused ([ErrEnded]) and all keys go a minute later.
package store
