//go:build !chaosbroken

package pubsub

// skipRepair is true only in a gateway that is broken on purpose (-tags chaosbroken): it passes over holes instead of
// filling them, and cmd/chaos must notice.
const skipRepair = false
