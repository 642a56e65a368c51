// Package gateway is the HTTP face of Sluice: what a browser, a publisher and an operator can see. Server.routes lists all
// addresses. Handlers read the request, call the store or the broker, and answer; errors.go turns every error into an
// answer.
//
//	gateway/auth     who makes a request, and what they may do
//	gateway/wire     the bytes of an event stream
//	gateway/writer   moves these bytes to connections
//	gateway/console  the pages
//	gateway/demo     what only demonstrations need: the clock, simulated tasks, made-up activities
//
// # Status codes
//
//	200, 201, 202       as usual; for a publish they mean that the event is stored in Redis and announced, in one step
//	204                 ends a stream for good: the task has ended, and the client has seen that
//	400, 405, 413       something is wrong with the request
//	401                 there is no credential, or it is not valid
//	403                 somebody lacks a right; a page of another origin may not publish
//	404                 no such address, or no such task
//	409                 the task has ended, or exists
//	429                 too many streams from one address
//	503                 Redis does not answer or refuses, or this replica is stopping or busy
//
// Every refusal is JSON: {"error","code"}, and "fields" if it is about some fields of the request.
//
// # Design
//
// EventSource gives up for good when a stream answers anything but 200. But a stream may be possible a moment later:
// when this replica is stopping, Redis does not answer, or too many clients come at once. Then an EventSource gets a
// 200 that only says when to come back and breaks off, unless nginx.conf's proxy does that itself (see comeBack).
//
// A client that has seen a stream open resumes, even if it loses its connection before the first event: if nothing with an
// id comes first, a position does ("event: position"). EventSource keeps its id (WHATWG HTML, section 9.2.6).
//
// A response that ends cleanly has ended for good: several clients in wide use do not come back after it. So a drain, a
// client that is too slow and a refusal that is not final break the response off (see breakOff).
//
// net/http accepts connections and reads requests. For a stream that is open for hours it costs too much: two
// goroutines and some 4 KiB of buffers for each connection. So a stream's connection is taken away from net/http where
// that is possible (carry.go).
//
// Every address under /api/ asks who makes the request (authenticate), and what they may do is decided where a channel's name
// is known: in streamOf and the lists for reading, and in publish, through which every event goes. The decision needs the
// name only, so a refusal does not show whether a channel exists.
//
// echo stays in this package. Nothing below knows HTTP.
package gateway
