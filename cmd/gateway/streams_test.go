package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/tmaxmax/go-sse"

	"sluice/cmd/internal/rig/rigtest"
	"sluice/store/storetest"
)

// each runs test against the whole program, on its embedded Redis and on a real one.
func each(t *testing.T, test func(t *testing.T, g *instance, rdb *redis.Client), settings ...string) {
	t.Helper()
	t.Run("embedded Redis", func(t *testing.T) {
		g := launch(t, settings...)
		rdb := redis.NewClient(&redis.Options{Addr: g.redisAddr(t)})
		t.Cleanup(func() { _ = rdb.Close() })
		test(t, g, rdb)
	})
	t.Run("redis-server", func(t *testing.T) {
		server := storetest.Real(t)
		test(t, launch(t, append(settings, "REDIS_URL=redis://"+server.Addr, "DRAIN_TIME=0s")...), server.Client(t))
	})
}

// redisAddr is where the gateway says that its Redis is.
func (g *instance) redisAddr(t testing.TB) string {
	t.Helper()
	found := regexp.MustCompile(`(?m)^ +Redis +(\S+)`).FindStringSubmatch(g.out.String())
	if found == nil {
		t.Fatalf("it is not said where Redis is:\n%s", g.out)
	}
	return found[1]
}

// post publishes and returns the answer's fields.
func (g *instance) post(t testing.TB, path, body string) map[string]any {
	t.Helper()
	status, text := g.call(t, http.MethodPost, path, body)
	if status >= 300 {
		t.Fatalf("POST %s: %d %s", path, status, text)
	}
	return decode(t, text)
}

// raw publishes as redis-cli does.
func raw(t testing.TB, rdb *redis.Client, channel, payload string) {
	t.Helper()
	if n, err := rdb.Publish(t.Context(), channel, payload).Result(); err != nil || n == 0 {
		t.Fatalf("PUBLISH %s: %d receivers, %v", channel, n, err)
	}
}

func decode(t testing.TB, text string) map[string]any {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal([]byte(text), &fields); err != nil {
		t.Fatalf("%q is not a JSON object: %v", text, err)
	}
	return fields
}

// until reads events until one has want in its data, and returns all of them, that one too.
func (c *client) until(want string) []sse.Event {
	c.t.Helper()
	for all := []sse.Event{}; ; {
		e := c.next()
		if all = append(all, e); strings.Contains(e.Data, want) {
			return all
		}
	}
}

// lines joins the data of events.
func lines(events []sse.Event) string {
	var all []string
	for _, e := range events {
		all = append(all, e.Data)
	}
	return strings.Join(all, " ")
}

func TestNotificationsArriveHoweverTheyArePublished(t *testing.T) {
	each(t, func(t *testing.T, g *instance, rdb *redis.Client) {
		c := g.connect(t, "/api/sse/notifications", "")
		posted := g.post(t, "/api/notifications/create", `{"type":"success","title":"One","message":"by POST"}`)
		if e := c.next(); e.LastEventID != posted["id"] || e.Type != "" || decode(t, e.Data)["message"] != "by POST" {
			t.Errorf("posted %v, got %+v", posted, e)
		}
		raw(t, rdb, "notifications", `{"type":"warning","title":"Two","message":"by PUBLISH"}`)
		raw(t, rdb, "notifications", `Three, plain text`)
		raw(t, rdb, "notifications", `{"type":"nonsense"}`)
		two, three := decode(t, c.next().Data), decode(t, c.next().Data)
		if two["type"] != "warning" || two["title"] != "Two" || two["read"] != false || two["timestamp"] == nil || two["id"] == nil {
			t.Errorf("two: %v", two)
		}
		if three["type"] != "info" || three["message"] != "Three, plain text" {
			t.Errorf("three: %v", three)
		}
		_, list := g.call(t, http.MethodGet, "/api/notifications", "")
		if i, j, k := strings.Index(list, "Three"), strings.Index(list, "Two"), strings.Index(list, "One"); i < 0 || i > j || j > k {
			t.Errorf("the list is not newest first: %s", list)
		}
		waitFor(t, "the rejected message", func() bool {
			_, text := g.call(t, http.MethodGet, "/api/channels/notifications/rejected", "")
			return strings.Contains(text, `nonsense`) && strings.Contains(text, `"reason":"`)
		})
	})
}

func TestActivitiesArriveHoweverTheyArePublished(t *testing.T) {
	each(t, func(t *testing.T, g *instance, rdb *redis.Client) {
		c := g.connect(t, "/api/sse/activity", "")
		posted := g.post(t, "/api/activity", `{"type":"post_created","userName":"Ada","action":"wrote","details":"x","userId":"u1"}`)
		if e := c.next(); e.LastEventID != posted["id"] || decode(t, e.Data)["userName"] != "Ada" {
			t.Errorf("posted %v, got %+v", posted, e)
		}
		raw(t, rdb, "activity", `{"type":"comment_added","userName":"Bob","action":"commented"}`)
		if e := decode(t, c.next().Data); e["userName"] != "Bob" || e["id"] == nil || e["timestamp"] == nil {
			t.Errorf("published: %v", e)
		}
		g.post(t, "/api/activity/simulate", "")
		c.next()
	})
}

func TestATaskIsReportedHoweverItsWorkerSpeaks(t *testing.T) {
	t.Parallel() // it mostly waits
	each(t, func(t *testing.T, g *instance, rdb *redis.Client) {
		id, _ := g.post(t, "/api/tasks", `{"taskName":"Build"}`)["taskId"].(string)
		c := g.connect(t, "/api/sse/progress/"+id, "")
		c.next()
		g.call(t, http.MethodPut, "/api/tasks/"+id+"/progress", `{"progress":30,"currentStep":"compile"}`)
		raw(t, rdb, "progress:"+id, `{"progress":60,"message":"half"}`)
		raw(t, rdb, "progress:"+id, `{"progress":100}`)
		all := c.ended()
		if len(all) != 3 || decode(t, all[0].Data)["progress"] != 30.0 || decode(t, all[2].Data)["status"] != "completed" {
			t.Fatalf("states: %+v", all)
		}
		if again := g.connect(t, "/api/sse/progress/"+id, all[2].LastEventID); again.Status != http.StatusNoContent {
			t.Errorf("back after the end: %d, want 204", again.Status)
		}
	})
}

func TestAGeneralChannelCarriesAnything(t *testing.T) {
	each(t, func(t *testing.T, g *instance, rdb *redis.Client) {
		c := g.connect(t, "/api/sse/channels/orders", "")
		g.post(t, "/api/channels/orders/events", `{"type":"paid","data":{"n":1.0}}`)
		raw(t, rdb, "orders", `{"n": 2}`)
		raw(t, rdb, "orders", "two\nlines")
		var got []string
		for range 3 {
			e := c.next()
			got = append(got, e.Type+" "+e.Data)
		}
		if want := []string{`paid {"n":1.0}`, ` {"n":2}`, ` "two\nlines"`}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestManyChannelsShareOneConnectionAndResumeTogether(t *testing.T) {
	each(t, func(t *testing.T, g *instance, rdb *redis.Client) {
		const path = "/api/sse?channels=orders,notifications,bills"
		c := g.connect(t, path, "")
		g.post(t, "/api/channels/orders/events", `{"type":"paid","data":1}`)
		raw(t, rdb, "bills", `2`)
		c.next()
		second := c.next()
		if e := decode(t, second.Data); e["channel"] != "bills" || e["data"] != 2.0 || second.Type != "" {
			t.Errorf("envelope: %+v", second)
		}
		c.close()
		for i := range 3 {
			g.post(t, "/api/channels/orders/events", fmt.Sprintf(`{"data":"missed %d"}`, i))
			g.post(t, "/api/channels/bills/events", fmt.Sprintf(`{"data":"missed %d"}`, i))
		}
		again := g.connect(t, path, second.LastEventID)
		g.post(t, "/api/channels/orders/events", `{"data":"the end"}`)
		if got := again.until("the end"); len(got) != 7 || strings.Contains(lines(got), `"gap"`) {
			t.Errorf("resumed with %s", lines(got))
		}
	})
}

func TestAClientResumesExactlyWhereItWas(t *testing.T) {
	each(t, func(t *testing.T, g *instance, rdb *redis.Client) {
		publish := func(i int) string {
			id, _ := g.post(t, "/api/channels/orders/events", fmt.Sprintf(`{"type":"t%d","data":%d}`, i%2, i))["id"].(string)
			return id
		}
		var ids []string
		for i := range 6 {
			ids = append(ids, publish(i))
		}
		const path = "/api/sse/channels/orders"
		tests := []struct {
			name string
			c    *client
			want string
		}{
			{"by header", g.connect(t, path, ids[2]), "3 4 5 6"},
			{"by query", g.connect(t, path+"?lastEventId="+ids[3], ""), "4 5 6"},
			{"by both, the header being newer", g.connect(t, path+"?lastEventId="+ids[0], ids[4]), "5 6"},
			{"a first connect with a replay", g.connect(t, path+"?replay=2", ""), "4 5 6"},
			{"a first connect", g.connect(t, path, ""), "6"},
			{"with a filter", g.connect(t, path+"?types=t0", ids[0]), "2 4 6"},
		}
		publish(6)
		for _, test := range tests {
			if got := lines(test.c.until("6")); got != test.want {
				t.Errorf("%s: got %s, want %s", test.name, got, test.want)
			}
		}
	})
}

func TestWhatCannotBeDeliveredIsSaidFirst(t *testing.T) {
	each(t, func(t *testing.T, g *instance, rdb *redis.Client) {
		var ids []string
		for i := range 6 { // three are kept
			id, _ := g.post(t, "/api/channels/orders/events", fmt.Sprintf(`{"data":%d}`, i))["id"].(string)
			ids = append(ids, id)
		}
		for id, reason := range map[string]string{
			ids[5]: "", ids[2]: "", ids[1]: "trimmed", ids[0]: "trimmed", "rubbish": "unknown", "4-0000000000": "reset", "99-0000000000": "reset",
		} {
			c := g.connect(t, "/api/sse/channels/orders", id)
			if reason == "" {
				continue // the next test is about those
			}
			notice := c.next()
			if want := `{"channel":"orders","reason":"` + reason + `"}`; notice.Type != "gap" || notice.Data != want {
				t.Errorf("from %s: got %+v, want the gap %s", id, notice, want)
			}
			if got := lines(c.until("5")); got != "3 4 5" {
				t.Errorf("from %s: then came %s, want what is stored", id, got)
			}
		}
	}, "HISTORY_SIZE=3")
}

// Ids come from clients, hence from anybody.
func TestNoEventIDMakesTheGatewayFail(t *testing.T) {
	t.Parallel() // it mostly waits
	g := launch(t, "REDIS_URL=redis://"+storetest.Mini(t).Addr, "DRAIN_TIME=0s")
	id, _ := g.post(t, "/api/channels/orders/events", `{"data":1}`)["id"].(string)
	many := g.connect(t, "/api/sse?channels=orders,bills&replay=1", "").next().LastEventID
	ids := []string{
		"-", "0", "-1", "1-", "18446744073709551615-0000000000", "18446744073709551616-0000000000", "9007199254740993-0000000000", "NaN", "1e9-0000000000",
		id + "-end", id + id, "m", "m====", "mAAAAAAAAAAAAAA", many + "x", many[:len(many)-1], many[1:], strings.ToUpper(many), "<script>", "%00", "..",
		strings.Repeat("9", 8000), "m" + strings.Repeat("A", 8000), "é", "\x80\xff", "\t",
	}
	for i := 1; i < len(many); i += 3 {
		ids = append(ids, many[:i]+"_"+many[i+1:])
	}
	for _, id := range ids {
		for _, path := range []string{"/api/sse/channels/orders", "/api/sse?channels=orders,bills", "/api/sse/notifications"} {
			c := g.connect(t, path, id)
			if c.Status != http.StatusOK {
				t.Errorf("%s with Last-Event-ID %.40q: got %d", path, id, c.Status)
			}
			c.close()
		}
	}
}

func TestTheTimeStreamTicks(t *testing.T) {
	t.Parallel() // it mostly waits
	g := launch(t, "REDIS_URL=redis://"+storetest.Mini(t).Addr, "DRAIN_TIME=0s")
	c := g.connect(t, "/api/sse/time", "")
	if e := c.next(); e.Data != `{"message":"Connected!"}` {
		t.Errorf("greeting: %+v", e)
	}
	tick := decode(t, c.next().Data)
	stamp, _ := tick["timestamp"].(float64)
	if d := time.Since(time.UnixMilli(int64(stamp))); d < 0 || d > 10*time.Second {
		t.Errorf("tick %v is %v off", tick, d)
	}
}

// Both ways of writing streams keep the same promises; most tests run with the one that this system uses by itself.
func TestEitherWriterStreamsHeartbeatsEventsAndTheEnd(t *testing.T) {
	for _, writer := range []string{"goroutine", "auto"} {
		t.Run(writer, func(t *testing.T) {
			t.Parallel() // it mostly waits
			g := launch(t, "REDIS_URL=redis://"+storetest.Mini(t).Addr, "DRAIN_TIME=100ms", "HEARTBEAT=1s", "WRITER="+writer,
				"REPLICA=r1", "CORS_ORIGINS=https://app.test")
			req := httptest.NewRequest(http.MethodGet, "http://"+g.addr+"/api/sse/channels/orders", nil)
			req.RequestURI = ""
			req.Header.Set("Origin", "https://app.test")
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			for name, want := range map[string]string{
				"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no",
				"Sluice-Replica": "r1", "Access-Control-Allow-Origin": "https://app.test", "Vary": "Origin",
			} {
				if got := resp.Header.Get(name); got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
			if _, err := http.ParseTime(resp.Header.Get("Date")); err != nil {
				t.Errorf("Date: %v", err)
			}
			if resp.Close { // Node's fetch would take a cut for a clean end
				t.Error("the response says Connection: close")
			}
			body := bufio.NewReader(resp.Body)
			read := func(what, pattern string) {
				t.Helper()
				lines := ""
				for range strings.Count(pattern, `\n`) {
					line, err := body.ReadString('\n')
					if lines += line; err != nil {
						t.Fatalf("%s: %q, then %v", what, lines, err)
					}
				}
				if !regexp.MustCompile("^" + pattern + "$").MatchString(lines) {
					t.Errorf("%s: got %q, want %s", what, lines, pattern)
				}
			}
			read("the beginning", `retry: \d+\nid: \S+\nevent: position\ndata: \{"id":"\S+"\}\n\n`)
			read("a heartbeat", `:\n`)
			read("another heartbeat", `:\n`)
			g.post(t, "/api/channels/orders/events", `{"data":"`+strings.Repeat("x", 1000)+`"}`)
			read("a large event", `id: \S+\ndata: "x{1000}"\n\n`)
			stopped := make(chan error, 1)
			go func() { stopped <- g.stop() }()
			read("the end", `retry: \d+\n`)
			if rest, err := io.ReadAll(body); !errors.Is(err, io.ErrUnexpectedEOF) || len(rest) != 0 {
				t.Errorf("after the end: %q, %v; want nothing, not even a clean end", rest, err)
			}
			if err := <-stopped; err != nil {
				t.Errorf("run: %v", err)
			}
		})
	}
}

func TestAStreamThatItsClientLeftMakesRoomForAnother(t *testing.T) {
	g := launch(t, "REDIS_URL=redis://"+storetest.Mini(t).Addr, "DRAIN_TIME=0s", "MAX_STREAMS_PER_IP=2")
	first := g.connect(t, "/api/sse/notifications", "")
	g.connect(t, "/api/sse/time", "")
	if third := g.connect(t, "/api/sse/notifications", ""); third.Status != http.StatusTooManyRequests || third.Header.Get("Retry-After") == "" {
		t.Errorf("a third stream: got %d, Retry-After %q", third.Status, third.Header.Get("Retry-After"))
	}
	first.close()
	waitFor(t, "room for a stream", func() bool {
		c := g.connect(t, "/api/sse/notifications", "")
		c.close()
		return c.Status == http.StatusOK
	})
	waitFor(t, "all but one stream to be gone", func() bool { return g.metric(t, "sluice_streams") == 1 })
}

// A client too slow for what is published is closed, holds nobody up, and gets the rest when it comes back.
func TestASlowClientIsClosedAndResumesWithoutLoss(t *testing.T) {
	const n = 150
	g := launch(t, "REDIS_URL=redis://"+storetest.Mini(t).Addr, "DRAIN_TIME=0s", "FEED_BYTES=65536", "HISTORY_SIZE=200")
	conn, err := net.Dial("tcp", g.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.(*net.TCPConn).SetReadBuffer(64 << 10); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "GET /api/sse/channels/orders HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the stream to be open", func() bool { return g.metric(t, "sluice_streams") == 1 })
	fast := g.connect(t, "/api/sse/channels/orders", "")
	filler := strings.Repeat("x", 50_000)
	for i := range n {
		g.post(t, "/api/channels/orders/events", fmt.Sprintf(`{"data":"%d %s"}`, i, filler))
		if e := fast.next(); !strings.HasPrefix(e.Data, fmt.Sprintf(`"%d `, i)) {
			t.Fatalf("the fast client: event %d is %.20s", i, e.Data)
		}
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil) // now it begins to read
	if err != nil {
		t.Fatal(err)
	}
	next, last := 0, ""
	take := func(e sse.Event) {
		if e.Type == "position" {
			return
		}
		if !strings.HasPrefix(e.Data, fmt.Sprintf(`"%d x`, next)) || len(e.Data) < len(filler) {
			t.Fatalf("event %d is %.20s…, %d bytes", next, e.Data, len(e.Data))
		}
		next, last = next+1, e.LastEventID
	}
	text, _ := io.ReadAll(resp.Body)
	text = text[:bytes.LastIndex(text, []byte("\n\n"))+2] // a frame that was cut off is none (WHATWG HTML 9.2.6)
	for e, err := range sse.Read(bytes.NewReader(text), nil) {
		if err != nil {
			t.Fatal(err)
		}
		take(e)
	}
	if next == 0 || next == n {
		t.Fatalf("the slow client had %d of %d events", next, n)
	}
	waitFor(t, "the stream to be counted as too slow", func() bool { // the client may see the end before
		return g.metric(t, `sluice_streams_closed_total{reason="too_slow"}`) == 1
	})
	again := g.connect(t, "/api/sse/channels/orders", last)
	for next < n {
		take(again.next())
	}
}

// Much more is stored than a stream holds in memory, and a client that takes its time gets it all on one connection,
// with what is published meanwhile.
func TestEitherWriterGoesOnUntilAClientFarBehindIsLive(t *testing.T) {
	for _, writer := range []string{"goroutine", "auto"} {
		t.Run(writer, func(t *testing.T) {
			t.Parallel() // it mostly waits
			g := launch(t, "REDIS_URL=redis://"+storetest.Mini(t).Addr, "DRAIN_TIME=0s", "WRITER="+writer, "HISTORY_SIZE=300")
			first := g.connect(t, "/api/sse/channels/orders", "")
			filler := strings.Repeat("x", 20_000)
			n := 0
			publish := func(events int) {
				for range events {
					g.post(t, "/api/channels/orders/events", fmt.Sprintf(`{"data":"%d %s"}`, n, filler))
					n++
				}
			}
			publish(100)
			first.close()
			c := g.connect(t, "/api/sse/channels/orders?replay=300", "")
			for i := 0; i < n; i++ { //nolint:intrange // n grows in the loop
				if e := c.next(); !strings.HasPrefix(e.Data, fmt.Sprintf(`"%d x`, i)) || len(e.Data) < len(filler) {
					t.Fatalf("event %d is %.20s…, %d bytes", i, e.Data, len(e.Data))
				}
				if i%10 == 0 && n < 200 {
					publish(10)
				}
			}
			if got := g.metric(t, "sluice_streams"); got != 1 {
				t.Errorf("%v streams are open", got)
			}
		})
	}
}

// curl is a parser that everybody has.
func TestCurlShowsAStream(t *testing.T) {
	curl := rigtest.Need(t, "curl")
	g := launch(t, "REDIS_URL=redis://"+storetest.Mini(t).Addr, "DRAIN_TIME=0s")
	id := g.post(t, "/api/channels/orders/events", `{"type":"paid","data":{"order":7}}`)["id"]
	cmd := exec.CommandContext(t.Context(), curl, "-sSN", "-i", "--max-time", "30", "http://"+g.addr+"/api/sse/channels/orders?replay=1")
	var shown output
	cmd.Stdout, cmd.Stderr = &shown, &shown
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	frame := fmt.Sprintf("id: %s\nevent: paid\ndata: {\"order\":7}\n\n", id)
	waitFor(t, "curl to show the event", func() bool { return strings.Contains(shown.String(), frame) })
	if err := g.stop(); err != nil {
		t.Error(err)
	}
	const partial = 18 // curl's exit code for a response that was cut short
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != partial {
		t.Errorf("curl takes the end of a drained stream for %v, want exit code %d", err, partial)
	}
	text := shown.String()
	if !strings.HasPrefix(text, "HTTP/1.1 200 OK\r\n") || !strings.Contains(text, "Content-Type: text/event-stream; charset=utf-8\r\n") ||
		!regexp.MustCompile(`\r\n\r\nretry: \d+\nid: \S+\nevent: paid\ndata: `).MatchString(text) {
		t.Errorf("curl showed %q", text)
	}
}
