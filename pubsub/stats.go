package pubsub

import "sync/atomic"

// Stats counts what the broker does. Read it with the atomic methods at any time.
type Stats struct {
	Sessions    atomic.Int64 // connections to Redis that were lost or refused
	ProbeNanos  atomic.Int64 // how long the newest probe took, nanoseconds
	Announced   atomic.Int64 // announcements received
	Malformed   atomic.Int64 // of those, not readable
	Repairs     atomic.Int64 // channels that had to be brought up from Redis
	Gaps        atomic.Int64 // gaps announced to streams
	Reads       atomic.Int64 // whole histories read from Redis
	RawSeen     atomic.Int64 // raw messages received and named
	RawStored   atomic.Int64 // of those, stored by this replica
	RawRejected atomic.Int64 // of those, rejected by this replica
	RawLost     atomic.Int64 // of those, given up: Redis took nothing for too long
}
