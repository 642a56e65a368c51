package auth

import (
	"net/netip"
	"time"
)

const (
	denialsAtOnce = 50          // that one client address may cause in a row
	denialEvery   = time.Second // after these, one each
	maxClients    = 20_000      // addresses that are told apart
)

// pace bounds the calls to the application that one client address causes: how many at the same time, and how many that the
// application denies. Each made-up cookie would be a call otherwise. The calls that the application answers with a name are
// free, because a whole office may have one address.
type pace struct {
	slots   chan struct{} // holds a token for each call under way
	denials float64       // how many more there may be, as of the time at
	at      time.Time
}

// spend takes a denial in advance. It returns false if there is none left. Whoever was not denied puts it back.
func (p *pace) spend(now time.Time) bool {
	p.denials = min(denialsAtOnce, p.denials+now.Sub(p.at).Seconds()/denialEvery.Seconds())
	p.at = now
	if p.denials < 1 {
		return false
	}
	p.denials--
	return true
}

// paces are the paces by client. They are for one goroutine at a time.
type paces map[netip.Prefix]*pace

// of returns the pace of a client. When there are too many clients, those that come later share one.
func (ps paces) of(client netip.Prefix) *pace {
	if ps[client] == nil && len(ps) >= maxClients {
		client = netip.Prefix{}
	}
	p := ps[client]
	if p == nil {
		p = &pace{slots: make(chan struct{}, maxCallsPerClient), denials: denialsAtOnce, at: time.Now()}
		ps[client] = p
	}
	return p
}

// forget removes the paces that are as good as new.
func (ps paces) forget(now time.Time) {
	for client, p := range ps {
		if len(p.slots) == 0 && p.denials+now.Sub(p.at).Seconds()/denialEvery.Seconds() >= denialsAtOnce {
			delete(ps, client)
		}
	}
}
