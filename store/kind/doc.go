// Package kind says what a channel is. There are notifications, activities, tasks (progress:*) and general channels,
// and everything that distinguishes them is one line each of the table in kind.go: which channels the line is for, what
// a valid event of theirs looks like, how much of them is kept, whether replicas always follow them, and how their
// events look on a stream. [Of] finds a channel's line; no other package compares names of channels.
//
// The package also checks names of channels, types and tasks, because these names become parts of Redis keys and of the
// frames of event streams.
//
// It knows neither Redis nor HTTP: a [Draft] is an event that package store can number and store. It imports nothing of
// this module.
//
// # Design
//
// A POST and a raw PUBLISH go through the same function of the table, so both are judged by the same rules. What
// differs (a PUBLISH may be plain text) is a field of the line.
//
// Every replica makes a draft of every raw message, and all must come to the same result: [DraftPayload] depends on
// its arguments only, never on a clock, a random number or a setting that could differ between replicas.
//
// A new kind of channel is a new line. The first line that matches counts, so a special pattern stands above a wider
// one. A kind that has a shape or addresses of its own also touches these places:
//
//	a file in this package          its struct, and the Draft method that checks it
//	gateway/server.go, routes       its addresses
//	gateway, a file for the kind    the handlers of these addresses
//	Draft and store/lua/add.lua     only if Redis must insert a field that no kind has so far (Fill)
//	README.md                       the tables "Publish", "API" and "In Redis"
package kind
