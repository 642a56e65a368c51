package pubsub

// Looks returns how often Redis was asked which dataset it has, and has said so.
func (b *Broker) Looks() int64 { return b.looks.Load() }
