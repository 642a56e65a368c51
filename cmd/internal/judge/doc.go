// Package judge says which promises were broken in a run that was watched from the outside. It knows nothing of how the
// run was made: cmd/chaos breaks real processes, cmd/sim simulated ones, and both write down the same [Record].
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
//	  - counted: a raw message that is missing is not lost if a replica has counted it. As many may be missing as all
//	    replicas together have counted (Record.CountedLost).
//	  - written by readers: Redis has a key of a channel that nobody has published to (Record.Written).
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
//   - gaps with reason reset or unknown are allowed from the beginning of the loss on, not before;
//   - a raw message that Redis had stored and lost may be stored a second time, under another id, by a replica that had the
//     message and could not hear that it was stored. A client may get both. That is only counted (raw_again).
//
// # Only where a record says so
//
// A record may hold the gateway to more. With Rules.Calm no publisher is told to try again later (refused: 503). With
// Rules.RawOrder raw messages keep their publisher's order, but on the channels of Rules.Swaps. With Rules.Steady a stream
// that has delivered an event published after it opened gets no gap. If the record says when streams began (GotStream), a
// stream that had delivered an event which Redis still has gets no gap with reason reset: it had only to go back to that
// event. (A record in which Redis comes back to a branch that it had left would need another rule.)
//
// A record may have losses and trimming together. Then a gap with reason trimmed is never called needless, as nobody can
// say what was trimmed from a log that is lost, and an event that was trimmed when the client was told so may be stored
// again.
//
// Record.Outages are the times in which Redis stored nothing. A raw message from then may be stored up to five seconds
// after it, so a loss until then may have taken it.
package judge
