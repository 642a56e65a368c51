package main

import (
	"fmt"
	"io"
	"net"

	"github.com/redis/go-redis/v9"
)

// printBanner prints where the gateway and Redis are, and commands to try out.
func printBanner(out io.Writer, addr net.Addr, o *redis.Options, embedded bool) {
	base := "http://" + addr.String()
	if tcp, ok := addr.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		base = fmt.Sprintf("http://localhost:%d", tcp.Port)
	}
	cli := "redis-cli"
	if host, port, err := net.SplitHostPort(o.Addr); err == nil {
		if host != "127.0.0.1" && host != "localhost" {
			cli += " -h " + host
		}
		if port != "6379" {
			cli += " -p " + port
		}
	}
	redisLine := o.Addr
	if embedded {
		redisLine += "  (embedded: it forgets everything when the gateway stops)"
	}
	fmt.Fprintf(out, `
  Sluice %s

  Console  %s/
  Streams  %s/api/sse/notifications (and activity, time, progress/<task>, channels/<name>)
  Redis    %s

  Watch:    curl -N %s/api/sse/notifications
  Publish:  %s PUBLISH notifications 'Hello from Redis'

  Ctrl-C stops it.

`, version, base, base, redisLine, base, cli)
}
