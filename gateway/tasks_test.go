package gateway_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"sluice/gateway"
)

// startTask starts a simulated task and returns its id.
func (s *site) startTask(name string) string {
	s.t.Helper()
	a := s.post("/api/tasks/start", `{"taskName":"`+name+`"}`)
	id, _ := fields(s.t, a.Body)["taskId"].(string)
	if a.Status != http.StatusAccepted || id == "" {
		s.t.Fatalf("start a task: %d %s", a.Status, a.Body)
	}
	return id
}

func TestASimulatedTaskGoesToTheEndAndItsStreamWithIt(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		began := time.Now()
		id := s.startTask("Report")
		st := s.open("/api/sse/progress/" + id)
		var progress []string
		var last map[string]any
		for _, e := range st.ended() {
			last = fields(t, e.Data)
			progress = append(progress, fmt.Sprint(last["progress"]))
			if last["taskId"] != id || last["message"] == "" || last["currentStep"] == "" {
				t.Errorf("state %s", e.Data)
			}
		}
		if got, want := strings.Join(progress, " "), "0 20 40 60 80 95 100"; got != want && got != "0 "+want {
			t.Errorf("progress: got %s, want %s", got, want)
		}
		if last["status"] != "completed" {
			t.Errorf("last state: %v", last)
		}
		// Six steps of a second, and one until the stream is closed.
		if took := time.Since(began); took < 6*time.Second || took > 9*time.Second {
			t.Errorf("the task took %v", took)
		}
		if got := fields(t, s.get("/api/tasks/"+id).Body)["status"]; got != "completed" {
			t.Errorf("state of the finished task: %v", got)
		}
		time.Sleep(61 * time.Second)
		if a := s.get("/api/tasks/" + id); a.Status != http.StatusNotFound {
			t.Errorf("a minute after the end: got %d %s, want 404", a.Status, a.Body)
		}
	})
}

func TestASimulatedTaskWithAnIdempotencyKeyRunsOnce(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		start := func() string {
			id, _ := fields(t, s.post("/api/tasks/start", `{"taskName":"x"}`, "Idempotency-Key", "k").Body)["taskId"].(string)
			return id
		}
		id := start()
		st := s.open("/api/sse/progress/" + id)
		time.Sleep(2500 * time.Millisecond)
		if again := start(); again != id {
			t.Fatalf("the second call started task %s, the first %s", again, id)
		}
		if n := len(st.ended()); n > 8 {
			t.Errorf("%d states: the task ran twice", n)
		}
		if again := start(); again != id {
			t.Errorf("after the end the key began task %s, the first was %s", again, id)
		}
	})
}

func TestALateJoinerGetsOneSnapshot(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		for i := range 10 {
			s.report("t", fmt.Sprintf(`{"progress":%d,"message":"m"}`, i*10))
		}
		st := s.open("/api/sse/progress/t")
		if got := st.quiet(); len(got) != 1 || fields(t, got[0].Data)["progress"] != 90.0 {
			t.Errorf("got %+v, want the newest state and nothing else", got)
		}
		s.report("t", `{"progress":95}`)
		if got := st.quiet(); len(got) != 1 || fields(t, got[0].Data)["progress"] != 95.0 {
			t.Errorf("got %+v, want the next state", got)
		}
	})
}

func TestAClientBackAfterManyReportsGetsOneSnapshotAndNoGap(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		s.report("t", `{"progress":1}`)
		first := s.open("/api/sse/progress/t")
		id := first.next().LastEventID
		first.Close()
		for i := range 20 {
			s.report("t", fmt.Sprintf(`{"progress":%d}`, i+2))
		}
		for _, id := range []string{id, "1-0000000000", "rubbish"} {
			got := s.open("/api/sse/progress/t", "Last-Event-ID", id).quiet()
			if len(got) != 1 || got[0].Type != "" || fields(t, got[0].Data)["progress"] != 21.0 {
				t.Errorf("from %s: got %+v, want the newest state", id, got)
			}
		}
	})
}

func TestAnUnknownTaskIsWaitedFor(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		st := s.open("/api/sse/progress/not-yet")
		if got := st.quiet(); st.Status != 200 || len(got) != 0 {
			t.Fatalf("got %d and %+v, want an open, empty stream", st.Status, got)
		}
		time.Sleep(10 * time.Minute)
		s.post("/api/tasks", `{"taskId":"not-yet","taskName":"Build"}`)
		if e := st.next(); fields(t, e.Data)["status"] != "pending" {
			t.Errorf("got %+v", e)
		}
		s.rdb.Publish(t.Context(), "progress:not-yet", `{"progress":50}`)
		if e := st.next(); fields(t, e.Data)["progress"] != 50.0 {
			t.Errorf("got %+v", e)
		}
	})
}

// EventSource comes back whenever a stream ends; only 204 stops it.
func TestAClientThatHasSeenTheEndOfATaskIsToldToStop(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		for path, state := range map[string]string{
			"/api/sse/progress/done":   `{"progress":100}`,
			"/api/sse/progress/failed": `{"progress":10,"status":"failed"}`,
		} {
			task := strings.TrimPrefix(path, "/api/sse/progress/")
			watching := s.open(path)
			s.report(task, `{"progress":5}`)
			halfway := watching.next().LastEventID
			s.report(task, state)
			all := watching.ended()
			seen := all[len(all)-1].LastEventID

			check := func(when string) {
				t.Helper()
				if st := s.open(path, "Last-Event-ID", seen); st.Status != http.StatusNoContent {
					t.Errorf("%s, %s: got %d, want 204", path, when, st.Status)
				}
				if st := s.open(path + "?lastEventId=" + seen); st.Status != http.StatusNoContent {
					t.Errorf("%s, %s, by query: got %d, want 204", path, when, st.Status)
				}
			}
			check("at once")
			// One that was away for the end gets it, and then the stream ends.
			late := s.open(path, "Last-Event-ID", halfway)
			if got := late.ended(); len(got) != 1 || got[0].LastEventID != seen {
				t.Errorf("%s: a client that was away got %+v", path, got)
			}
			// So does one that comes for the first time.
			if got := s.open(path).ended(); len(got) != 1 || got[0].LastEventID != seen {
				t.Errorf("%s: a new client got %+v", path, got)
			}
			time.Sleep(50 * time.Second)
			check("shortly before Redis forgets the task")
			time.Sleep(15 * time.Second)
			check("when Redis has just forgotten the task")
			time.Sleep(5 * time.Minute)
			check("when the replica has forgotten the task too")
		}
	})
}

func TestTheStreamOfAFinishedTaskClosesASecondLater(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		st := s.open("/api/sse/progress/t")
		s.report("t", `{"progress":100}`)
		st.next()
		began := time.Now()
		st.ended()
		if took := time.Since(began); took < 900*time.Millisecond || took > 1500*time.Millisecond {
			t.Errorf("closed after %v, want about a second", took)
		}
	})
}

// A client that filters the end away must still come to rest: EventSource would come back for ever.
func TestAFilterDoesNotHideThatATaskHasEnded(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		st := s.open("/api/sse/progress/t?types=processing")
		s.report("t", `{"progress":5}`)
		s.report("t", `{"progress":100}`)
		last := ""
		for range 3 { // a client gets an id with each connection, and comes back with it
			for e := range st.events {
				last = e.LastEventID
			}
			if st = s.open("/api/sse/progress/t?types=processing", "Last-Event-ID", last); st.Status == http.StatusNoContent {
				return
			}
		}
		t.Errorf("the client comes back for ever with %s", last)
	})
}

func TestAFinishedTaskTakesNoMoreReports(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		s.post("/api/tasks", `{"taskId":"t","taskName":"x"}`)
		if code := refused(t, "a second task of the same id", s.post("/api/tasks", `{"taskId":"t"}`), http.StatusConflict); code != "task_exists" {
			t.Errorf("got code %q", code)
		}
		s.report("t", `{"status":"completed"}`)
		for _, report := range []string{`{"progress":50}`, `{"progress":100}`, `{"status":"failed"}`} {
			a := s.do(http.MethodPut, "/api/tasks/t/progress", report)
			if code := refused(t, report, a, http.StatusConflict); code != "task_ended" {
				t.Errorf("%s: got code %q", report, code)
			}
		}
		if got := fields(t, s.get("/api/tasks/t").Body)["progress"]; got != 100.0 {
			t.Errorf("progress: %v", got)
		}
		time.Sleep(61 * time.Second)
		if a := s.post("/api/tasks", `{"taskId":"t"}`); a.Status != http.StatusCreated {
			t.Errorf("the id a minute later: %d %s", a.Status, a.Body)
		}
	})
}

func TestWhatAReportMayLeaveOut(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		for i, test := range []struct{ report, progress, status string }{
			{`{"progress":0}`, "0", "processing"}, {`{"progress":99.9}`, "99.9", "processing"}, {`{"progress":100}`, "100", "completed"},
			{`{"status":"pending"}`, "0", "pending"}, {`{"status":"completed"}`, "100", "completed"}, {`{"status":"failed"}`, "0", "failed"},
			{`{"progress":100,"status":"processing"}`, "100", "processing"}, {`{"progress":3,"status":"failed"}`, "3", "failed"},
			{`{"progress":null,"status":"completed"}`, "100", "completed"}, {`{"progress":7,"status":"completed"}`, "7", "completed"},
		} {
			a := s.do(http.MethodPut, fmt.Sprintf("/api/tasks/t%d/progress", i), test.report)
			state := fields(t, a.Body)
			if a.Status != 200 || fmt.Sprint(state["progress"]) != test.progress || state["status"] != test.status {
				t.Errorf("%s: got %d %s", test.report, a.Status, a.Body)
			}
		}
	})
}

func TestASimulatedTaskWaitsForRedisButNotForASettingToChange(t *testing.T) {
	for reply, want := range map[string]string{
		"LOADING Redis is loading": "completed", "OOM command not allowed": "completed",
		"NOPERM no permissions": "processing", "WRONGTYPE Operation against a key": "processing",
	} {
		t.Run(reply, func(t *testing.T) {
			serve(t, gateway.Config{}, func(t *testing.T, s *site) {
				id := s.startTask("x")
				time.Sleep(1500 * time.Millisecond) // in the middle of it
				s.mini.SetError(reply)
				time.Sleep(5 * time.Second)
				s.mini.SetError("")
				s.waitReady()
				time.Sleep(20 * time.Second)
				if got := fields(t, s.get("/api/tasks/"+id).Body)["status"]; got != want {
					t.Errorf("the task is %v, want %s", got, want)
				}
			})
		})
	}
}
