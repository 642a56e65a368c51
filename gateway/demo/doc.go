// Package demo holds what only a demonstration needs: the clock behind the time stream, simulated tasks, and made-up
// activities. A product that is built on Sluice needs none of it, and nothing in the rest of the gateway depends on it but
// the addresses that show it.
//
// It publishes through the store like any backend does. It knows no HTTP.
package demo
