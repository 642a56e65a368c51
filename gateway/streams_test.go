package gateway_test

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tmaxmax/go-sse"

	"sluice/gateway"
	"sluice/gateway/wire"
)

// publish posts an event on a general channel and returns its id.
func (s *site) publish(channel, data string) string {
	s.t.Helper()
	a := s.post("/api/channels/"+channel+"/events", `{"data":`+data+`}`)
	if a.Status != http.StatusCreated {
		s.t.Fatalf("publish: %d %s", a.Status, a.Body)
	}
	id, _ := fields(s.t, a.Body)["id"].(string)
	return id
}

// report reports a task's progress.
func (s *site) report(task, state string) {
	s.t.Helper()
	if a := s.do(http.MethodPut, "/api/tasks/"+task+"/progress", state); a.Status != http.StatusOK {
		s.t.Fatalf("report: %d %s", a.Status, a.Body)
	}
	synctest.Wait()
}

// lines joins the data of events.
func lines(events []sse.Event) string {
	var all []string
	for _, e := range events {
		all = append(all, e.Data)
	}
	return strings.Join(all, " ")
}

func TestAStreamsHeadersKeepProxiesFromHoldingItBack(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		for _, path := range []string{
			"/api/sse/time", "/api/sse/notifications", "/api/sse/activity", "/api/sse/progress/t", "/api/sse/channels/a", "/api/sse?channels=a,b",
		} {
			st := s.open(path)
			for name, want := range map[string]string{
				"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache, no-transform",
				"X-Accel-Buffering": "no", "Sluice-Replica": "replica-1", "Content-Encoding": "",
			} {
				if got := st.Header.Get(name); got != want {
					t.Errorf("%s: %s is %q, want %q", path, name, got, want)
				}
			}
		}
	})
}

func TestAStreamBeginsWithARetryTimeAndThePlaceOfTheClient(t *testing.T) {
	serve(t, gateway.Config{Retry: 2 * time.Second}, func(t *testing.T, s *site) {
		id := s.publish("orders", "1")
		times := make(map[string]bool)
		for range 10 {
			st := s.open("/api/sse/channels/orders")
			s.until("the beginning", func() bool { return strings.HasSuffix(st.raw.String(), "\n\n") })
			begin := regexp.MustCompile(`^retry: (\d+)\nid: (\S+)\nevent: position\ndata: \{"id":"\S+"\}\n\n$`).FindStringSubmatch(st.raw.String())
			if begin == nil || begin[2] != id {
				t.Fatalf("got %q, want a retry time and id %s", st.raw, id)
			}
			var retry int
			if _, err := fmt.Sscan(begin[1], &retry); err != nil || retry < 1000 || retry > 3000 {
				t.Errorf("retry is %s ms, want 1000 to 3000", begin[1])
			}
			times[begin[1]] = true
		}
		if len(times) < 3 {
			t.Errorf("ten clients have only the retry times %v: they would all come back at once", times)
		}
	})
}

func TestTheTimeStreamTellsTheTimeEverySecond(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		st := s.open("/api/sse/time")
		if e := st.next(); e.Data != `{"message":"Connected!"}` || e.Type != "" || e.LastEventID != "" {
			t.Errorf("greeting: %+v", e)
		}
		began := time.Now()
		for i := range 5 {
			tick := fields(t, st.next().Data)
			text, _ := tick["time"].(string)
			at, err := time.Parse(time.RFC3339, text)
			if stamp, _ := tick["timestamp"].(float64); err != nil || at.Unix() != int64(stamp)/1000 || at.Unix() != time.Now().Unix() {
				t.Errorf("tick %d at %v: %v, %v", i, time.Now(), tick, err)
			}
		}
		if took := time.Since(began); took < 4*time.Second || took > 5*time.Second {
			t.Errorf("five ticks took %v", took)
		}
	})
}

func TestAQuietStreamGetsAHeartbeatAndABusyOneNone(t *testing.T) {
	serve(t, gateway.Config{Heartbeat: 30 * time.Second}, func(t *testing.T, s *site) {
		quiet, busy := s.open("/api/sse/channels/quiet"), s.open("/api/sse/channels/busy")
		for range 30 {
			time.Sleep(10 * time.Second)
			s.publish("busy", "1")
			busy.next()
		}
		if n := strings.Count("\n"+quiet.raw.String(), wire.Heartbeat); n < 9 || n > 13 {
			t.Errorf("five quiet minutes: %d heartbeats, want about 10", n)
		}
		if strings.Contains(busy.raw.String(), "\n"+wire.Heartbeat) {
			t.Errorf("heartbeats on a busy stream: %q", busy.raw)
		}
		if got := quiet.quiet(); len(got) != 0 {
			t.Errorf("heartbeats were taken for events: %+v", got)
		}
	})
}

func TestAFirstConnectGetsAsMuchOfTheHistoryAsItAsksFor(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		for i := range 15 {
			s.post("/api/notifications/create", fmt.Sprintf(`{"type":"info","title":"%d","message":"m"}`, i))
			s.post("/api/activity", fmt.Sprintf(`{"type":"user_joined","userName":"%d","action":"joined"}`, i))
		}
		for i := range 5 {
			s.publish("orders", fmt.Sprint(i))
		}
		for path, want := range map[string]int{
			"/api/sse/notifications": 15, "/api/sse/notifications?replay=0": 0, "/api/sse/notifications?replay=3": 3,
			"/api/sse/activity": 10, "/api/sse/activity?replay=1000": 15, "/api/sse/activity?replay=0": 0,
			"/api/sse/channels/orders": 0, "/api/sse/channels/orders?replay=2": 2, "/api/sse/channels/orders?replay=1000": 5,
			"/api/sse?channels=orders,empty": 0, "/api/sse?channels=orders,empty&replay=4": 4,
			"/api/sse/channels/notifications?replay=1": 1,
		} {
			got := s.open(path).quiet()
			if len(got) != want {
				t.Errorf("%s: got %d events, want %d", path, len(got), want)
			}
			for i := 1; i < len(got); i++ {
				if got[i-1].LastEventID == got[i].LastEventID {
					t.Errorf("%s: event %s twice", path, got[i].LastEventID)
				}
			}
		}
		oldestFirst := s.open("/api/sse/channels/orders?replay=3")
		if got := lines(oldestFirst.quiet()); got != "2 3 4" {
			t.Errorf("replay=3: got %s, want the newest three, oldest first", got)
		}
	})
}

func TestTheReplayOfSeveralChannelsIsInTheOrderOfTheirTimes(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		for i, channel := range []string{"b", "a", "b", "c", "a"} {
			s.publish(channel, fmt.Sprint(i))
			time.Sleep(5 * time.Millisecond)
		}
		var got []string
		for _, e := range s.open("/api/sse?channels=a,b,c&replay=10").quiet() {
			got = append(got, fmt.Sprint(fields(t, e.Data)["data"]))
		}
		if want := "0 1 2 3 4"; strings.Join(got, " ") != want {
			t.Errorf("got %v, want %s", got, want)
		}
	})
}

func TestAnEnvelopeSaysWhatItHolds(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		st := s.open("/api/sse?channels=orders,notifications")
		a := s.post("/api/channels/orders/events", `{"type":"paid","data":{"n":1.0}}`)
		e := st.next()
		matches(t, "envelope", e.Data, `{"channel":"orders","id":"<id>","type":"paid","time":<time>,"data":{"n":1.0}}`)
		if got, want := fields(t, e.Data)["id"], fields(t, a.Body)["id"]; got != want || e.Type != "" {
			t.Errorf("id %v, want %v; type %q", got, want, e.Type)
		}
		s.post("/api/notifications/create", `{"type":"error","title":"a","message":"b"}`)
		matches(t, "envelope of a notification", st.next().Data, `{"channel":"notifications","id":"<id>","type":"error","time":<time>,`+
			`"data":{"id":"<id>","timestamp":<time>,"type":"error","title":"a","message":"b","read":false}}`)
	})
}

func TestAChannelNamedTwiceIsStreamedOnce(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		st := s.open("/api/sse?channels=orders,bills,orders,orders&replay=5")
		s.publish("orders", "1")
		if got := st.quiet(); len(got) != 1 {
			t.Errorf("got %+v, want one event", got)
		}
	})
}

func TestOneStreamOfFiftyChannelsResumesAllOfThem(t *testing.T) {
	var names []string
	for i := range 50 {
		names = append(names, fmt.Sprintf("channel-with-a-long-name-%02d", i))
	}
	path := "/api/sse?channels=" + strings.Join(names, ",")
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		st := s.open(path)
		for _, n := range names {
			s.publish(n, "1")
		}
		var last sse.Event
		for range names {
			last = st.next()
		}
		if len(last.LastEventID) > 1024 {
			t.Errorf("the event id of 50 channels has %d bytes", len(last.LastEventID))
		}
		st.Close()
		for _, n := range names {
			s.publish(n, "2")
		}
		again := s.open(path, "Last-Event-ID", last.LastEventID).quiet()
		seen := make(map[any]bool)
		for _, e := range again {
			if f := fields(t, e.Data); e.Type == "" && f["data"] == 2.0 {
				seen[f["channel"]] = true
			}
		}
		if len(again) != 50 || len(seen) != 50 {
			t.Errorf("got %d events of %d channels, want 50 of 50", len(again), len(seen))
		}
	})
}

func TestAClientResumesByHeaderOrByQueryAndTheHeaderIsNewer(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		var ids []string
		for i := range 5 {
			ids = append(ids, s.publish("orders", fmt.Sprint(i)))
		}
		for name, test := range map[string]struct {
			st   *stream
			want string
		}{
			"header":         {s.open("/api/sse/channels/orders", "Last-Event-ID", ids[2]), "3 4"},
			"query":          {s.open("/api/sse/channels/orders?lastEventId=" + ids[3]), "4"},
			"both":           {s.open("/api/sse/channels/orders?lastEventId="+ids[0], "Last-Event-ID", ids[3]), "4"},
			"with a replay":  {s.open("/api/sse/channels/orders?replay=5", "Last-Event-ID", ids[3]), "4"},
			"nothing new":    {s.open("/api/sse/channels/orders", "Last-Event-ID", ids[4]), ""},
			"before the 1st": {s.open("/api/sse/channels/empty?lastEventId="), ""},
		} {
			if got := lines(test.st.quiet()); got != test.want {
				t.Errorf("%s: got %q, want %q", name, got, test.want)
			}
		}
		st := s.open("/api/sse/channels/orders", "Last-Event-ID", ids[3])
		s.publish("orders", "5")
		if got := lines(st.quiet()); got != "4 5" {
			t.Errorf("resume and go on: got %q, want 4 5", got)
		}
	})
}

func TestSeveralParametersOfChannelsMeanAllOfThem(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		st := s.open("/api/sse?channels=a,b&channels=c")
		for _, channel := range []string{"a", "b", "c"} {
			s.publish(channel, "1")
			if got := fields(t, st.next().Data)["channel"]; got != channel {
				t.Errorf("got an event of %v, want one of %s", got, channel)
			}
		}
	})
}

func TestAnIDOfSeveralChannelsMeansSomethingToFewerAndMore(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		st := s.open("/api/sse?channels=a,b")
		s.publish("a", "1")
		s.publish("b", "1")
		st.next()
		id := st.next().LastEventID
		s.publish("a", "2")
		s.publish("b", "2")
		s.publish("c", "1")
		if got := s.open("/api/sse?channels=a", "Last-Event-ID", id).quiet(); len(got) != 1 || fields(t, got[0].Data)["data"] != 2.0 {
			t.Errorf("one channel less: %+v", got)
		}
		var gaps, events []string
		for _, e := range s.open("/api/sse?channels=a,b,c", "Last-Event-ID", id).quiet() {
			if e.Type == "gap" {
				gaps = append(gaps, e.Data)
				continue
			}
			f := fields(t, e.Data)
			events = append(events, fmt.Sprint(f["channel"], f["data"]))
		}
		if got := strings.Join(gaps, " "); got != `{"channel":"c","reason":"unknown"}` {
			t.Errorf("one channel more: gaps %s", got)
		}
		if got := strings.Join(events, " "); got != "a2 b2 c1" {
			t.Errorf("one channel more: events %s", got)
		}
	})
}

func TestWhatCannotBeDeliveredIsSaidFirst(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		var ids []string
		for i := range 8 { // five are kept
			ids = append(ids, s.publish("orders", fmt.Sprint(i)))
		}
		for name, test := range map[string]struct{ id, gap, events string }{
			"seen all":                 {ids[7], "", ""},
			"just before the oldest":   {ids[2], "", "3 4 5 6 7"},
			"one too old":              {ids[1], "trimmed", "3 4 5 6 7"},
			"of another life":          {"5-0000000000", "reset", "3 4 5 6 7"},
			"of the future":            {"99-0000000000", "reset", "3 4 5 6 7"},
			"before the channel began": {"0-0000000000", "reset", "3 4 5 6 7"},
			"rubbish":                  {"rubbish", "unknown", "3 4 5 6 7"},
			"of several channels":      {"mAAAAAAAAAAAAAAA", "unknown", "3 4 5 6 7"},
		} {
			got := s.open("/api/sse/channels/orders", "Last-Event-ID", test.id).quiet()
			gap := ""
			if len(got) > 0 && got[0].Type == "gap" {
				gap, _ = fields(t, got[0].Data)["reason"].(string)
				if channel := fields(t, got[0].Data)["channel"]; channel != "orders" {
					t.Errorf("%s: the gap is in channel %v", name, channel)
				}
				got = got[1:]
			}
			if gap != test.gap || lines(got) != test.events {
				t.Errorf("%s: gap %q and events %q, want %q and %q", name, gap, lines(got), test.gap, test.events)
			}
		}
	})
}

// A client that was told of a gap and comes back with the notice's id is not told again.
func TestAGapIsToldOnce(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		for i := range 8 {
			s.publish("orders", fmt.Sprint(i))
		}
		first := s.open("/api/sse/channels/orders", "Last-Event-ID", "rubbish")
		notice := first.next()
		if notice.Type != "gap" || notice.LastEventID == "" {
			t.Fatalf("got %+v, want a gap notice with an id", notice)
		}
		first.Close()
		again := s.open("/api/sse/channels/orders", "Last-Event-ID", notice.LastEventID).quiet()
		if lines(again) != "3 4 5 6 7" {
			t.Errorf("got %+v, want the stored events and no gap", again)
		}
	})
}

func TestTamperedEventIDsNeverBreakAStream(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		id := s.publish("orders", "1")
		s.publish("bills", "1")
		multi := s.open("/api/sse?channels=orders,bills&replay=1")
		multi.next()
		long := multi.next().LastEventID
		ids := []string{
			"-", "0-", "-0", "1", "01-0000000000", "+1-0000000000", "-1-0000000000", "1-000000000", "1-00000000000", "1-ZZZZZZZZZZ",
			"18446744073709551615-0000000000", "18446744073709551616-0000000000", "9007199254740993-0000000000", "1e3-0000000000",
			id + "-end", id + "-end-end", id + " ", " " + id, id + ",", strings.ToUpper(id), "m", "m=", "m!", "m====", long + "A", long + "AAAA",
			"M" + long[1:], "m" + strings.Repeat("_", 400), strings.Repeat("9", 5000), "0", "null", "undefined", "[object Object]",
			"<script>", "../../etc/passwd", "\u00e9\u4e2d", "\xff\xfe", "\t", strings.Repeat("1-0000000000,", 100),
		}
		for i := 0; i < len(long); i += 3 {
			ids = append(ids, long[:i], long[:i]+"x"+long[i+1:])
		}
		for _, id := range ids {
			for _, path := range []string{"/api/sse/channels/orders", "/api/sse?channels=orders,bills", "/api/sse/notifications", "/api/sse/progress/t9"} {
				st := s.open(path, "Last-Event-ID", id)
				// A task that was never heard of and an id that says "I have seen its end" is answered by 204.
				over := strings.HasSuffix(id, "-end") && strings.Contains(path, "progress")
				if st.Status != 200 && !(over && st.Status == 204) {
					t.Errorf("%s with Last-Event-ID %q: got %d %s", path, id, st.Status, st.Body)
				}
				st.Close()
			}
		}
	})
}

func TestAFilterLetsOnlyItsTypesThroughAndKeepsThePlace(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		event := func(typ, data string) {
			s.post("/api/channels/orders/events", `{"type":"`+typ+`","data":`+data+`}`)
		}
		event("paid", "0")
		st := s.open("/api/sse/channels/orders?types=paid,sent&replay=5")
		event("packed", "1")
		event("paid", "2")
		event("", "3")
		event("sent", "4")
		got := st.quiet()
		if lines(got) != "0 2 4" || got[2].Type != "sent" {
			t.Errorf("got %+v, want the data 0 2 4", got)
		}
		again := s.open("/api/sse/channels/orders?types=packed", "Last-Event-ID", got[0].LastEventID).quiet()
		if lines(again) != "1" {
			t.Errorf("another filter from the same place: %+v", again)
		}
		many := s.open("/api/sse?channels=orders,bills&types=paid&replay=5")
		if got := many.quiet(); len(got) != 2 {
			t.Errorf("several channels: %+v", got)
		}
	})
}

func TestNotificationsCanBeFilteredByTheirTypesErrorToo(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		for _, typ := range []string{"info", "success", "warning", "error"} {
			s.post("/api/notifications/create", `{"type":"`+typ+`","title":"a","message":"b"}`)
		}
		st := s.open("/api/sse/notifications?types=error,warning")
		if got := st.quiet(); st.Status != 200 || len(got) != 2 || fields(t, got[1].Data)["type"] != "error" {
			t.Errorf("got %d %s %+v", st.Status, st.Body, got)
		}
	})
}

func TestTheChannelsWithAShapeGoToOnmessage(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		all := map[string]*stream{
			"notifications": s.open("/api/sse/notifications"), "activity": s.open("/api/sse/activity"), "task": s.open("/api/sse/progress/t"),
			"general": s.open("/api/sse/channels/orders"),
		}
		s.post("/api/notifications/create", `{"type":"info","title":"a","message":"b"}`)
		s.post("/api/activity/simulate", "")
		s.report("t", `{"progress":1}`)
		s.post("/api/channels/orders/events", `{"type":"paid","data":1}`)
		for name, st := range all {
			want := ""
			if name == "general" {
				want = "paid"
			}
			if e := st.next(); e.Type != want {
				t.Errorf("%s: event type %q, want %q", name, e.Type, want)
			}
		}
	})
}

func TestAnEventPublishedOnceAStreamIsOpenReachesIt(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		for i := range 10 { // a channel nobody has ever watched, each time
			channel := fmt.Sprintf("new-%d", i)
			st := s.open("/api/sse/channels/" + channel)
			s.rdb.Publish(t.Context(), channel, "raw")
			s.publish(channel, `"posted"`)
			got := map[string]bool{st.next().Data: true, st.next().Data: true}
			if !got[`"raw"`] || !got[`"posted"`] {
				t.Errorf("channel %s: got %v", channel, got)
			}
		}
	})
}

func TestAStalledClientIsClosedAndHoldsNobodyUp(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		c, err := s.front.dial(t.Context(), "192.0.2.1:40000")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := fmt.Fprint(c, "GET /api/sse/channels/orders HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		one := make([]byte, 1) // and no more: the pipe has no buffer, so the rest is never taken
		if _, err := c.Read(one); err != nil {
			t.Fatal(err)
		}
		st := s.open("/api/sse/channels/orders")
		for i := range 20 {
			s.publish("orders", fmt.Sprint(i))
			if e := st.next(); e.Data != fmt.Sprint(i) {
				t.Fatalf("event %d: got %s", i, e.Data)
			}
		}
		time.Sleep(10 * time.Second)
		s.until("the stalled stream to be closed", func() bool { return s.metric("sluice_streams") == "1" })
	})
}
