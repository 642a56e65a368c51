// Package rig starts what a check of the gateway needs on one machine: processes, redis-servers, nginx, and the
// gateway's own binary. cmd/chaos, cmd/loadtest and the tests of the commands use it.
//
// A Group owns processes. It writes what each of them prints to a file, notices when one ends, and Close ends all of
// them. StartRedis and StartNginx start their servers in a Group. Find, FreeAddress, Until, Get, AwaitReady, Metric and
// MetricSum are the steps that every check repeats. Binary builds a program of this module, and Overlay makes its
// sources wrong for one build, so that a check can be checked. Package rigtest has the two that need a *testing.T.
//
// The package knows nothing of events and streams, and judges nothing: that is the work of the commands.
//
// # Design
//
// A process is ended by its own process id, never by its name: other programs of the machine may have the same name.
//
// On Linux the kernel ends the processes when the parent ends, whatever ends it. So nothing outlives an interrupted
// check. On other systems only Close ends them.
//
// Addresses lie outside the range from which the kernel takes ports for outgoing connections. Otherwise a server that
// is killed and comes back could find such a connection on its port.
//
// Programs run without the settings of the developer's shell (Environment), so a check measures and judges what users
// get.
//
// Package store/storetest starts redis-servers for the tests of the lower packages. It cannot use this package, which
// only packages below cmd may import, so it has a small copy of its own. The same holds for the test in deploy, which
// drives Docker.
package rig
