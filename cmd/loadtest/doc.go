// Command loadtest measures the gateway beside two other programs that do the same work, on one machine in one run:
//
//	go run ./cmd/loadtest -mode all
//
// It prints ratios first, then a table for each mode, then the project's targets with what was measured. With another build
// of the gateway, which takes part wherever this one does, it also measures the targets that compare the two:
//
//	go run ./cmd/loadtest -against /path/of/another/gateway
//
// It needs Linux and redis-server, and 20,000 file descriptors per process for the largest trials; with fewer it uses fewer
// clients, and says which targets it cannot judge. The exit code is one of these:
//
//	0  all trials went well; a target that was missed is printed, but is no failure
//	1  in a trial an event was lost, repeated or out of order, or a server gave up; trials of another build do not count
//	2  nothing could be measured
//
// # What is compared
//
//   - floor: one thread. It accepts a client, answers with the shortest head of an event stream, and then does one
//     write(2) of a ready frame for each client and event. It has no Redis, no history, no positions and no heartbeats.
//     Only a server that joins several events into one write can be cheaper per delivery.
//   - naive: net/http, with a goroutine and a Go channel for each client, and a Flush for each event. It has no Redis
//     and no history either.
//   - gateway: ./cmd/gateway with its default settings, on a real redis-server.
//   - against: the program of -against, a build of the gateway from another commit, with the same settings. A gateway does
//     not start with a setting that it does not know. So trials need only settings that all builds have had from the
//     beginning (GATEWAY_ADDR, GATEWAY_REDIS_URL, GATEWAY_REPLICA, GATEWAY_LOG_FORMAT, GATEWAY_WRITER with -writer,
//     GATEWAY_INGEST, GATEWAY_HISTORY_SIZE). Where builds have different names in Redis, the command looks for both.
//
// Floor and naive get each event ready made, through a pipe from the load command. The gateway gets it by POST, or with
// -publish raw by PUBLISH to Redis. It numbers the event, stores it, announces it through Redis, encodes it and sends
// it, and all of that is in its figures. Data and frames have the same length for all three. Naive adds the head and
// the end of an HTTP chunk.
//
// # How each figure is measured
//
//   - CPU: user and system time of the server's process, of all its threads and of all replicas together. It is read
//     from the CPU clock of the process (clock_getcpuclockid(3)); /proc/PID/stat has the same in hundredths of a
//     second. It contains kernel time. On loopback that is also the receiving half of TCP: the system call of the
//     sender carries each packet to the client's socket and wakes its reader. This is counted for all three servers
//     alike. CPU of Redis, of the clients and of the load command is not in it; that of Redis is shown beside it. The
//     clock is read 200 ms before and after the work, so that work that follows later (garbage collection,
//     acknowledgements) counts. "in kernel" is the part of the system time. Work that the kernel's softirq threads do for
//     a sender is not counted; it was too little to matter for any of the three servers (see the table below).
//   - per delivery: divided by events × clients. For the gateway it contains everything that publishing costs.
//   - memory: growth of the server's PSS (/proc/PID/smaps_rollup) from before the first client until the end of the time
//     for which idle streams are held (-hold), divided by streams. "at once" is the same right after the last client has
//     connected, with the garbage of connecting. Kernel memory (the buffers of sockets) is in neither; all three servers
//     have the same kind of sockets.
//   - idle CPU: percent of one core while idle streams are held. Heartbeats fall into this time.
//   - SUBSCRIBEs: how many commands of that name Redis ran while the clients connected.
//   - goroutines: growth of the gateway's go_goroutines (/metrics), divided by streams.
//   - latency: from the moment before the publisher sends an event (it writes the time into the event) to the moment
//     when a client has read it, over all clients and events, in an HDR histogram of microseconds. It contains the time
//     that a client process takes to get to this client's socket, for all three servers.
//   - deliveries/s: deliveries divided by the time from the first publish to the last arrival.
//   - events/read: events that a client gets by one read(2): 1 if nothing is joined, up to 64 in burst.
//   - open: from connect(2) to the end of the response's head. The gateway sends the head when Redis has confirmed the
//     subscription.
//   - streams/s: clients divided by the time until all of them have a stream.
//   - CPU per connect, per disconnect: all clients connect as fast as they can, and all leave at once. The second round
//     counts. A disconnect is over when the server has closed the descriptor.
//   - resume: the time from the first reconnect until every client has every event: those that were published while it
//     was away, and those published while the others reconnected. Redis commands are the growth of INFO commandstats
//     from before the cut until then. Commands inside scripts count too. The clients read one channel, or are spread over
//     several; per channel the number of commands is the same.
//   - publishes/s: by POST each connection waits for its answer. By raw PUBLISH the events are pipelined, with a bound on
//     those that Redis has got and the one client that reads them has not. The work is done when the client has the last
//     event. "publisher µs" is the processor time of the load command, which writes the requests and reads the answers.
//   - script calls per message: the growth of evalsha, eval and fcall in INFO commandstats. The mode raw sends messages one by
//     one, so that no call has two of them, and waits until /metrics of the replicas says that all are stored.
//   - flood: "received" are the messages for which Redis answered its PUBLISH with a receiver. "stored" is the offset of the
//     channel's newest event in Redis. "rejected" and "counted lost" are sluice_raw_rejected_total and sluice_raw_lost_total
//     of /metrics, all causes together. "not counted" is what is left: more than 0 if messages have vanished, less if some
//     are stored twice. The trial ends when nothing is left, or when nothing has changed for 15 seconds. Its clients are
//     loose (loose.go): a stream that the gateway ends because it is too slow comes back with its Last-Event-ID, and all of
//     them must get to the last event.
//   - deep: one replica stores the events, and is ended. Other replicas, which know nothing of the channels, serve one client
//     after the other, one for each channel and replica. What the servers do while nothing happens, measured just before, is
//     taken off. The time is from connect(2) to the last event.
//   - watch: bytes of Redis are the growth of used_memory (INFO memory), those of the replica the growth of its PSS, both from
//     before the first client until the end of -hold, divided by channels. Commands and idle CPU are those of -hold.
//
// # Figures
//
//	connections that open streams at the same time             128
//	connections that publish by POST                           64; in publish 1, 32 and 256; in deep 256
//	raw PUBLISH: events under way                              at most 512
//	resume: channels                                           1, or 100
//	resume: Redis commands of one append                       about 10
//	flood: PUBLISHes in one round trip                         at most 64, one connection
//	raw: time between two messages                             20 ms
//	a loose client comes back                                  after 3 seconds
//	warm-up, not measured                                      the first tenth of the events, at least 5
//	an HTTP chunk of naive is longer than a frame by           about 8 bytes
//	softirq threads, part of the senders' time, when checked   less than 1 %
//	floor: part of its CPU time in the kernel                  98 to 99 %
//	floor: saved by writing without telling Go's scheduler     10 to 25 %
//	connections of one client process                          at most 8,000
//	longest trial, beside -hold                                5 minutes
//	longest time without progress in a trial                   15 seconds
//
// # Modes
//
// Paced publishes an event when every client has received the one before. Burst keeps 64 events under way: event i is
// published when every client has received event i-64. Both wait for the clients, so no server gets more than it can
// send: a slow one takes longer. The latencies are those of such a server.
//
// Sets is paced and burst with streams of two channels: the shared one, and one of each client's own. Filters is paced with
// a filter of types on each stream, 1,000 different ones or one. In flood the raw messages come as fast as Redis takes them,
// or at the rate that the documents say loses nothing (-rate).
//
// In every mode but deep, raw, flood and watch each client compares what it receives with what the other clients of its
// channel receive: the same events in the same order, none twice, and none missing when everything is published. That
// includes the warm-up. A trial in which this does not hold has no figures. A trial of flood in which messages are missing
// that nobody has counted fails as well, but shows its figures.
//
// # What could make the gateway look better than it is
//
//   - A slow floor. Its loop allocates nothing, runs no garbage collection, and writes without telling Go's scheduler,
//     which makes it cheaper. It spends nearly all of its time in the kernel ("in kernel"), so a program in C could save
//     only the small rest.
//   - A busy machine. The servers take turns (floor, naive, gateway, and again). Each ratio is that of one turn, and the
//     median of the turns is shown. /proc/stat shows how much processor time other programs and the host of a virtual
//     machine used; it is printed if it matters.
//   - Warm-up. The first events are not measured, for none of the three. Memory is measured in a new process, so that
//     memory of earlier clients is not used again.
//   - Cores. No process is bound to a core. The gateway may use all cores, the floor has one thread. Processor time
//     does not become less when it is spread, but latency does: the targets compare the p99 of the gateway with that of
//     a floor of one thread, and on two cores the clients need the other core.
//   - Sleeping clients. Waking a client process costs the sender time, so a server that keeps the clients busy pays less.
//     The same happens in real use, and cannot be avoided. There are as few client processes as their file
//     descriptors allow, and the same number for all servers.
//   - Requests. Clients send the header fields that a browser sends.
//   - Joined writes. In burst the gateway sends many events with one write, the floor never does. This is meant: the
//     floor shows what a server can reach without joining. Paced is the comparison without joining.
//   - Environment. GOGC, GOMEMLIMIT, GOMAXPROCS, GODEBUG and GATEWAY_* are removed from the servers' environment.
//
// Floor and naive have an advantage too: no Redis competes with them for the cores, and they store and number nothing.
//
// # How it works
//
// The command starts itself again in the roles floor, naive and clients. A client process is one epoll loop
// (clients.go), with source addresses of its own (127.0.x.y). It gets orders in lines of JSON (protocol.go). Load goes
// to loopback addresses only. Every trial starts new processes and ends them by their process ids; if the command
// itself is killed, the kernel ends them. A trial that makes no progress is ended and has no figures.
package main
