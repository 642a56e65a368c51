// Package ingest accepts raw messages: payloads that somebody published with PUBLISH straight to a Redis channel. It
// gives each of them a name and presents it to the store, which stores it exactly once, however many replicas run.
//
// A [Sequencer] names the messages. An [Intake] presents them to the store until they are stored. The package knows no
// connections: package listen calls the Sequencer with what a connection delivers, and package pubsub hands the named
// messages to the Intake.
//
// # Model
//
// A raw message arrives at every replica. Redis delivers the same messages in the same order to every connection, so a
// message can be named by its place: the newest marker, and how many messages of the channel came since it. That is
// its [RawID]. A marker is a random text that a replica publishes when it subscribes.
//
// Each replica presents every message, in order, under its RawID. The store's adopt script remembers, per channel and
// marker, the highest number that it has stored or rejected, and accepts only higher ones. So several replicas may
// present the same message, and one replica may present it again when it got no answer.
//
// # Design
//
// No leader. There is no lease that could expire at the wrong moment. Payloads are not compared: two equal payloads are
// two events. If a replica is paused or killed, the others store the messages that they have received.
//
// Markers are random and not numbered. After Redis comes back from a snapshot, a number would be used a second time.
//
// Less work for Redis. Only the first replica that presents a message has an effect; all others present without effect.
// A replica that was slower than another one on a channel therefore waits before it presents the next message of that
// channel. Then it presents only messages that have not been announced meanwhile. A replica that has just subscribed to
// a channel waits too: another replica may still have older messages to present, and these must be stored first.
//
// Limits. While Redis accepts no writes, the messages wait in memory. A message that would exceed one of the limits is
// dropped and counted in sluice_raw_lost_total. The adopt script remembers a marker for an hour, four times as long as
// a message may wait.
//
//	waiting in all channels together                        64 MiB
//	waiting time of one message                             15 minutes
//	wait of a replica that was slower than another one      40 ms
//	wait of a replica that has just subscribed              1 second
//	time between two tries while Redis accepts no writes    50 ms, doubled up to 2 seconds
package ingest
