// Package ingest takes raw messages in: payloads that somebody published with PUBLISH straight to a Redis channel. It
// gives each of them a name, and has the store adopt it exactly once, however many replicas run.
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
// marker, the highest number it has taken in, and takes in only higher ones. So replicas may present the same message,
// and one replica may present it again when it got no answer.
//
// # Design
//
// No leader. There is no lease that could expire at the wrong moment, and no comparison of payloads: two equal
// payloads are two events. A replica that is paused or killed does no harm to the messages that others have received.
//
// Markers are random and not numbered. A number would come again after Redis came back from a snapshot.
//
// Less work for Redis. All replicas but one present in vain. A replica that was beaten to a channel therefore waits
// before it presents the next message of that channel, and then presents only what nobody has announced meanwhile.
// A replica that has just subscribed to a channel that others may follow waits too: a slow replica may still have older
// messages to present, and these must come first.
//
// Limits. While Redis takes nothing, the messages wait in memory. A message that would exceed one of the limits is
// given up, counted and logged. The adopt script remembers a marker for an hour, which is far more than a message may
// wait.
//
//	waiting in all channels together                64 MiB
//	waiting time of one message                     15 minutes
//	wait of a replica that was beaten               40 ms
//	wait of a replica that has just subscribed      1 second
//	time between two tries while Redis takes none   50 ms, doubled up to 2 seconds
package ingest
