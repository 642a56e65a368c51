// Command loadtest measures the gateway beside two other programs that do the same work, on one machine in one run:
//
//	go run ./cmd/loadtest -mode all
//
// It prints ratios first, then a table per mode, then the project's targets with what was measured. It exits 0 if all
// trials went well, 1 if in one of them something was lost, repeated or out of order, or a server gave up, and 2 if
// nothing could be measured. A missed target is no failure: it is printed. It needs Linux and redis-server.
//
// # What is compared
//
//   - floor: one thread; accepts, answers with the least that is an event stream, and then does one write(2) of a
//     ready frame per client and event. No Redis, no history, no positions, no heartbeats. Only a server that joins
//     several events into one write can be cheaper per delivery.
//   - naive: net/http; a goroutine and a Go channel per client, a Flush per event. No Redis, no history either.
//   - gateway: ./cmd/gateway as its users run it (default settings), on a real redis-server.
//
// Floor and naive get each event through a pipe from the load command, ready made. The gateway gets it by POST (or,
// with -publish raw, by PUBLISH to Redis), numbers it, stores it, announces it through Redis, encodes it and sends
// it; all of that is in its figures. Data and frames are equally long for all three; naive adds a chunk's head and
// end, some eight bytes.
//
// # How each figure is measured
//
//   - CPU: user and system time of the server's process (of all replicas together), all threads, from its CPU clock
//     (clock_getcpuclockid(3); /proc/PID/stat has the same in hundredths of a second). Kernel time is in it, and on
//     loopback that means the receiving half of TCP too: the sender's system call carries each packet up to the
//     client's socket and wakes its reader. It is counted for all three servers alike. CPU of Redis, of the clients
//     and of the load command is not in it; Redis' is shown beside. It is read 200 ms before and after the work, so
//     that work that trails behind (garbage collection, acknowledgements) counts. "in kernel" is the system time's
//     part. What the kernel's softirq threads take off a sender was below one in a hundred for all three when it was
//     looked at.
//   - per delivery: divided by events × clients, for the gateway with everything that publishing costs.
//   - memory: growth of the server's PSS (/proc/PID/smaps_rollup) between the moment before the first client and the
//     end of the time that idle streams are held (-hold), divided by streams. "at once" is the same right after the
//     last client connected, with the garbage of connecting. Kernel memory (socket buffers) is in neither; it is the
//     same kind of socket for all three.
//   - idle CPU: of one core, while idle streams are held (heartbeats fall into it).
//   - SUBSCRIBEs: commands of that name that Redis ran while the clients connected.
//   - goroutines: growth of the gateway's go_goroutines (/metrics), divided by streams.
//   - latency: from the moment before the publisher hands an event over (it writes the time into the event) to the
//     moment its client has read it, over all clients and events; an HDR histogram of microseconds. The time a client
//     process takes to get to a client's socket is in it, for all three servers.
//   - deliveries/s: deliveries divided by the time from the first publish to the last arrival.
//   - events/read: events that a client gets with one read(2): 1 if nothing is joined, up to 64 in burst.
//   - open: from connect(2) to the end of the response's head. The gateway sends it when Redis has confirmed the
//     subscription.
//   - streams/s: clients divided by the time until all of them have it, with 128 connects under way.
//   - CPU per connect, per disconnect: all clients connect as fast as they can, all leave at once; the second round
//     counts. A disconnect is over when the server has closed the descriptor.
//   - resume: the time from the first reconnect until every client has every event: those that were published while
//     it was away, and those published while the others came back. Redis commands are INFO commandstats' growth from
//     before the cut until then. Commands inside scripts count too, so one append is some ten of them.
//     Clients are spread over one channel, and over a hundred: per channel the number is the same.
//   - publishes/s: 64 connections, each waiting for its answer; raw PUBLISH pipelined, at most 512 under way between
//     Redis and the one client that watches. Done is when the client has the last event, not when Redis has.
//
// # Modes
//
// Paced publishes an event when every client has had the one before. Burst keeps 64 under way: event i is published
// when every client has had event i-64. Both are closed loops: a slow server is not overrun, it takes longer. So
// latencies are those of a server that is given no more than it can take.
//
// In every mode each client checks what it gets against what the others of its channel got: same events, same order,
// none twice, none missing when all is published. That goes for warm-up as well. A trial in which this does not hold
// has no figures.
//
// # What could flatter the gateway, and what is done about it
//
//   - A slow floor. Its loop allocates nothing, runs no garbage collection, and makes its writes around Go's
//     scheduler (which made it a tenth to a quarter cheaper). 98 to 99 % of its time is spent in the kernel ("in
//     kernel"): a program in C could save the rest at most.
//   - A noisy machine. Servers take turns (floor, naive, gateway, and again), a ratio is taken within each turn, the
//     median of the turns is shown. How much of the machine others used, and how much the host took, is measured from
//     /proc/stat and printed if it matters.
//   - Warm-up. The first tenth of the events (at least five) is not measured, for none of the three. Memory is
//     measured from a fresh process on, so nothing an earlier herd left behind is reused for free.
//   - Cores. No process is pinned. The gateway may use all cores, the floor has one thread by definition; processor
//     time does not become less by being spread, but latency does: the targets compare p99 with a one-thread floor,
//     and on two cores the clients need the other one.
//   - Sleeping clients. To wake a client process costs the sender; a server that keeps the clients busy pays less
//     often. That is part of the machine's truth and can't be avoided; the clients are as few processes as their file
//     descriptors allow, and equal for all.
//   - Requests. Clients send the header fields a browser sends.
//   - Joined writes. In burst the gateway sends many events with one write, the floor never does. That is the
//     comparison: the floor is what a server without it can reach at best. Paced is the one without joining.
//   - Environment. GOGC, GOMEMLIMIT, GOMAXPROCS, GODEBUG and GATEWAY_* are taken out of the servers' environment.
//
// What flatters the floor and naive: they have no Redis beside them, which competes for two cores with everybody, and
// they store and number nothing.
//
// # How it works
//
// The command starts itself again in the roles floor, naive and clients. A client process is one epoll loop
// (clients.go) over at most 8,000 connections, from source addresses of its own (127.0.x.y), and takes orders in
// lines of JSON (protocol.go). Load goes to loopback addresses only. Every trial starts fresh processes and ends
// them, by their pid; if the command itself is killed the kernel ends them. A trial may last five minutes beside
// -hold, and is given up when nothing has happened for 15 seconds.
package main
