//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// buildGateway builds the server into dir.
func buildGateway(ctx context.Context, dir string) (string, error) {
	path := filepath.Join(dir, "gateway")
	out, err := exec.CommandContext(ctx, "go", "build", "-o", path, "sluice/cmd/gateway").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build sluice/cmd/gateway: %w\n%s", err, out)
	}
	return path, nil
}

// startGateway starts a redis-server and replicas of the gateway on it. The settings are the defaults, but for what
// belongs to the place: addresses, and logs.
func startGateway(ctx context.Context, ps *procs, replicas int, o options) (*server, error) {
	redis, err := startRedis(ctx, ps)
	if err != nil {
		return nil, err
	}
	s := &server{name: gatewayServer, redis: redis, path: "/api/sse/channels/" + channelName(sharedChannel)}
	for i := range replicas {
		name := "gateway-" + strconv.Itoa(i+1)
		settings := []string{
			"GATEWAY_ADDR=127.0.0.1:0", "GATEWAY_REDIS_URL=redis://" + redis.addr, "GATEWAY_REPLICA=" + name,
			"GATEWAY_LOG_FORMAT=json",
		}
		if o.writer != "" {
			settings = append(settings, "GATEWAY_WRITER="+o.writer)
		}
		p, err := ps.program(name, plainEnvironment(settings...), o.gateway)
		if err != nil {
			return nil, err
		}
		s.procs = append(s.procs, p)
	}
	for _, p := range s.procs {
		var addr string
		err := until(ctx, 20*time.Second, func(ctx context.Context) error {
			if err := ps.failed(); err != nil {
				return err
			}
			if addr, err = listening(p.log); err != nil {
				return err
			}
			_, err := get(ctx, "http://"+addr+"/readyz")
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("start %s: %w", p.name, err)
		}
		s.addrs = append(s.addrs, addr)
	}
	s.publisher = func() (publisher, error) {
		if o.publish == "raw" {
			return newRaw(redis.client, o.bytes), nil
		}
		return newPoster(s.addrs, posters, o.bytes), nil
	}
	return s, nil
}

// listening finds the address in the gateway's log: port 0 had it choose one that is free.
func listening(log string) (string, error) {
	text, err := os.ReadFile(log)
	if err != nil {
		return "", err
	}
	for line := range bytes.Lines(text) {
		var entry struct{ Msg, Address string }
		if json.Unmarshal(line, &entry) == nil && entry.Msg == "listening" {
			return entry.Address, nil
		}
	}
	return "", errors.New("it does not say where it listens")
}

// asker asks questions that are answered at once.
var asker = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

func get(ctx context.Context, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := asker.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return "", err
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s: %.200s", url, response.Status, text)
	}
	return string(text), nil
}

// goroutines returns how many goroutines the gateway's replicas have together, by their own /metrics.
func goroutines(ctx context.Context, s *server) (int, error) {
	sum := 0
	for _, addr := range s.addrs {
		text, err := get(ctx, "http://"+addr+"/metrics")
		if err != nil {
			return 0, err
		}
		n, err := metric(text, "go_goroutines")
		if err != nil {
			return 0, err
		}
		sum += int(n)
	}
	return sum, nil
}

// metric reads a metric without labels from Prometheus' text format.
func metric(text, name string) (float64, error) {
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, fmt.Errorf("no metric %s", name)
}
