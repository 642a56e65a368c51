// Package world is one simulated cluster: real replicas on a model Redis and a network that can fail, publishers, clients and
// a schedule of faults, all drawn from one seed. The comment of cmd/sim explains it.
package world
