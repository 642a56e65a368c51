// Package network is an in-memory network whose connections can fail the way TCP connections do.
//
// A [Network] joins hosts, which are just names. A host listens ([Network.Listen]) and dials ([Network.Dial]); what
// they get is a net.Conn with deadlines. Every piece of data travels for a short random time, in order, and each
// direction of a connection holds a bounded number of bytes, so that a peer that does not read blocks the writer.
//
// # Faults
//
//	Stall    data between two hosts stands still, in one direction or both, and new connections wait too
//	Resume   it goes on; nothing was lost
//	Reset    connections between two hosts break at both ends at once, and what was under way is gone
//	Slow     data between two hosts takes longer
//	Down     a host is dead: its connections break, and dialling it is refused
//
// A black hole is a Stall that ends with a Reset: TCP never loses bytes in the middle of a connection that lives on.
// A half-open connection is a Stall of a host that is gone. A one-way failure is a Stall of one direction.
//
// # What got lost
//
// A connection knows since when it has data that its peer never read ([Conn.LostSince]). The judge needs it: Redis
// counts a subscriber as a receiver of a message that may never arrive.
//
// # Design
//
// All state is guarded by one mutex. The network is meant for a simulation on one thread, where a lock is never
// contended and one lock is easy to reason about. There is no goroutine per connection: data has an arrival time, and
// whoever reads waits for it with a timer.
package network
