package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// plan is how a scenario wants its cluster.
type plan struct {
	persist  persistence
	proxied  bool // a proxy between each replica and Redis
	nginx    bool
	settings []string // of the gateway, beside those every scenario uses
}

// How Redis keeps its data over a restart.
const (
	memory    persistence = iota // not at all, except by an explicit SAVE
	everyTime                    // appendfsync always
	everySec                     // appendfsync everysec
)

type persistence int

// cluster is Redis, the replicas, and nginx if there is one.
type cluster struct {
	*procs
	plan    plan
	gateway string // the binary
	ingest  string // channels taken in even while nobody watches
	targets *targets

	redis     *proc
	redisAddr string
	admin     *redis.Client
	raw       *redis.Client // of the raw publishers
	nginx     *proc
	nginxAddr string

	replicasMu sync.Mutex
	replicas   []*replica // that are up, or down for a moment; guarded by replicasMu
	gone       []*replica // guarded by replicasMu
	serial     int        // guarded by replicasMu
}

// members returns the replicas there are now.
func (c *cluster) members() []*replica {
	c.replicasMu.Lock()
	defer c.replicasMu.Unlock()
	return slices.Clone(c.replicas)
}

// leave takes a replica off the list; its process and proxy are ended at the latest with the cluster.
func (c *cluster) leave(r *replica) {
	c.replicasMu.Lock()
	defer c.replicasMu.Unlock()
	c.replicas = slices.DeleteFunc(c.replicas, func(other *replica) bool { return other == r })
	c.gone = append(c.gone, r)
}

// replica is one gateway process and its address, which outlives the process.
type replica struct {
	name  string
	addr  string
	proxy *proxy
	proc  *proc
}

func (r *replica) url() string { return "http://" + r.addr }

const startLimit = 20 * time.Second

// startCluster brings everything up and waits until it is ready. close ends it, also after an error.
func startCluster(ctx context.Context, c *cluster, n int) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	c.redisAddr = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	c.admin, c.raw = newRedis(c.redisAddr), newRedis(c.redisAddr)
	if err := c.startRedis(ctx); err != nil {
		return err
	}
	for range n {
		if _, err := c.addReplica(ctx); err != nil {
			return err
		}
	}
	if err := c.allReady(ctx, startLimit); err != nil {
		return err
	}
	c.aim()
	if c.plan.nginx {
		return c.startNginx(ctx)
	}
	return nil
}

func (c *cluster) close() {
	if c.nginx != nil && c.nginx.running() {
		_ = c.nginx.terminate(2 * time.Second) // so that it ends its workers; killed it could not
	}
	c.endAll()
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

// startRedis starts redis-server on its data and waits until it answers.
func (c *cluster) startRedis(ctx context.Context) error {
	path, err := find("redis-server")
	if err != nil {
		return err
	}
	host, port, _ := net.SplitHostPort(c.redisAddr)
	args := []string{
		"--bind", host, "--port", port, "--dir", c.dir, "--daemonize", "no", "--save", "", "--appendonly", "no",
	}
	switch c.plan.persist {
	case everyTime:
		args = append(args, "--appendonly", "yes", "--appendfsync", "always")
	case everySec:
		args = append(args, "--appendonly", "yes", "--appendfsync", "everysec")
	}
	if c.redis, err = c.start("redis", os.Environ(), path, args...); err != nil {
		return err
	}
	return until(ctx, startLimit, func(ctx context.Context) error {
		if !c.redis.running() {
			return c.redis.ended()
		}
		return c.admin.Ping(ctx).Err()
	})
}

// addReplica starts one more replica on an address of its own.
func (c *cluster) addReplica(ctx context.Context) (*replica, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	r := &replica{addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}
	if c.plan.proxied {
		if r.proxy, err = newProxy(c.redisAddr); err != nil {
			return nil, err
		}
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
	redisAddr := c.redisAddr
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
	p, err := c.start(r.name, environment(settings...), c.gateway)
	r.proc = p
	return err
}

// historySize is the most the gateway takes: nothing is trimmed unless the scenario says so.
const historySize = 100_000

// drainTime is what a replica takes to end its streams.
const drainTime = 2 * time.Second

// ready waits until a replica says so.
func (c *cluster) ready(ctx context.Context, r *replica, limit time.Duration) error {
	return until(ctx, limit, func(ctx context.Context) error {
		if !r.proc.running() {
			return r.proc.ended()
		}
		return getOK(ctx, r.url()+"/readyz")
	})
}

func (c *cluster) allReady(ctx context.Context, limit time.Duration) error {
	for _, r := range c.members() {
		if err := c.ready(ctx, r, limit); err != nil {
			return err
		}
	}
	return nil
}

// aim points clients and publishers at the replicas there are now, or at nginx.
func (c *cluster) aim() {
	var urls []string
	for _, r := range c.members() {
		urls = append(urls, r.url())
	}
	if c.plan.nginx {
		urls = []string{"http://" + c.nginxAddr}
	}
	c.targets.set(urls)
}

// startNginx puts nginx in front: buffering off, dead replicas skipped, and an answer that EventSource survives when
// no replica is up.
func (c *cluster) startNginx(ctx context.Context) error {
	path, err := find("nginx")
	if err != nil {
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	c.nginxAddr = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	var servers, user strings.Builder
	for _, r := range c.members() {
		fmt.Fprintf(&servers, "    server %s max_fails=1 fail_timeout=1s;\n", r.addr)
	}
	if os.Getuid() == 0 {
		user.WriteString("user root;\n") // the temporary folder is ours alone
	}
	config := filepath.Join(c.dir, "nginx.conf")
	fill := strings.NewReplacer("@user", user.String(), "@dir", c.dir, "@servers", servers.String(), "@listen", c.nginxAddr)
	if err := os.WriteFile(config, []byte(fill.Replace(nginxConfig)), 0o644); err != nil {
		return err
	}
	args := []string{"-p", c.dir, "-c", config, "-e", "stderr", "-g", "daemon off;"}
	if c.nginx, err = c.start("nginx", os.Environ(), path, args...); err != nil {
		return err
	}
	c.aim()
	return until(ctx, startLimit, func(ctx context.Context) error {
		if !c.nginx.running() {
			return c.nginx.ended()
		}
		return getOK(ctx, "http://"+c.nginxAddr+"/healthz")
	})
}

const nginxConfig = `@userworker_processes 2;
pid @dir/nginx.pid;
error_log stderr warn;
worker_shutdown_timeout 1s;
events { worker_connections 2048; }
http {
  access_log off;
  client_body_temp_path @dir/nginx-body;
  proxy_temp_path @dir/nginx-proxy;
  fastcgi_temp_path @dir/nginx-fastcgi;
  uwsgi_temp_path @dir/nginx-uwsgi;
  scgi_temp_path @dir/nginx-scgi;
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
      error_page 502 503 504 =200 @retry;
    }
    location @retry {
      default_type text/event-stream;
      add_header Cache-Control no-store always;
      return 200 "retry: 500\n: no replica is up\n\n";
    }
  }
}
`

// copyFile copies a file; the target is replaced as a whole.
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
