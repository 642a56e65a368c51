package pubsub

// naming gives every raw message of a source the same name on every replica: the source's newest marker, and how many
// messages of its channel came since. A source is a channel or a pattern we subscribed to. See doc.go, "Markers".
//
// It is a plain state machine without a clock, a lock or a connection; the receive loop owns it. It lives as long as
// one connection: a new one may have missed messages, and starts with none.
type naming struct {
	sources map[string]*source
}

// source counts the messages of one subscription since its newest marker.
type source struct {
	marker string
	count  uint64            // messages of the channel that the source is
	counts map[string]uint64 // of a pattern's channels; nil until there are some
}

// name is what all replicas call one raw message.
type name struct {
	marker string
	number uint64 // 1, 2, 3, … per marker and channel
}

func newNaming() *naming { return &naming{sources: make(map[string]*source)} }

// forget ends the counting of a source we no longer subscribe to.
func (n *naming) forget(source string) { delete(n.sources, source) }

// counted returns how many channels of a source have had messages since its marker.
func (n *naming) counted(source string) int {
	if s := n.sources[source]; s != nil {
		return len(s.counts)
	}
	return 0
}

// seen takes in a marker. Everybody's marker counts for the sources we follow; ours (own) also makes us follow the
// sources it names: it was published in one step with our subscription to them, so we have missed nothing since.
func (n *naming) seen(marker string, sources []string, own bool) {
	for _, s := range sources {
		if n.sources[s] == nil && !own {
			continue
		}
		n.sources[s] = &source{marker: marker}
	}
}

// next names the next message of channel that came by source. ok is false while we only watch the source.
func (n *naming) next(sourceName, channel string) (_ name, ok bool) {
	s := n.sources[sourceName]
	if s == nil {
		return name{}, false
	}
	if channel == sourceName {
		s.count++
		return name{marker: s.marker, number: s.count}, true
	}
	if s.counts == nil {
		s.counts = make(map[string]uint64)
	}
	s.counts[channel]++
	return name{marker: s.marker, number: s.counts[channel]}, true
}
