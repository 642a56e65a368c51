//go:build linux

package main

import (
	"context"
	"fmt"
)

func scaleMode() mode {
	return mode{
		name:  "scale",
		about: "cost of a delivery against the number of clients, and of replicas",
		works: func(o options) []work {
			const deliveries = 450_000
			largest := o.size(15_000)
			some := largest / 3
			var all []work
			for _, clients := range []int{largest / 15, some, largest} {
				clients = max(clients, 1)
				all = append(all, work{
					label: fmt.Sprintf("%s clients", thousands(clients)), clients: clients,
					events: o.number(deliveries / clients), replicas: 1, servers: []string{floorServer, gatewayServer},
				})
			}
			for _, replicas := range []int{2, 4} {
				clients := max(some, 1)
				all = append(all, work{
					label:   fmt.Sprintf("%s clients, %d replicas", thousands(clients), replicas),
					clients: clients, events: o.number(deliveries / clients), replicas: replicas,
					servers: []string{gatewayServer},
				})
			}
			return all
		},
		run:     func(ctx context.Context, r *run) error { return r.fanOut(ctx, 1) },
		key:     figCPU,
		ratios:  []string{floorServer},
		columns: fanOutColumns(),
	}
}
