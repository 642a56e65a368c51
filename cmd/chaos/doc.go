// Command chaos breaks a running cluster on purpose and checks from the outside whether events are lost or repeated.
//
// It starts real processes on loopback: redis-server, replicas of the gateway, and nginx where a scenario needs it. It
// publishes numbered payloads, by POST with an Idempotency-Key and by raw PUBLISH, and reads the streams. In each
// scenario one schedule of faults runs. Then the command waits until everything is quiet and compares what was
// published, what is stored and what each client received:
//
//	go run ./cmd/chaos -scenario all -seconds 20 -seed 7
//
// The exit code is one of these:
//
//	0  no promise was broken
//	1  a promise was broken
//	2  a run could not be set up
//
// Everything stays on loopback and in one temporary folder. Every process is ended by its process id. A seed fixes the
// random choices, but not the timing of the processes: a run with the same seed breaks the same things, and may
// still end differently.
//
// # Clients
//
// A client does what a browser's EventSource does, and nothing more. It resumes only by Last-Event-ID, or by
// ?lastEventId= when a page is opened again. It waits as long as retry: says, it has no time-outs, and any status other
// than 200 stops it for good. Some clients lose their own connection now and then, some come late, some ask for one
// type only, and one asks for 50 channels. The parser of event streams is written for this command: a mistake in the
// gateway's own code must not hide itself.
//
// # What is compared
//
// The log of a channel is its history in Redis after the run (LRANGE, oldest first). The gateway is set to keep more
// events than a run publishes, so nothing is trimmed. The scenario trim is the exception: there a witness reads the
// list all the time. The log is then everything that the witness saw, and the part still in Redis at the end is called
// kept.
//
// Every payload carries a token: publisher, channel and number. So an event is recognised by what its publisher wrote,
// not by what the gateway says about it. One in ten payloads is published twice, byte for byte: two publishes with one
// token must become two events.
//
// # Rules for the store
//
// A publish has one of three outcomes:
//
//		acknowledged  a POST was answered 2xx, or Redis answered a raw PUBLISH with one receiver or more
//		refused       Redis answered 0 receivers, or an error
//		unanswered    nobody knows: a time-out, or a lost connection
//
//	  - lost: there are fewer events with a token than acknowledged publishes of it, or the id that a POST returned is
//	    not in the log.
//	  - doubled: there are more events with a token than publishes that were not refused, or an id is there twice. A POST
//	    that is repeated with the same Idempotency-Key is the same publish.
//	  - store order: a publisher sends a payload only after the answer to the one before, so its POSTs must be in the log
//	    in that order. Raw messages must be in order too in a scenario where no replica loses its subscription. Elsewhere
//	    their order is not promised while a replica joins, and swaps are only counted.
//	  - views: GET on every replica must return the same events with the same ids as the list in Redis.
//	  - trim: the list is the end of the log. It is exactly as long as configured once the log is that long.
//
// Redis pub/sub delivers at most once. So a raw PUBLISH counts as unanswered, not as acknowledged, if the receivers
// that Redis counted may all have been cut off at that moment. For this a fault declares a window: a span of time, and
// how many receivers may have been cut off in it. A raw publish is unanswered if the windows that it falls into add up
// to at least its receivers. Windows end soon after the fault. They do not cover the time that the gateway takes to
// come back: a message that Redis handed to a single replica that has just subscribed must be stored.
//
// # Rules for a client, per channel
//
// A client that asks for one type is compared with the events of this type. A client that goes on from an id must
// receive what came after it.
//
// For any other client the promise begins when it has opened its first stream with a position: everything published
// after that moment must reach it. So the first event it must receive is the oldest in the log that was sent after that
// moment, or the first that it received, if that one is older.
//
//   - silent hole: an event of the log, from the first one it must receive to the end of the run, was never delivered,
//     and no gap event for the channel stood at that place (between the event before and the event after). Each missing
//     event counts. An event that had not arrived when the settling time ended counts as missing.
//   - skipped: a gap was announced at that place, but the event is still in Redis. After a gap the gateway has to send
//     everything that is stored, so a gap excuses only events that are no longer stored.
//   - repeat: an event id came again. This is allowed only after a gap with reason reset or unknown, once for each such
//     gap: the client was told to start again from nothing.
//   - reordering: an event came for the first time, and an event that is newer in the log had come before. After a gap
//     with reason reset or unknown the comparison starts again.
//   - needless gap: a gap where nothing was missing, a gap with reason trimmed where nothing is trimmed, or any gap in
//     a scenario in which Redis loses nothing. A client of one type is an exception: nobody can know whether an event
//     of its type was among those that were trimmed.
//   - phantom: an event that is not in the log. Another id for the same payload on another replica is found by this.
//   - corrupt: token, type or data of a delivered event differ from what was published under that id.
//   - died: an answer that makes EventSource give up for good (anything but 200 with text/event-stream).
//
// # When Redis itself loses acknowledged writes
//
// Redis loses writes that it acknowledged when an older snapshot is put back, at FLUSHALL, and at SIGKILL with
// appendfsync everysec. The scenario declares the loss: a span of time whose writes may be gone. Then
//
//   - a publish that was sent or stored in the span may be missing from the log, and may have been delivered although
//     it is missing. A raw message may be stored up to two seconds after Redis answered, so for raw messages the span
//     is longer by that;
//   - every other acknowledged publish must be in the log exactly once;
//   - clients that were connected all the time must still receive every event of the log, once and in order. Restored
//     events may be repeated to them only after a gap with reason reset or unknown;
//   - gaps with reason reset or unknown are allowed from the beginning of the loss on, not before.
//
// # What is not judged
//
// The order of events that Redis lost, relative to each other. The time that a recovery took: the report shows it as
// the longest time by which an event was late, counted from its acknowledgement, from the end of the last fault, or
// from the end of the client's own disconnection, whichever came last. Anything that is only visible inside the
// gateway.
//
// A scenario whose faults hit nothing (no connection was killed, no client had to come back) is reported as not
// exercised. That is a failure too, because such a run proves nothing.
package main
