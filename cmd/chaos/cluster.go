package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/cmd/internal/rig"
)

// plan says what cluster a scenario needs.
type plan struct {
	persist persistence
	proxied bool // a proxy between each replica and Redis
	// away is how long a byte takes between each replica and Redis, in each direction, all the time. 0: they are near.
	away     time.Duration
	nginx    bool
	settings []string // of the gateway, beside those every scenario uses
}

// How Redis keeps its data over a restart.
const (
	memory    persistence = iota // it does not, except by an explicit SAVE
	everyTime                    // appendfsync always
	everySec                     // appendfsync everysec
)

type persistence int

// cluster is Redis, the replicas, and nginx if there is one.
type cluster struct {
	group   *rig.Group
	plan    plan
	gateway string // path of the binary
	ingest  string // channels that are ingested even while no client reads them: a comma list
	targets *targets

	redis *rig.Redis
	admin *redis.Client
	raw   *redis.Client // of the raw publishers
	nginx *rig.Nginx

	replicasMu sync.Mutex
	replicas   []*replica // that belong to the cluster, even while their process is down; guarded by replicasMu
	gone       []*replica // that have left the cluster; guarded by replicasMu
	serial     int        // of the newest replica; guarded by replicasMu
}

// members returns the replicas that belong to the cluster now.
func (c *cluster) members() []*replica {
	c.replicasMu.Lock()
	defer c.replicasMu.Unlock()
	return slices.Clone(c.replicas)
}

// remove takes a replica out of the cluster. Its process and its proxy end with the cluster at the latest.
func (c *cluster) remove(r *replica) {
	c.replicasMu.Lock()
	defer c.replicasMu.Unlock()
	c.replicas = slices.DeleteFunc(c.replicas, func(other *replica) bool { return other == r })
	c.gone = append(c.gone, r)
}

// replica is a gateway on one address. When its process has ended, another one can replace it.
type replica struct {
	name    string
	addr    string
	proxy   *proxy
	process *rig.Process // the running process, or the last one that ran
}

func (r *replica) url() string { return "http://" + r.addr }

// startLimit is how long something may take until it is ready.
const startLimit = 20 * time.Second

// startCluster starts everything and waits until it is ready. close ends it, also after an error.
func startCluster(ctx context.Context, c *cluster, n int) error {
	var persist []string
	switch c.plan.persist {
	case everyTime:
		persist = []string{"--appendonly", "yes", "--appendfsync", "always"}
	case everySec:
		persist = []string{"--appendonly", "yes", "--appendfsync", "everysec"}
	}
	var err error
	if c.redis, err = rig.StartRedis(ctx, c.group, persist...); err != nil {
		return err
	}
	c.admin, c.raw = newRedis(c.redis.Addr), newRedis(c.redis.Addr)
	for range n {
		if _, err := c.addReplica(); err != nil {
			return err
		}
	}
	if err := c.allReady(ctx); err != nil {
		return err
	}
	if c.plan.nginx {
		if err := c.startNginx(ctx); err != nil {
			return err
		}
	}
	c.retarget()
	return nil
}

// close ends every process and closes every connection.
func (c *cluster) close() {
	c.group.Close()
	for _, r := range append(c.members(), c.gone...) {
		if r.proxy != nil {
			r.proxy.close()
		}
	}
	for _, rdb := range []*redis.Client{c.admin, c.raw} {
		if rdb != nil {
			rdb.Close()
		}
	}
}

// addReplica adds a replica to the cluster and starts it on an address of its own. It does not wait until the replica
// is ready.
func (c *cluster) addReplica() (*replica, error) {
	addr, err := rig.FreeAddress()
	if err != nil {
		return nil, err
	}
	r := &replica{addr: addr}
	if c.plan.proxied {
		if r.proxy, err = newProxy(c.redis.Addr); err != nil {
			return nil, err
		}
	}
	if c.plan.away > 0 {
		if r.proxy, err = newProxy(c.redis.Addr); err != nil {
			return nil, err
		}
		r.proxy.late = c.plan.away
		r.proxy.set(lag)
	}
	c.replicasMu.Lock()
	c.serial++
	r.name = fmt.Sprintf("r%d", c.serial)
	c.replicas = append(c.replicas, r)
	c.replicasMu.Unlock()
	return r, c.startReplica(r)
}

// startReplica starts the replica's process, again or for the first time.
func (c *cluster) startReplica(r *replica) error {
	redisAddr := c.redis.Addr
	if r.proxy != nil {
		redisAddr = r.proxy.addr()
	}
	settings := append([]string{
		"GATEWAY_ADDR=" + r.addr,
		"GATEWAY_REDIS_URL=redis://" + redisAddr + "/0",
		"GATEWAY_REPLICA=" + r.name,
		"GATEWAY_INGEST=" + c.ingest,
		fmt.Sprintf("GATEWAY_HISTORY_SIZE=%d", historySize),
		"GATEWAY_RETRY=500ms",
		"GATEWAY_DRAIN_TIME=" + drainTime.String(),
		"GATEWAY_HEARTBEAT=5s",
		"GATEWAY_LOG_FORMAT=json",
	}, c.plan.settings...)
	p, err := c.group.Start(rig.Command{Name: r.name, Path: c.gateway, Env: rig.Environment(settings...)})
	r.process = p
	return err
}

// historySize is the largest GATEWAY_HISTORY_SIZE that the gateway allows: nothing is trimmed unless the scenario says
// so.
const historySize = 100_000

// drainTime is how long a replica takes to end its streams when it drains.
const drainTime = 2 * time.Second

// ready waits up to startLimit until a replica says that it is ready.
func (c *cluster) ready(ctx context.Context, r *replica) error {
	return rig.AwaitReady(ctx, r.process, r.url(), startLimit)
}

// allReady waits until each replica is ready, each for up to startLimit.
func (c *cluster) allReady(ctx context.Context) error {
	for _, r := range c.members() {
		if err := c.ready(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// retarget tells clients and publishers to use the replicas that belong to the cluster now, or nginx.
func (c *cluster) retarget() {
	var urls []string
	for _, r := range c.members() {
		urls = append(urls, r.url())
	}
	if c.plan.nginx {
		urls = []string{"http://" + c.nginx.Addr}
	}
	c.targets.set(urls)
}

// startNginx starts nginx in front of the replicas, and waits until it leads to one of them.
func (c *cluster) startNginx(ctx context.Context) error {
	var servers strings.Builder
	for _, r := range c.members() {
		fmt.Fprintf(&servers, "    server %s max_fails=1 fail_timeout=1s;\n", r.addr)
	}
	var err error
	if c.nginx, err = rig.StartNginx(c.group, strings.ReplaceAll(nginxConfig, "@servers", servers.String())); err != nil {
		return err
	}
	return rig.Until(ctx, startLimit, func(ctx context.Context) error {
		if err := c.nginx.Ended(); err != nil {
			return err
		}
		_, err := rig.Get(ctx, "http://"+c.nginx.Addr+"/healthz")
		return err
	})
}

// nginxConfig is made for EventSource: nothing is buffered, a replica that is down is skipped, and if all are down a
// client gets an answer that lets it come back.
const nginxConfig = `worker_processes 2;
error_log stderr warn;
worker_shutdown_timeout 1s;
events { worker_connections 2048; }
http {
  access_log off;
  @temporary
  upstream gateway {
    zone gateway 64k;
    least_conn;
@servers  }
  server {
    listen @listen;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    location / { proxy_pass http://gateway; }
    location /api/sse {
      proxy_pass http://gateway;
      proxy_buffering off;
      gzip off;
      proxy_read_timeout 1h;
      proxy_next_upstream error timeout http_502 http_503;
      error_page 502 503 504 = @none;
    }
    location @none { return 444; }
  }
}
`

// copyFile copies a file. It replaces the contents of a target that exists.
func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
