// Command loadtest measures the gateway beside two other programs that do the same work, on one machine in one run:
//
//	go run ./cmd/loadtest -mode all
//
// It prints ratios first, then a table for each mode, then the project's targets with what was measured. It needs Linux
// and redis-server. The exit code is one of these:
//
//	0  all trials went well; a target that was missed is printed, but is no failure
//	1  in a trial an event was lost, repeated or out of order, or a server gave up
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
//     event.
//
// # Figures
//
//	connections that open streams at the same time             128
//	connections that publish by POST                           64
//	raw PUBLISH: events under way                              at most 512
//	resume: channels                                           1, or 100
//	resume: Redis commands of one append                       about 10
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
// In every mode each client compares what it receives with what the other clients of its channel receive: the same
// events in the same order, none twice, and none missing when everything is published. That includes the warm-up. A
// trial in which this does not hold has no figures.
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
