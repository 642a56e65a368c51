package store_test

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/store"
	"sluice/store/kind"
	"sluice/store/storetest"
)

// scriptTime returns how much time Redis has spent in scripts, in microseconds.
func scriptTime(b *testing.B, rdb *redis.Client) (usec float64) {
	b.Helper()
	text, err := rdb.Info(b.Context(), "commandstats").Result()
	if err != nil {
		b.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`cmdstat_eval\w*:calls=\d+,usec=(\d+)`).FindAllStringSubmatch(text, -1) {
		n, _ := strconv.ParseFloat(m[1], 64)
		usec += n
	}
	return usec
}

// cpuTime returns the CPU time of this process, without that of its children.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkAppend publishes events of 200 bytes on one channel, by several callers who each wait for the answer. It reports
// the time that Redis spends in scripts and the CPU time of this process, both per event.
func BenchmarkAppend(b *testing.B) {
	for _, callers := range []int{1, 32, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			rdb := storetest.Real(b).Client(b)
			s := store.New(rdb, store.Config{HistorySize: 100, HistoryTTL: time.Hour, MaxBodyBytes: 65536})
			d := kind.Draft{Channel: "orders", Data: []byte(`"` + strings.Repeat("x", 198) + `"`)}
			usec, cpu := scriptTime(b, rdb), cpuTime(b)
			b.ResetTimer()
			var wg sync.WaitGroup
			for i := range callers {
				wg.Go(func() {
					for n := i; n < b.N; n += callers {
						if _, _, err := s.Append(b.Context(), d, store.AppendOptions{}); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			b.ReportMetric((scriptTime(b, rdb)-usec)/float64(b.N), "redis-µs/event")
			b.ReportMetric(float64((cpuTime(b)-cpu).Microseconds())/float64(b.N), "cpu-µs/event")
		})
	}
}

// BenchmarkAdopt takes in raw messages of 200 bytes, several in one call.
func BenchmarkAdopt(b *testing.B) {
	for _, n := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("messages=%d", n), func(b *testing.B) {
			rdb := storetest.Real(b).Client(b)
			s := store.New(rdb, store.Config{HistorySize: 100, HistoryTTL: time.Hour, MaxBodyBytes: 65536})
			payload := []byte(`"` + strings.Repeat("x", 198) + `"`)
			messages := make([]store.RawMessage, n)
			for i := range messages {
				messages[i] = store.RawMessage{Draft: kind.Draft{Channel: "orders", Data: payload}, Payload: payload}
			}
			session := s.Names().Session(store.NewNonce())
			sub := rdb.Subscribe(b.Context(), session)
			defer sub.Close()
			if _, err := sub.Receive(b.Context()); err != nil {
				b.Fatal(err)
			}
			usec, first := scriptTime(b, rdb), uint64(1)
			for b.Loop() {
				if _, err := s.Adopt(b.Context(), session, "orders", "A", first, messages); err != nil {
					b.Fatal(err)
				}
				first += uint64(n)
			}
			b.ReportMetric((scriptTime(b, rdb)-usec)/float64(first-1), "redis-µs/event")
		})
	}
}

// BenchmarkReadOne reads one event of a channel that has 20,000 of 200 bytes, and all of them.
func BenchmarkReadOne(b *testing.B) {
	rdb := storetest.Real(b).Client(b)
	s := store.New(rdb, store.Config{HistorySize: 20_000, HistoryTTL: time.Hour})
	data := []byte(`"` + strings.Repeat("x", 198) + `"`)
	var group sync.WaitGroup
	for range 64 {
		group.Go(func() {
			for range 20_000 / 64 {
				if _, _, err := s.Append(b.Context(), kind.Draft{Channel: "c", Data: data}, store.AppendOptions{}); err != nil {
					b.Error(err)
				}
			}
		})
	}
	group.Wait()
	for name, n := range map[string]int{"one": 1, "all": 20_000} {
		b.Run(name, func(b *testing.B) {
			before := redisCPU(b, rdb)
			for b.Loop() {
				if _, err := s.Newest(b.Context(), "c", n); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(1e6*(redisCPU(b, rdb)-before)/float64(b.N), "redis-µs/op")
		})
	}
}

// redisCPU returns the seconds of CPU time that Redis has taken.
func redisCPU(b *testing.B, rdb *redis.Client) float64 {
	sum := 0.0
	for line := range strings.Lines(rdb.Info(b.Context(), "cpu").Val()) {
		var seconds float64
		for _, field := range []string{"used_cpu_user:%g", "used_cpu_sys:%g"} {
			if _, err := fmt.Sscanf(line, field, &seconds); err == nil {
				sum += seconds
			}
		}
	}
	return sum
}
