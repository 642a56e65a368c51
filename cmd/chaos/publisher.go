package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"sluice/cmd/internal/judge"
)

// ledger collects what the publishers know about their publishes. It is safe for concurrent use.
type ledger struct {
	mu        sync.Mutex
	publishes []judge.Publish // guarded by mu
}

func (l *ledger) add(p judge.Publish) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.publishes = append(l.publishes, p)
}

func (l *ledger) all() []judge.Publish {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]judge.Publish(nil), l.publishes...)
}

// sender sends one publish and fills in its outcome. It returns when the outcome is known, or when it will never be.
type sender interface {
	send(ctx context.Context, p *judge.Publish)
}

// publisher sends numbered payloads to one channel. It sends a payload only after the answer to the one before.
type publisher struct {
	name    string
	channel string
	sender  sender
	raw     bool
	every   time.Duration // between two payloads
	padding string
	limit   int // payloads at most; 0: no limit
	ledger  *ledger
	now     func() time.Duration
}

const (
	twiceEvery = 10 // one in so many payloads is published a second time, byte for byte
	noteEvery  = 5  // one in so many POSTs has a type
)

// run publishes until stop is closed, and finishes the publish under way. The end of ctx ends it at once.
func (p *publisher) run(ctx context.Context, stop <-chan struct{}) {
	tick := time.NewTicker(p.every)
	defer tick.Stop()
	for n := 1; p.limit == 0 || n <= p.limit; n++ {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		p.one(ctx, n)
		if n%twiceEvery == 0 {
			p.one(ctx, n)
		}
	}
}

// one publishes the n-th payload once.
func (p *publisher) one(ctx context.Context, n int) judge.Publish {
	out := judge.Publish{
		Publisher: p.name, Channel: p.channel, Raw: p.raw,
		Token: judge.Token(p.name, p.channel, n),
	}
	if p.channel != notifications {
		out.Body = p.payload(out.Token, n)
		if !p.raw && n%noteEvery == 0 {
			out.Type = noteType
		}
	}
	out.First = p.now()
	p.sender.send(ctx, &out)
	p.ledger.add(out)
	return out
}

// notifications is the channel with a form of its own that is checked beside the general channels.
const notifications = "notifications"

// payload is JSON with what an encoder may easily damage. Every fourth raw message is plain text with line breaks.
func (p *publisher) payload(token string, n int) string {
	if p.raw && n%4 == 0 {
		text, _ := json.Marshal(token + " plain text,\r\ntwo lines\u2028three: \"\\ äöü 漢字\n" + p.padding)
		return judge.Compact(text)
	}
	body, _ := json.Marshal(map[string]any{
		"token": token, "n": n, "text": "line\nbreak \u2029 <b>&amp;</b>", "big": json.Number("9007199254740993"),
		"one": json.Number("1.0"), "list": []any{nil, true, "data: x\n\nid: 1"}, "none": []any{}, "pad": p.padding,
	})
	return judge.Compact(body)
}

// poster publishes by POST. Like a careful worker it repeats a publish, with the same Idempotency-Key, on one target
// after the other until the gateway answers.
type poster struct {
	targets    *targets
	turn       int
	run        string // part of the keys: those of different runs must differ
	serial     int
	name       string
	http       *http.Client
	now        func() time.Duration
	unexpected func(what string) // is called with an answer that a publisher must never get
	refused    func(why string)  // is called with an answer that says to try again later
}

const (
	postTimeout = time.Second            // of one attempt
	postGiveUp  = 30 * time.Second       // of all attempts of one publish
	postPause   = 100 * time.Millisecond // between two attempts
)

func (s *poster) send(ctx context.Context, p *judge.Publish) {
	path, body := "/api/channels/"+p.Channel+"/events", map[string]any{"data": json.RawMessage(p.Body)}
	if p.Type != "" {
		body["type"] = p.Type
	}
	if p.Channel == notifications {
		path, body = "/api/notifications/create", map[string]any{"type": "info", "title": "chaos", "message": p.Token}
	}
	s.serial++
	key := fmt.Sprintf("%s-%s-%d", s.run, s.name, s.serial)
	s.repeat(ctx, http.MethodPost, path, key, body, func(began time.Duration, answer []byte) {
		var created struct{ ID string }
		if json.Unmarshal(answer, &created) != nil || created.ID == "" {
			s.unexpected(fmt.Sprintf("POST %s: 2xx without an id: %.100s", path, answer))
			return
		}
		p.Last, p.Answered, p.Outcome, p.ID = began, s.now(), judge.Acknowledged, created.ID
	})
}

// repeat makes a call again and again until it is answered 2xx, and then calls done with the start of the last attempt
// and the answer. It gives up after postGiveUp, or when the answer is a refusal that no repetition would change.
func (s *poster) repeat(ctx context.Context, method, path, key string, body any, done func(time.Duration, []byte)) {
	ctx, cancel := context.WithTimeout(ctx, postGiveUp)
	defer cancel()
	encoded, _ := json.Marshal(body)
	for ctx.Err() == nil {
		began := s.now()
		status, answer := s.attempt(ctx, method, path, key, encoded)
		switch {
		case status >= 200 && status < 300:
			done(began, answer)
			return
		case status >= 400 && status < 500 && status != http.StatusConflict && status != http.StatusTooManyRequests:
			s.unexpected(fmt.Sprintf("%s %s: %d %.200s", method, path, status, answer))
			return
		case status == http.StatusServiceUnavailable:
			s.refused(fmt.Sprintf("%s %s: %d %.200s", method, path, status, answer))
		}
		select {
		case <-ctx.Done():
		case <-time.After(postPause):
		}
	}
}

// attempt makes a call once. Status 0 means that there was no answer.
func (s *poster) attempt(ctx context.Context, method, path, key string, body []byte) (status int, answer []byte) {
	request, err := http.NewRequestWithContext(ctx, method, s.targets.pick(s.turn)+path, bytes.NewReader(body))
	s.turn++
	if err != nil {
		return 0, nil
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Idempotency-Key", key)
	response, err := s.http.Do(request)
	if err != nil {
		return 0, nil
	}
	defer response.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return 0, nil
	}
	return response.StatusCode, answer
}

// rawSender publishes by PUBLISH. It never repeats one: without an Idempotency-Key the repetition would be another
// event.
type rawSender struct {
	redis *redis.Client
	now   func() time.Duration
}

func (s *rawSender) send(ctx context.Context, p *judge.Publish) {
	message := p.Body
	if p.Channel == notifications {
		message = `{"type":"info","title":"chaos","message":"` + p.Token + `"}`
	} else if text := ""; json.Unmarshal([]byte(p.Body), &text) == nil {
		message = text // plain text, which the gateway delivers as a JSON string
	}
	p.Last = p.First
	receivers, err := s.redis.Publish(ctx, p.Channel, message).Result()
	answerRaw(p, receivers, err, s.now())
}

// answerRaw fills in the outcome of a PUBLISH whose answer came at a moment.
func answerRaw(p *judge.Publish, receivers int64, err error, at time.Duration) {
	var dial *net.OpError
	var said redis.Error
	switch {
	case errors.As(err, &dial) && dial.Op == "dial", errors.As(err, &said): // it was not sent, or Redis refused it
		p.Outcome, p.Answered = judge.Refused, at
	case err != nil: // nobody knows whether Redis got it: unanswered
	case receivers == 0:
		p.Outcome, p.Answered = judge.Refused, at
	default:
		p.Outcome, p.Answered, p.Receivers = judge.Acknowledged, at, receivers
	}
}

// newRedis returns a client that sends every command at most once and gives up quickly.
func newRedis(addr string) *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr: addr, MaxRetries: -1, DialerRetries: 1, PoolSize: 16,
		DialTimeout: time.Second, ReadTimeout: postTimeout, WriteTimeout: postTimeout,
		PipelinePoolSize: -1, DisableIdentity: true, ContextTimeoutEnabled: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
}

// taskWorker reports the progress of one task and takes it to its end.
type taskWorker struct {
	poster *poster
	id     string
}

// begin creates the task.
func (t *taskWorker) begin(ctx context.Context) error {
	t.poster.repeat(ctx, http.MethodPost, "/api/tasks", t.poster.run+"-task", map[string]any{"taskName": "chaos"},
		func(_ time.Duration, answer []byte) {
			var created struct{ TaskID string }
			if json.Unmarshal(answer, &created) == nil {
				t.id = created.TaskID
			}
		})
	if t.id == "" {
		return errors.New("no task could be created")
	}
	return nil
}

// run reports one percent more at each interval until stop is closed. finish reports the rest.
func (t *taskWorker) run(ctx context.Context, stop <-chan struct{}, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for percent := 1; percent < 100; percent++ {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		t.report(ctx, percent, "processing")
	}
}

// finish reports that the task is completed.
func (t *taskWorker) finish(ctx context.Context) { t.report(ctx, 100, "completed") }

// report repeats one report until the gateway answers, with a key of its own.
func (t *taskWorker) report(ctx context.Context, percent int, status string) {
	key := fmt.Sprintf("%s-task-%d", t.poster.run, percent)
	t.poster.repeat(ctx, http.MethodPut, "/api/tasks/"+t.id+"/progress", key,
		map[string]any{"progress": percent, "status": status}, func(time.Duration, []byte) {})
}
