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
//	sluice:history:{C}    list    events, newest first: JSON {"id","prev","time","type","data"}   as kind.Rule says
//	sluice:meta:{C}       hash    offset and nonce of the newest event, base, final, progress     as kind.Rule says
//	sluice:once:{C}:H     string  the result of a publish with an Idempotency-Key, whose hash is H    5 minutes
//	sluice:adopted:{C}:M  string  highest number since marker M among the raw messages that were stored or rejected    1 hour
//	sluice:rejected:{C}   list    raw messages that were not understood, newest first             100, for 24 hours
//	sluice:format         string  the format of all these keys (see [Store.CheckFormat])          for ever
//	sluice:epoch          string  the name of the dataset (see [Epoch]), made together with it    for ever
//
// The prefix, sluice, is a setting. Announcements go over the pub/sub channel sluice:0:live:{C}. The number is that of the
// database, because PUBLISH reaches the subscribers of all databases (see [Names]).
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
// A client that went back to the last common event after such a loss has seen lost events after its position. Its place
// ([Place]) tells the first of them by two bytes of its nonce, so that nobody sends them a second time, when Redis comes back
// from yet another snapshot that has them, say.
//
// Reading costs what is asked for. The index of an event in the list is the newest offset minus its own, since nothing is ever
// taken out of the middle of the list. So a script, which sees the position and the list at one moment, reads the events after
// an offset without those that are newer, and one element more proves by its nonce that the client's position is good. Long
// histories are read in pages of 256 events, and Redis serves others between two pages. If the index of an event and its id
// disagree, because another program has pushed or removed entries, the list is read as a whole, by the ids.
//
// Who only reads writes nothing: anybody can make up names of channels, and a key for each of them would fill Redis. So a
// channel without events has no key. Its clients have a position all the same, to be told later whether they have missed
// something. Its offset is 0, and its nonce is a date of 2 bytes and a hash of 4 bytes over the epoch, the channel's name and
// the date. The epoch is a random name of the dataset, one key for all channels. It is another one after FLUSHALL, and the
// same in a snapshot that is restored: what Redis has lost with that is found by the nonces of events.
//
// Such a position is good if its hash is of the epoch that Redis has now, and if it is younger than the time for which Redis
// keeps the position of a channel: an event since then would have left a trace. Its age is counted in days by Redis's clock.
// The first event of a channel gets a base, which is stored with the position and is the event's prev. A base holds the date
// too, and 4 random bytes, so that a channel that was deleted and begins anew is not taken for the old one. A position of
// offset 0 from after that date is not good: Redis had lost the channel when it was told.
//
// The epoch is read behind a channel, in the same pipeline. If the channel was missing because Redis was emptied, the epoch is
// missing too, or is another one. Scripts do not read it: in a Redis Cluster it would be on another node.
//
// The script puts an event together from strings, not with cjson, because cjson changes data: it makes 1 of 1.0, {} of
// [] and floating-point numbers of big integers. A publisher's data is delivered byte for byte. The time of an event is
// Redis's own, so that all events of a channel have the same clock, whichever replica stored them.
//
// Events of one channel that wait at the same time are stored in one step: one run of the script and one announcement.
// Each of them has its own result. A step is bounded by 64 events and 256 KiB, because Redis does nothing else meanwhile.
// Raw messages are stored by the same step.
//
// A script is not a transaction: Redis keeps what a script has written before it failed. That happens when Redis's user
// lacks a right or a key is of another type. So the script reads first, which finds keys of other types, and then writes:
// what marks the events as published, the position, the list, the times of expiry, the announcement. If Redis refuses one
// of these, the script undoes the ones before it, and the whole step is refused. What is trimmed cannot come back, so the
// list is trimmed last, and a list that could not be trimmed refuses the next step. An undo uses commands that have just
// been permitted, with one exception: without the right to LTRIM the events stay, and the answer is [ErrUncertain]. A
// repetition with the same idempotency key finds them then.
//
// # Costs
//
// These are the costs of an event of 200 bytes on one channel, from BenchmarkAppend and BenchmarkAdopt on redis-server
// 7.0.15, beside other work on the machine. Before is the script for one event each that the step replaced.
//
//	                                          before    now
//	Redis, 1 publisher                        23-42     34-44    µs
//	Redis, 1 raw message in a call            30-40     48-50    µs
//	Redis, 32 publishers                      14-16     6.1-8.7  µs
//	Redis, 256 publishers                     14-16     4.4-4.5  µs
//	Redis, 8 raw messages in a call           14-16     7.9-8.2  µs
//	Redis, 64 raw messages in a call          12        4.1-4.6  µs
//	Redis, lone script calls, back to back    12.3      16.2     µs
//	this process, 256 publishers              8.3-8.6   5.6-7.4  µs
//
// A step is nine commands of Redis, and one message to each replica that follows the channel. The message has the texts
// of the stored events, with a line end between two of them.
//
// A reading of one event of a channel that has 20,000 of 200 bytes takes 22 µs of Redis's time, wherever the event is in the
// list, and took 7,090 µs when the whole list was read for it. A reading of all takes 4,398 µs, in 79 pieces (BenchmarkReadOne,
// beside other work).
//
// A reading of positions is one HMGET for each channel and one GET. A watched channel on which nothing is published costs Redis
// nothing but its subscriptions, if it never had an event (package pubsub has the figures).
//
// In the channel of a task only the newest event matters, so its history has one event. After a final event the channel
// accepts no more ([ErrEnded]), and its keys expire a minute later.
package store
