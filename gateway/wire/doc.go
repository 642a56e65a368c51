// Package wire makes the bytes of an event stream (Server-Sent Events: WHATWG HTML, section 9.2). It is the only package
// that knows what a frame looks like.
//
// A frame is one block of an event stream: some fields, one per line, and an empty line. The encoders [Plain] and
// [Envelope] turn stored events into frames; package pubsub calls them, once per event for all streams that share a feed.
//
// The package knows neither streams nor HTTP, holds no state, and its functions are safe for concurrent use. The functions
// that start with Append add to dst and return it, as the built-in append does.
//
// # Design
//
// No block is without data, ever. Several clients in wide use hand a block without data to their user, as an empty message.
// So the reconnection time and the heartbeat are lines, not blocks, and a place that must be told without an event is a
// named event with data.
//
// Nothing in an event can begin another field or another frame. Names of channels and types contain no line end:
// package store checks them. Data is written line by line.
package wire
