//go:build linux

package main

import "context"

// filterType is the type of the events of the mode filters. Every client asks for it and for one other type, so that all
// of them receive all events.
const filterType = "hit"

// The trials of the mode filters.
const (
	filtersMany = "1,000 filters"
	filtersOne  = "one filter"
	manyFilters = 1000
)

func filtersMode() mode {
	return mode{
		name:  "filters",
		about: "each client reads the shared channel through a filter of types, one event at a time",
		works: func(o options) []work {
			var all []work
			for _, label := range []string{filtersMany, filtersOne} {
				all = append(all, work{
					label: label, clients: o.size(5000), events: o.number(100), replicas: 1, kind: filterType,
					servers: []string{gatewayServer},
				})
			}
			return all
		},
		run: func(ctx context.Context, r *run) error {
			r.o.publish = "post" // a raw message has no type
			how := opening{rate: openRate, own: "/api/sse/channels/" + channelName(sharedChannel) + "?types=" + filterType + ",t-"}
			how.modulo = manyFilters
			if r.w.label == filtersOne {
				how.modulo = 1
			}
			return r.weighAndFanOut(ctx, how, 1)
		},
		key:     figCPU,
		columns: append([]string{figMemory}, fanOutColumns()...),
	}
}
