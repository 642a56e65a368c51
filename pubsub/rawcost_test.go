package pubsub_test

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/pubsub"
	"sluice/store/kind"
	"sluice/store/storetest"
)

// scriptCalls returns how many scripts a redis-server has run since it started.
func scriptCalls(t *testing.T, rdb *redis.Client) int {
	t.Helper()
	text, err := rdb.Info(t.Context(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	calls := 0
	for _, m := range regexp.MustCompile(`cmdstat_eval(?:sha)?:calls=(\d+)`).FindAllStringSubmatch(text, -1) {
		n, _ := strconv.Atoi(m[1]) // the expression has only digits there
		calls += n
	}
	return calls
}

// rawCost returns how many scripts are run for 180 raw messages while so many replicas run: on a channel that is always
// taken in, on the channels of tasks that nobody watches, and on one of a task that was taken in before.
func rawCost(t *testing.T, replicas int) int {
	t.Helper()
	s := storetest.Real(t)
	var all []*replica
	for i := range replicas {
		all = append(all, start(t, s.Addr, fmt.Sprint("r", i)))
	}
	rdb := s.Client(t)
	publishRaw(t, rdb, "progress:first", `{"progress":1}`)
	publishRaw(t, rdb, kind.Notifications, "first")
	stored := func(channel string, events int) {
		t.Helper()
		waitFor(t, fmt.Sprintf("%d events of %s", events, channel), func() bool {
			h, err := all[0].store.History(t.Context(), channel)
			return err == nil && h.Tip.Position.Offset >= uint64(events)
		})
	}
	stored("progress:first", 1)
	stored(kind.Notifications, 1)
	before := scriptCalls(t, rdb)
	for i := range 60 {
		task := fmt.Sprint("progress:t", i)
		publishRaw(t, rdb, task, `{"progress":40}`)
		publishRaw(t, rdb, "progress:busy", `{"progress":`+strconv.Itoa(i)+`}`)
		publishRaw(t, rdb, kind.Notifications, "text")
		stored(task, 1)
		stored("progress:busy", i+1)
		stored(kind.Notifications, i+2)
	}
	for _, r := range all { // what they hold is presented at once, or was dropped
		r.stop()
	}
	return scriptCalls(t, rdb) - before
}

func TestRawMessagesCostTheSameHoweverManyReplicasRun(t *testing.T) {
	one := rawCost(t, 1)
	for _, replicas := range []int{3, 6} {
		cost := rawCost(t, replicas)
		t.Logf("script calls: %d with one replica, %d with %d", one, cost, replicas)
		if float64(cost) > 1.2*float64(one) {
			t.Errorf("%d replicas: %d script calls, want at most 1.2 times the %d of one", replicas, cost, one)
		}
	}
}

// redisCPU returns the CPU time that a redis-server has used, in microseconds.
func redisCPU(t testing.TB, rdb *redis.Client) float64 {
	t.Helper()
	text, err := rdb.Info(t.Context(), "cpu").Result()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, m := range regexp.MustCompile(`used_cpu_(?:sys|user):([\d.]+)`).FindAllStringSubmatch(text, -1) {
		f, _ := strconv.ParseFloat(m[1], 64) // the expression has only a number there
		sum += f * 1e6
	}
	return sum
}

// BenchmarkRawFlood publishes 1 KB messages straight into a redis-server, as fast as it takes them and to one replica. It
// reports the rate at which they were stored, how many the replica gave up, and the CPU time of Redis for one message:
//
//	go test -run - -bench RawFlood -benchtime 200000x ./pubsub
func BenchmarkRawFlood(b *testing.B) {
	for _, channels := range []int{1, 16} {
		b.Run(fmt.Sprintf("channels=%d", channels), func(b *testing.B) {
			s := storetest.Real(b)
			names := make([]string, channels)
			for i := range names {
				names[i] = fmt.Sprint("flood", i)
			}
			r := start(b, s.Addr, "r", func(c *pubsub.Config) { c.Ingest = names })
			rdb := s.Client(b)
			for _, name := range names {
				publishRaw(b, rdb, name, "first")
			}
			payload := `{"text":"` + strings.Repeat("x", 1000) + `"}`
			b.ResetTimer()
			used := redisCPU(b, rdb)
			began := time.Now()
			for sent := 0; sent < b.N; {
				p := rdb.Pipeline()
				for range min(100, b.N-sent) {
					p.Publish(b.Context(), names[sent%channels], payload)
					sent++
				}
				if _, err := p.Exec(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			published := time.Since(began)
			handled := func() float64 {
				return r.metric(b, "sluice_raw_stored_total") + r.metric(b, "sluice_raw_lost_total")
			}
			waitFor(b, "the messages to be stored", func() bool { return handled() >= float64(b.N+channels) })
			b.ReportMetric(float64(b.N)/published.Seconds(), "published/s")
			b.ReportMetric(r.metric(b, "sluice_raw_stored_total")/time.Since(began).Seconds(), "stored/s")
			b.ReportMetric(r.metric(b, "sluice_raw_lost_total"), "lost")
			b.ReportMetric((redisCPU(b, rdb)-used)/float64(b.N), "redis-µs/op")
		})
	}
}
