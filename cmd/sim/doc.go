// Command sim lives through cluster histories with the real code, each of them replayable from one number.
//
//	go run ./cmd/sim                     worlds with fresh seeds for two minutes
//	go run ./cmd/sim -seeds 1-1000       these worlds
//	go run ./cmd/sim -seed 7             one world, with a log of everything that happened in it
//	go run ./cmd/sim -seed 7 -shrink     the same with as few faults as possible
//	go run ./cmd/sim -bugs               plants each of ten bugs in turn and looks for it
//	go run ./cmd/sim -bug fence -seeds … one planted bug
//
// It exits 0 when nothing was violated, 1 when something was, 2 when worlds could not be run. A seed means the same
// history as long as the code, the Go version and this command are the same: any change draws another history.
//
// # A world
//
// One to three replicas (and some that join), each with the real store, pubsub and gateway and the portable writer; a
// model Redis with the real Lua scripts; publishers by POST and by raw PUBLISH, single and in bursts; clients that do
// what EventSource does, some of which lose their connections, stay away, read slowly, or want one type only; and a
// schedule of faults. All of it is drawn from the seed (package world, plan.go): a world has only a few kinds of fault,
// so that each happens often, and so that the strictest rules hold in many worlds (swarm testing). When the load is
// over everything is mended, and the world has to come to rest: every replica ready, every client with every event.
//
// # How a history is made to happen again
//
// The world is compiled for GOOS=wasip1 GOARCH=wasm and run by wazero, one instance per world. There, goroutines share
// one thread and switch only where they wait; the scheduler's random choices, map orders, nonces and delays come from
// random_get, which is a ChaCha8 stream of the seed; and time is what the host says: both clocks count up by a
// microsecond at each reading, and sleeping only moves them. So a world of ten virtual seconds takes less than a real
// one, and its trace (every frame, publish, fault and connection, with its time) has the same SHA-256 each time. The
// log is made in every run, looked at or not, because the time it takes is a part of the history.
//
//	cmd/sim                      builds guests, runs them side by side, reports
//	cmd/sim/guest                the program that is run: one world, its outcome as JSON
//	cmd/sim/internal/world       plans, replicas, clients, publishers, faults
//	cmd/sim/internal/redismodel  a Redis that can fail, compared with a real one by a test
//	cmd/sim/internal/network     connections that can fail
//	cmd/internal/judge           what is a violation: pure rules on a record of what was seen from the outside
//
// # What is judged
//
// The rules are those of cmd/chaos (package judge): acknowledged means stored, stored exactly once, in order; every
// client gets every event once and in order, or a gap notice where some are gone. Three things are stricter here, since
// the simulated Redis and network know exactly what they did:
//
//   - A raw PUBLISH may be lost only if every connection that Redis counted as a receiver ended before it had read the
//     message, or its replica was killed before it can have stored it.
//   - Where nothing costs a replica its subscription, raw messages keep their order and a live stream gets no gap. Where
//     Redis comes back older, a stream that had delivered an event which Redis still has gets no gap either.
//   - Liveness: after the faults, replicas must be ready and clients must have caught up within forty virtual seconds; in a
//     quarter of the worlds nothing more is published and quiet channels are not compared, so that nothing hides what was
//     missed.
//
// # What it cannot do
//
//   - A goroutine cannot be killed, so a replica is killed by breaking its network first; what it does after that is
//     unseen. A paused replica is one whose connections stand still; its own timers go on, so what it does when it wakes
//     up (pauseTolerance in pubsub/listen) is left to the tests there and to cmd/chaos (replica-pause).
//   - Goroutines switch only where they wait. Races between two instructions are left to the race detector.
//   - The epoll writer needs Linux: cmd/chaos and the tests of gateway/writer have it.
//   - All clocks of a world are one. Only Redis's TIME can jump.
//   - The model Redis is one node. Sentinel, Cluster and real persistence are for cmd/chaos.
//   - A Redis that goes back to a past it had left (snapshot B of a branch that was lost when snapshot A came back) is not
//     simulated: only replicas that were there when it was left can tell their clients, and not all are (see pubsub).
//
// # Which promise is checked where
//
//	promise                                   sim  chaos  tests
//	every event once, in order, or a gap      yes  yes    catch-up and feed rules by property
//	raw PUBLISH stored exactly once           yes  yes    naming by property
//	acknowledged means stored                 yes  yes    store
//	trimming, resuming, rewinding             yes  yes    pubsub
//	everybody live again after faults         yes  yes    –
//	waking up after a pause of the process    no   yes    pubsub/listen
//	slow clients of the epoll writer          no   yes    gateway/writer
//	nginx, real sockets, real persistence     no   yes    deploy
//
// # Planted bugs
//
// bugs.go has ten mistakes as replacements in the product's files, built with go build -overlay. A place that is not found
// exactly once fails a test, so who moves code moves the place. The README has how many worlds it takes to find each.
package main
