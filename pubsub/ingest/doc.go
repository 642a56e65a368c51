// Package ingest accepts raw messages: payloads that somebody published with PUBLISH straight to a Redis channel. It
// gives each of them a name and presents it to the store, which stores it exactly once, however many replicas run.
//
// A [Sequencer] names the messages. An [Intake] presents them to the store until they are stored. The package knows no
// connections: package listen calls the Sequencer with what a connection delivers, and package pubsub hands the named
// messages to the Intake.
//
// # Model
//
// A raw message arrives at every replica that follows its source, which is a channel or a pattern of channels. Redis
// delivers the same messages in the same order to every connection, so a message can be named by its place: the newest
// marker, and how many messages of the channel came since it. That is its [RawID]. A marker is a random text that a replica
// publishes when it subscribes.
//
// Each replica keeps every message until it knows that it is stored. It may present it to the store at any time, under its
// RawID, in order. The store's adopt script remembers, per channel and marker, the highest number that it has stored or
// rejected, and accepts only higher ones. So several replicas may present the same message, and one replica may present it
// again when it got no answer. Exactly once follows from names and numbers alone. Who presents, and when, is a matter of
// cost.
//
// One replica leads a source: it presents at once. The others hold a message, and drop it when they hear that it is
// stored: by the announcement of its event, or by a notice (store.ParseNotice). When nobody is heard, they present it.
//
//   - A replica that is the only follower of a source when it subscribes leads it.
//   - Any other one holds messages for 100 to 200 ms, longer while it hears that messages of the source are being stored.
//   - Whoever presents and is first leads from then on.
//   - A leader that presents in vain leads no longer. Another replica that does so doubles the time that it holds messages.
//
// # Design
//
// No lease that could expire at the wrong moment, no election, no comparison of payloads: two equal payloads are two
// events. A replica that is paused or killed does no harm to the messages that others have received.
//
// Markers are random and not numbered. A number would come again after Redis came back from a snapshot.
//
// Why not let the maker of the newest marker lead, which all replicas know without a word: every stream that is opened for a
// channel on another replica, and every replica that joins, would move the lead to a newcomer, and a newcomer may overtake
// the older messages of the one before. Here the lead moves when the leader dies, falls behind without a word or goes, and
// then to the replica that is fastest. Two leaders, after a pause say, present twice until one of them comes second, which
// takes about one message.
//
// A message costs, if R replicas follow its source:
//
//	delivery of the message              R messages from Redis
//	the leader                           1 script call, shared by up to 64 messages of the channel
//	the announcement of the event        1 message to each replica that has subscribed to announcements of the channel
//	a notice                             R messages, shared in the same way; see below
//	another replica                      290 bytes if the channel holds nothing else, else 90, until it hears
//
// An announcement tells a replica which message was stored. It reaches all who follow a channel by its name, so a notice
// is only sent for channels that are followed by a pattern, and for rejected messages. The adopt script publishes it in
// the same step. Measured with redis-server 7.0.15 on single messages: a script call takes 35 µs of Redis's CPU time, one
// in vain 16 µs, and this comes on top of each message's call:
//
//	replicas   notice by the script   notice by a command of the replica   no notice: calls in vain
//	       1                   5 µs                                17 µs                          0
//	       3                  10 µs                                22 µs                      32 µs
//	       6                  16 µs                                30 µs                      80 µs
//
// Latency. A message is stored one round trip after the leader got it. If the leader is gone, the first message of the
// source waits for 100 to 200 ms.
//
// Loss. A message that has reached a replica is lost if all replicas that follow its source are killed before one of them
// has stored it: within a round trip if there is no backlog. There may be one such replica: a channel is followed where
// somebody watches it. Channels in GATEWAY_INGEST are followed by all replicas.
//
// A Redis that forgets. The store remembers which messages it has, but a Redis that comes back from an older snapshot has
// forgotten some of them, and clients have had these. So a message is stored only by the Redis that sent it: the adopt script
// looks whether Redis has the connection by which it came, which is subscribed to a pub/sub channel of its own for that (one
// look into a table; too little to be measured in the script's time). When a connection is lost, nothing is presented until
// all that came by it has been heard, announcements too, and there is a new one. Then what is still not heard to be stored is
// presented.
//
// This is not exact. A message is stored a second time, after Redis has lost the first, if it was stored without this replica's
// hearing of it: the announcement was on its way when the connection broke, or was sent while the replica had none, or the
// replica stops and has no connection any more that could be looked for. Nobody could know that it was stored.
//
// Newcomers. A replica that begins to follow a source beside others gets the messages after its marker, and not those
// before, which others may still have to present. It presents nothing that it received in its first second until a second
// has passed. The same holds for a replica that dropped a message for want of space: another one may be about to store it.
//
// Backlog. What comes faster than it is stored waits in memory. The bounds are in bytes, with an allowance for what a
// message and a channel need beside the payload. A channel may hold three times as much as is left free for all: one that
// is flooded gets 48 MiB and leaves 16 to others. Beyond that the newest message is dropped, counted and logged with the
// reason. To drop the oldest would take away what the store is about to get, for the same loss.
//
// Backlogs have no goroutine of their own. At most 256 goroutines present those that are due. A channel has one call at a
// time, because the next one must not overtake one that may have failed. While a call is on its way, the next messages of
// its channel are parsed.
//
// Messages that Redis refuses. An error that passes (store.Temporary) is waited out. With another one, a key of the wrong
// type say, the messages are presented one by one, and after some time each that is still refused is put aside: it goes to
// the rejected messages with the reason. If Redis refuses that as well, it is dropped and counted.
//
// What an anonymous reader can make of this: whoever watches a channel makes one more replica follow it. Somebody who
// subscribes in Redis itself counts as a follower too, so that the next replica waits for a second before it leads.
//
//	waiting in all channels together                64 MiB
//	waiting in one channel                          3 times what is free
//	waiting time of one message                     15 minutes; the adopt script remembers a marker for an hour
//	calls at a time                                 256
//	messages in one call                            64, 256 KiB
//	a replica that does not lead holds a message    100 to 200 ms; doubled up to 800 to 1,600 ms
//	the same while others are heard                 10 seconds at most
//	wait of a newcomer                              1 second
//	time between two tries while Redis takes none   50 ms, doubled up to 2 seconds
//	a message is put aside                          after 3 tries and 10 seconds
package ingest
