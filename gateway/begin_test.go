package gateway_test

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/gateway"
)

// route is an address of a stream, and how something is published that the stream carries.
type route struct {
	path    string
	publish func(s *site, n int)
}

var routes = []route{
	{"/api/sse/notifications", func(s *site, n int) {
		s.post("/api/notifications/create", fmt.Sprintf(`{"type":"info","title":"t","message":"%d"}`, n))
	}},
	{"/api/sse/activity", func(s *site, n int) {
		s.post("/api/activity", fmt.Sprintf(`{"type":"user_joined","userName":"%d","action":"joined"}`, n))
	}},
	{"/api/sse/progress/t", func(s *site, n int) { s.report("t", fmt.Sprintf(`{"progress":%d}`, n)) }},
	{"/api/sse/channels/orders", func(s *site, n int) { s.publish("orders", fmt.Sprint(n)) }},
	{"/api/sse?channels=bills,orders", func(s *site, n int) {
		s.publish("orders", fmt.Sprint(n))
		s.publish("bills", fmt.Sprint(n))
	}},
}

// with returns the route's path with a query added.
func (r route) with(query string) string {
	switch {
	case query == "":
		return r.path
	case strings.Contains(r.path, "?"):
		return r.path + "&" + query
	default:
		return r.path + "?" + query
	}
}

// block is one block of a stream, as its bytes are.
type block struct{ id, event, data string }

var aBlock = regexp.MustCompile(`^(?:id: (\S+)\n)?(?:event: (\S+)\n)?data: (.+)$`)

// blocks cuts what came on a stream into blocks. It fails the test if the bytes are not what the gateway promises: a retry
// time first, and then blocks of which each has data, with nothing between them but heartbeats.
func blocks(t *testing.T, what, raw string) []block {
	t.Helper()
	rest := regexp.MustCompile(`^retry: \d+\n`).ReplaceAllString(raw, "")
	if rest == raw {
		t.Errorf("%s: the stream does not begin with a retry time: %q", what, raw)
	}
	var all []block
	for rest != "" {
		if after, found := strings.CutPrefix(rest, ":\n"); found {
			rest = after
			continue
		}
		text, after, whole := strings.Cut(rest, "\n\n")
		fields := aBlock.FindStringSubmatch(text)
		if !whole || fields == nil {
			t.Errorf("%s: %q is not a block with data", what, text)
			return all
		}
		all = append(all, block{fields[1], fields[2], fields[3]})
		rest = after
	}
	return all
}

// place returns the id that a client comes back with: the last one it was told.
func place(all []block) (id string) {
	for _, b := range all {
		if b.id != "" {
			id = b.id
		}
	}
	return id
}

// rawSoFar waits until everything due has come, and returns the bytes of the stream so far.
func (st *stream) rawSoFar() string {
	st.t.Helper()
	synctest.Wait()
	return st.raw.String()
}

// TestWhateverAStreamBeginsWithTheClientCanComeBack opens streams in every way, and reads nothing but their beginnings. Each
// beginning tells the client a place; a client that comes back with it gets exactly what came after it.
func TestWhateverAStreamBeginsWithTheClientCanComeBack(t *testing.T) {
	for _, r := range routes {
		for _, stored := range []int{0, 3, 8} { // of a general channel, five are kept
			t.Run(fmt.Sprintf("%s with %d stored", r.path, stored), func(t *testing.T) {
				serve(t, gateway.Config{}, func(t *testing.T, s *site) {
					first := place(blocks(t, "an empty channel", s.open(r.with("replay=0")).rawSoFar()))
					for n := range stored {
						r.publish(s, n)
					}
					tip := place(blocks(t, "the newest place", s.open(r.with("replay=0")).rawSoFar()))
					testBeginnings(t, s, r, map[string]string{
						"none": "", "the first place": first, "the newest place": tip, "unknown": "rubbish", "reset": "99-0000000000",
						"of an older edition": "12", "of more channels": "mAAAAAAAAAAAAAAA",
					})
				})
			})
		}
	}
}

func testBeginnings(t *testing.T, s *site, r route, ids map[string]string) {
	opened := make(map[string]string) // the place that each beginning told, by what it is the beginning of
	for _, query := range []string{"", "replay=0", "replay=2", "types=nothing-has-it", "types=nothing-has-it&replay=5"} {
		for name, id := range ids {
			what := fmt.Sprintf("%s, id %s", r.with(query), name)
			var header []string
			if id != "" {
				header = []string{"Last-Event-ID", id}
			}
			st := s.open(r.with(query), header...)
			all := blocks(t, what, st.rawSoFar())
			st.Close()
			if len(all) == 0 || all[len(all)-1].id == "" {
				t.Errorf("%s: the client is not told where it is: %+v", what, all)
				continue
			}
			for _, b := range all {
				if strings.Contains(query, "types=") && b.event != "gap" && b.event != "position" {
					t.Errorf("%s: got %+v", what, b)
				}
			}
			opened[what] = place(all)
		}
	}
	r.publish(s, 77)
	for what, id := range opened {
		got := s.open(r.path, "Last-Event-ID", id).quiet()
		if len(got) == 0 || len(got) > 2 || !strings.Contains(got[len(got)-1].Data, "77") || !strings.Contains(got[0].Data, "77") {
			t.Errorf("%s: then a client came back with %s and got %+v, want what was published since", what, id, got)
		}
	}
}

func TestTheTimeStreamAndAFinishedTasksHaveNoBlockWithoutData(t *testing.T) {
	serve(t, gateway.Config{Heartbeat: time.Second}, func(t *testing.T, s *site) {
		clock := s.open("/api/sse/time")
		time.Sleep(5 * time.Second)
		if all := blocks(t, "time", clock.rawSoFar()); len(all) < 5 || place(all) != "" {
			t.Errorf("time: %+v, want some blocks without ids", all)
		}
		watching, filtered := s.open("/api/sse/progress/t"), s.open("/api/sse/progress/t?types=nothing-has-it")
		s.report("t", `{"progress":5}`)
		time.Sleep(5 * time.Second) // heartbeats come between
		s.report("t", `{"progress":100}`)
		watching.ended()
		filtered.ended()
		for what, st := range map[string]*stream{
			"a task": watching, "a filtered task": filtered, "a finished task": s.open("/api/sse/progress/t"),
			"a finished task, filtered": s.open("/api/sse/progress/t?types=nothing-has-it"),
		} {
			st.ended()
			all := blocks(t, what, st.rawSoFar())
			if len(all) == 0 {
				t.Errorf("%s: nothing came", what)
				continue
			}
			last := all[len(all)-1]
			if !strings.HasSuffix(last.id, "-end") || (last.event == "position") != strings.Contains(what, "filtered") {
				t.Errorf("%s: the last block is %+v", what, last)
			}
			back := s.open("/api/sse/progress/t", "Last-Event-ID", last.id)
			if back.Status != http.StatusNoContent || back.Body != "" {
				t.Errorf("%s: back after the end: %d %q, want 204 and nothing", what, back.Status, back.Body)
			}
		}
	})
}

// keys copies everything that is stored in Redis, and returns a function that puts it back in place of what is there then.
func (s *site) keys() (putBack func()) {
	ctx := s.t.Context()
	stored := make(map[string]func(redis.Pipeliner))
	for _, key := range s.rdb.Keys(ctx, "*").Val() {
		if values := s.rdb.LRange(ctx, key, 0, -1).Val(); len(values) > 0 {
			stored[key] = func(p redis.Pipeliner) { p.RPush(ctx, key, values) }
		} else if fields := s.rdb.HGetAll(ctx, key).Val(); len(fields) > 0 {
			stored[key] = func(p redis.Pipeliner) { p.HSet(ctx, key, fields) }
		}
	}
	return func() {
		_, err := s.rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
			p.FlushAll(ctx)
			for _, put := range stored {
				put(p)
			}
			return nil
		})
		if err != nil {
			s.t.Fatal(err)
		}
	}
}

// TestWhenRedisForgetsConnectedClientsAreToldTheirPlace empties Redis, or puts an older state back, under open streams. Each
// block that follows has data, and the last one tells the client a place with which it can come back.
func TestWhenRedisForgetsConnectedClientsAreToldTheirPlace(t *testing.T) {
	for _, r := range routes {
		for _, test := range []struct {
			name   string
			stored int    // events before the loss
			lost   int    // newer events that a rewind takes away
			flush  bool   // everything is taken away
			want   string // what the last block is
		}{
			{name: "FLUSHALL", stored: 3, flush: true, want: "gap"},
			{name: "FLUSHALL of nothing", stored: 0, flush: true, want: "position"}, // nothing is missing
			{name: "a rewind", stored: 3, lost: 2, want: "position"},
		} {
			t.Run(r.path+", "+test.name, func(t *testing.T) {
				serve(t, gateway.Config{}, func(t *testing.T, s *site) {
					for n := range test.stored {
						r.publish(s, n)
					}
					putBack := s.keys()
					all, none := s.open(r.with("replay=0")), s.open(r.with("replay=0&types=nothing-has-it"))
					for n := range test.lost {
						r.publish(s, 10+n)
					}
					before := map[*stream]int{all: len(all.rawSoFar()), none: len(none.rawSoFar())}
					if test.flush {
						s.rdb.FlushAll(t.Context())
					} else {
						putBack()
					}
					time.Sleep(30 * time.Second) // Redis is looked at
					for st, what := range map[*stream]string{all: "a stream", none: "a stream whose filter lets nothing through"} {
						text := st.rawSoFar()
						came := blocks(t, what, "retry: 1\n"+text[before[st]:])
						if test.flush && r.path == "/api/sse/progress/t" {
							if len(came) > 0 {
								t.Errorf("%s is told %+v; a task has no gaps, its next report says everything", what, came)
							}
							continue
						}
						if len(came) == 0 || came[len(came)-1].id == "" || !strings.Contains(test.want, came[len(came)-1].event) {
							t.Errorf("%s is told %+v, want a %s", what, came, test.want)
						}
					}
					all.Close()
					id := place(blocks(t, "a stream", all.raw.String()))
					r.publish(s, 77)
					got := s.open(r.path, "Last-Event-ID", id).quiet()
					if len(got) == 0 || len(got) > 2 || !strings.Contains(got[0].Data, "77") || !strings.Contains(got[len(got)-1].Data, "77") {
						t.Errorf("a client came back with %s and got %+v, want what was published since", id, got)
					}
				})
			})
		}
	}
}
