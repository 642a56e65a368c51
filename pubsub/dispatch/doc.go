// Package dispatch stands between the goroutine that reads Redis and everything that an announcement causes. The reader
// puts announcements into a [Queue], and workers hand them to a [Handler], in order for each channel.
//
// It knows no connections and no events: a channel is a name, an announcement is bytes. Raw messages do not pass through
// it: the reader hands them to package ingest by itself, so nothing that happens here can lose one.
//
// # Model
//
// There is one worker for each processor. A channel always has the same worker, so its notices are handled in the order
// in which they were put in:
//
//	Announced    an announcement
//	Dropped      announcements of the channel were dropped here
//	Subscribed   everything that is published from now on will come
//	Lost         nothing comes any more; each worker tells it about its own channels
//
// A fence is behind all workers when everything that was put in before it has been handled.
//
// # Design
//
// Why workers. An announcement may cost milliseconds, if many streams of different kinds want it. While the reader did
// that work itself, thousands of messages lay in its socket, the probe among them. It was taken for lost after 4 seconds,
// and the connection was closed with all raw messages in it.
//
// Waking. A worker that sleeps is woken when the reader has handled everything it has read ([Queue.Flush]), not for each
// announcement. One that is at work takes what has come meanwhile, up to 64 notices at a time, and is not woken at all. If
// there is one announcement, the reader wakes one worker and goes to sleep itself: Go's scheduler runs a goroutine that
// was just woken next on the same processor. A fence does not wake a worker that has nothing to do.
//
// Bound. What waits is bounded in bytes. A channel may have three times as much waiting as is free: a flooded channel gets
// 24 MiB and leaves 8 to the others. An announcement that does not fit is dropped, and so are the next ones of the same
// channel, until its worker comes to the notice of that: Dropped. What was announced until then is in the list in Redis,
// from which the Handler repairs the channel. So nothing is lost but the time of one reading, unless the list has been
// trimmed meanwhile; then clients are told of a gap.
//
//	notice            cost
//	announcement      80 bytes and the payload until it is handled; an entry of a map while its channel has any
//	Subscribed        80 bytes until it is handled
//	Lost              each worker walks through all channels, once for each connection that is lost
//	fence             80 bytes for each worker that has something to do
//
//	waiting in all channels together   32 MiB, with 128 bytes for each announcement
//	waiting in one channel             3 times what is free
//
// What an anonymous reader can make of this: streams that make an announcement expensive delay the channels that have the
// same worker, and if more is published than the workers handle, channels are repaired from Redis instead, a history each
// time. Messages on their way into the store are not concerned.
package dispatch
