package pubsub_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/pubsub"
	"sluice/store/storetest"
)

// BenchmarkWatchedChannels measures what channels cost that are watched and on which nothing is published: Redis's memory and
// commands, and this process's memory. Each operation is a second.
func BenchmarkWatchedChannels(b *testing.B) {
	const channels = 10_000
	for _, events := range []int{0, 1} {
		b.Run(fmt.Sprintf("events=%d", events), func(b *testing.B) {
			s := storetest.Real(b)
			a := start(b, s.Addr, "a", func(c *pubsub.Config) { c.CheckEvery = 0 })
			rdb := s.Client(b)
			if events > 0 {
				for i := range channels {
					a.append(b, fmt.Sprint("c", i), `1`)
				}
			}
			before := info(b, rdb, "memory", "used_memory")
			for i := range channels / 50 {
				var names []string
				for j := range 50 {
					names = append(names, fmt.Sprint("c", 50*i+j))
				}
				ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
				st, err := a.Open(ctx, pubsub.Request{Channels: names, Encoder: encoder{}})
				cancel()
				if err != nil {
					b.Fatal(err)
				}
				defer st.Close()
			}
			memory := info(b, rdb, "memory", "used_memory") - before
			commands, cpu, began := commandsOf(b, rdb), cpuOf(b, rdb), time.Now()
			for b.Loop() {
				time.Sleep(time.Second) // what is measured is a second
			}
			seconds := time.Since(began).Seconds()
			b.ReportMetric(memory/channels, "redis-B/channel")
			b.ReportMetric((commandsOf(b, rdb)-commands)/seconds, "redis-commands/s")
			b.ReportMetric(1e3*(cpuOf(b, rdb)-cpu)/seconds, "redis-ms/s")
			b.ReportMetric(float64(rdb.DBSize(b.Context()).Val()), "keys")
		})
	}
}

// info returns a number of Redis's INFO.
func info(t testing.TB, rdb *redis.Client, section, name string) float64 {
	t.Helper()
	for line := range strings.Lines(rdb.Info(t.Context(), section).Val()) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("INFO has no %s", name)
	return 0
}

func commandsOf(t testing.TB, rdb *redis.Client) float64 {
	return info(t, rdb, "stats", "total_commands_processed")
}

func cpuOf(t testing.TB, rdb *redis.Client) float64 {
	return info(t, rdb, "cpu", "used_cpu_user") + info(t, rdb, "cpu", "used_cpu_sys")
}
