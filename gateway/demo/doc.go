// Package demo holds what only a demonstration needs: the clock behind the time stream, simulated tasks, and made-up
// activities. A product that is built on Sluice needs none of it. In the gateway, only the addresses that show it
// depend on it.
//
// The package publishes through the store, as the gateway's handlers do. It knows no HTTP.
package demo
