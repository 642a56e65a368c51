//go:build chaosbroken

package pubsub

// skipRepair breaks the gateway on purpose; see broken_off.go.
const skipRepair = true
