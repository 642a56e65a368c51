// Package gateway is the HTTP face of Sluice: what a browser, a publisher and an operator can see. The routes are in
// Server.routes, what every answer but the wanted one looks like is in errors.go, and the wire format in frame.go.
//
// Status codes: 200, 201 and 202 as usual; 204 ends a stream for good (the task has ended and the client knows); 400 for
// what is wrong with a request, 403 for a page of another origin, 404, 405, 409 for a task that has ended or exists, 413,
// 429 for too many streams from one address, 503 while Redis or this replica is away. Every refusal is
// {"error","code"}, and a 2xx for a publish means: stored in Redis and announced, in one step.
//
// # Design
//
// EventSource gives up for good when a stream answers anything but 200, so a stream that could be served a moment later
// (the replica drains, Redis is away, a herd is at the door) is answered with a 200 that only says when to come back,
// if EventSource asks and no proxy of ours stands between (see comeBack).
//
// The first frame of a stream has the client's position and no data. EventSource takes the id from it (WHATWG HTML,
// section 9.2.6), so a client that loses its connection before the first event resumes too.
//
// A stream is a cursor into a feed, whose frames are encoded once and shared. On Linux plain HTTP/1.1 streams are written
// by a few loops, one per processor, straight to their sockets (loop_linux.go): no goroutine, no buffer, no timer of their
// own. net/http and net let go of the connection after the request (some 4 KiB of buffers and two goroutines). Everything else
// (HTTP/2, TLS, other systems, GATEWAY_WRITER=goroutine) is written by the handler's goroutine (writer.go). Both go
// through the same tests.
//
// echo stays in this package. Handlers parse, call the store or the broker, and answer; nothing below knows HTTP.
package gateway
