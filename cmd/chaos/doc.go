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
// # Floods and strangers
//
// In flood-sets every second client reads a shared channel and one of its own, and 20 more users for each client do the
// same and throw away what they get. Up to three floods of 10,000 raw messages reach the shared channel, each as fast as
// Redis takes them. Replicas may drop raw messages, but must count them (sluice_raw_lost_total): no more may be missing in
// Redis than all replicas together have counted.
//
// In many-readers strangers ask for streams and histories of channels that nobody publishes to, and of real ones after ids
// that they change at random, some hundred times a second, with Redis 10 ms away. Redis must have no key of a made-up name
// at the end, no publisher may be told to try again later, and no client may get a status that ends it, or a gap.
//
// # What is judged
//
// A run is written down as a record of what was seen from the outside. Package judge (cmd/internal/judge) compares it with
// the promises; its package comment has the rules. cmd/sim uses the same judge for simulated clusters.
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
