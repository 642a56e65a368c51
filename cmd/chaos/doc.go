// Command chaos breaks a running cluster on purpose and looks, from the outside only, for loss and repeats.
//
// It starts real processes on loopback (redis-server, replicas of the gateway, nginx where a scenario asks for it),
// publishes numbered payloads (POST with an Idempotency-Key, and raw PUBLISH), reads the streams with clients that do
// what a browser's EventSource does and nothing more, runs one named fault schedule, waits until everything is quiet,
// and judges what was seen:
//
//	go run ./cmd/chaos -scenario all -seconds 20 -seed 7
//
// It exits 0 when nothing was violated, 1 when something was, 2 when a run could not be set up. Everything stays on
// loopback and in one temporary folder; every process is ended by its pid. What a seed fixes is what is drawn, not the
// timing of the processes: a run with the same seed breaks the same things, and may well get another answer.
//
// A client is an EventSource and no more: it resumes only by Last-Event-ID (and ?lastEventId= when a page is opened
// again), waits as long as retry: says, has no time-outs, and is dead for ever after a status other than 200. Some
// lose their own connection now and then, some come late, some ask for one type only, one for 50 channels.
//
// # What is compared
//
// The log of a channel is its history in Redis after the run (LRANGE, oldest first). The history is larger than any
// run, so nothing is trimmed, except in the scenario trim: there a witness reads the list all the time, the log is
// everything the witness has seen, and the part still in Redis at the end is called kept. Every payload carries a
// token (publisher, channel, number), so events are matched by what a publisher wrote, not by what the gateway says
// about them. One in ten payloads is published twice, byte for byte: two publishes with one token must become two
// events.
//
// # Rules for the store
//
// A publish is acknowledged if a POST was answered 2xx, or if Redis answered a raw PUBLISH with one receiver or more.
// It is refused if Redis answered 0 receivers. It is unanswered if nobody knows (time-out, connection lost).
//
//   - lost: fewer events with a token than acknowledged publishes of it; or the id a POST returned is not there.
//   - doubled: more events with a token than publishes that were not refused; or an id twice. The repetition of a
//     POST with the same Idempotency-Key is the same publish.
//   - store order: a publisher sends a payload only after the one before was answered, so its POSTs must be in the
//     log in that order. Raw messages must be in order too where no replica loses its subscription; elsewhere the
//     order across the moment a replica joins is not promised and swaps are only counted.
//   - views: GET on every replica must return the same events with the same ids as the list in Redis.
//   - trim: the list is the end of the log, and exactly as long as configured once the log is that long.
//
// Redis pub/sub itself delivers at most once, so a raw PUBLISH is not held against the gateway if the receivers Redis
// counted may have been cut off in that very moment. A fault that cuts subscriptions declares a window and how many
// receivers it may have cost; a raw publish under way in windows that add up to its receivers counts as unanswered.
// Windows are milliseconds around a CLIENT KILL; they do not cover the time the gateway takes to come back, so a
// message that Redis handed to a single freshly subscribed replica still has to be stored.
//
// # Rules for a client, per channel
//
// A client that asks for one type is compared with the events of this type. A client that goes on from an id must
// have what came after it.
//
// Any other client is bound from the moment it saw the first stream with a position open: the contract says that
// whatever is published after that reaches it. The first event it must have is therefore the oldest in the log that
// was sent after that moment, or the first it got, if that is older.
//
//   - silent hole: an event of the log from there to the end of the run was never delivered and no gap event for the
//     channel stood at that place (between the event before and the event after). Each missing event counts. An event
//     that had not arrived when the settling time ended counts as well: late is allowed, never is not.
//   - skipped: a gap was announced at that place, but the event is still in Redis. The contract is a gap and then
//     what is stored, so a gap excuses only events that are gone.
//   - repeat: an event id again. Allowed only after a gap with reason reset or unknown, and then once per such gap:
//     the client was told to start afresh.
//   - reordering: an event older (in the log) than one delivered before, for the first time. After a gap with reason
//     reset or unknown the comparison starts again.
//   - needless gap: a gap where nothing was missing, a reason trimmed where nothing is trimmed, or any gap at all in
//     a scenario in which Redis loses nothing. (A client of one type is not asked whether something of its type was
//     missing: nobody can know that once it is trimmed.)
//   - phantom: an event that is not in the log (another id for a payload on another replica shows up here).
//   - corrupt: the token, type or data of a delivered event differ from what was published under that id.
//   - died: an answer that makes EventSource give up for ever (anything but 200 with text/event-stream).
//
// # When Redis itself loses acknowledged writes
//
// An older snapshot put back, FLUSHALL, and SIGKILL with appendfsync everysec lose writes that were acknowledged. The
// scenario declares the loss: the span of time whose writes may be gone. Then
//
//   - a publish under way or stored in the span may be missing from the log, and may have been delivered although it
//     is missing; a raw message may be taken in up to two seconds after Redis answered, so the span is widened by
//     that for them;
//   - every other acknowledged publish must be in the log exactly once, as always;
//   - clients connected across it must still get every event of the log, once and in order. Nothing that was restored
//     may be repeated to them, unless a gap with reason reset or unknown came first;
//   - gaps with reason reset or unknown are allowed from the beginning of the loss on, not before.
//
// # What is not judged
//
// The order of events that Redis lost, relative to each other; the time a recovery took (it is reported: the longest
// an event was late, counted from its acknowledgement, the end of the last fault, or the client's own outage,
// whichever came last); anything only visible inside the gateway. A scenario whose faults did not bite (no connection
// was killed, no client had to come back) is reported as not exercised, and that is a failure too: it proves nothing.
package main
