package world

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"sluice/cmd/internal/judge"
	"sluice/cmd/sim/internal/network"
)

// publisher sends numbered payloads to one channel, one after the other or, raw ones, sometimes many in one write.
type publisher struct {
	world *world
	plan  PublisherPlan
	name  string
	dice  dice
	turn  int
	keys  int // Idempotency-Keys used
	conn  *network.Conn
	in    *bufio.Reader
}

const (
	postTimeout = time.Second
	postGiveUp  = 30 * time.Second
	postPause   = 50 * ms
)

func (w *world) publisher(i int, p PublisherPlan) *publisher {
	kind := "post"
	if p.Raw {
		kind = "raw"
	}
	return &publisher{
		world: w, plan: p, name: fmt.Sprintf("%s-%d", kind, i), dice: newDice(w.plan.Seed, 2000+uint64(i)), turn: i,
	}
}

// run publishes until ctx ends; the publish under way is finished then.
func (p *publisher) run(ctx context.Context) {
	defer p.hangUp()
	for n := 1; p.plan.Limit == 0 || n <= p.plan.Limit; n++ {
		if !sleep(ctx, p.dice.between(p.plan.Every/2, p.plan.Every*3/2)) {
			return
		}
		if p.plan.Burst > 0 && p.dice.chance(4) {
			count := 1 + p.dice.IntN(p.plan.Burst)
			p.burst(n, count)
			n += count - 1
			continue
		}
		p.one(p.world.ctx, n)
		if n%twiceEvery == 0 {
			p.one(p.world.ctx, n)
		}
	}
}

// draft makes the n-th publish.
func (p *publisher) draft(n int) judge.Publish {
	out := judge.Publish{
		Publisher: p.name, Channel: p.plan.Channel, Raw: p.plan.Raw, Token: judge.Token(p.name, p.plan.Channel, n),
	}
	if p.plan.Channel != notifications {
		out.Body = p.payload(out.Token, n)
		if !p.plan.Raw && n%noteEvery == 0 {
			out.Type = note
		}
	}
	return out
}

// payload is compact JSON with what is easily broken on the way; every fourth raw message is plain text with line
// breaks, whose data is its JSON string.
func (p *publisher) payload(token string, n int) string {
	padding := ""
	if p.plan.Padding > 0 {
		padding = strings.Repeat("x", p.plan.Padding)
	}
	if p.plan.Raw && n%4 == 0 {
		return marshal(token + " plain text,\r\ntwo lines, \"\\ äöü <b>\n" + padding)
	}
	return `{"token":"` + token + `","n":1.0,"big":9007199254740993,"none":[],"text":"a\nb <&> \u2029 data: x\n\nid: 1","pad":"` +
		padding + `"}`
}

// marshal makes a JSON string in the way the gateway does.
func marshal(text string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(text) // a string always marshals
	return strings.TrimRight(b.String(), "\n")
}

// one publishes the n-th payload once.
func (p *publisher) one(ctx context.Context, n int) judge.Publish {
	out := p.draft(n)
	out.First = p.world.now()
	if p.plan.Raw {
		p.send([]*judge.Publish{&out})
	} else {
		p.post(ctx, &out)
	}
	p.note(out)
	return out
}

// burst publishes raw messages in one write.
func (p *publisher) burst(n, count int) {
	all := make([]*judge.Publish, count)
	for i := range all {
		d := p.draft(n + i)
		d.First = p.world.now()
		all[i] = &d
	}
	p.send(all)
	for _, d := range all {
		p.note(*d)
	}
}

func (p *publisher) note(out judge.Publish) {
	w := p.world
	w.tracef("%s published %s: outcome %d, receivers %d, id %s", p.name, out.Token, out.Outcome, out.Receivers, out.ID)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.record.Publishes = append(w.record.Publishes, out)
}

// message is what a raw publisher sends.
func message(d *judge.Publish) string {
	text := ""
	switch {
	case d.Channel == notifications:
		return `{"type":"info","title":"sim","message":"` + d.Token + `"}`
	case json.Unmarshal([]byte(d.Body), &text) == nil:
		return text
	}
	return d.Body
}

// send publishes raw messages over a connection that is kept. A PUBLISH has no key, so none is repeated.
func (p *publisher) send(all []*judge.Publish) {
	w := p.world
	ctx, cancel := context.WithTimeout(w.ctx, postTimeout)
	defer cancel()
	if p.conn == nil {
		conn, err := w.net.Dial(ctx, p.name, "redis")
		if err != nil {
			for _, d := range all {
				d.Last, d.Answered, d.Outcome = w.now(), w.now(), judge.Refused
			}
			return
		}
		p.conn, p.in = conn, bufio.NewReader(conn)
	}
	var b []byte
	for _, d := range all {
		d.Last = d.First
		text := message(d)
		b = fmt.Appendf(b, "*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", len(d.Channel), d.Channel, len(text), text)
	}
	_ = p.conn.SetDeadline(time.Now().Add(postTimeout))
	if _, err := p.conn.Write(b); err != nil {
		p.hangUp()
		return // perhaps taken, perhaps not
	}
	for _, d := range all {
		line, err := p.in.ReadString('\n')
		if err != nil {
			p.hangUp()
			return
		}
		d.Answered = w.now()
		n, err := strconv.ParseInt(strings.TrimSpace(line[1:]), 10, 64)
		switch {
		case line[0] == '-' || err != nil || n == 0:
			d.Outcome = judge.Refused
		default:
			d.Outcome, d.Receivers = judge.Acknowledged, n
		}
	}
}

func (p *publisher) hangUp() {
	if p.conn != nil {
		_ = p.conn.Close()
		p.conn = nil
	}
}

// post publishes by POST. It repeats a publish with its key, on one replica after the other, until it is answered.
func (p *publisher) post(ctx context.Context, d *judge.Publish) {
	path, body := "/api/channels/"+d.Channel+"/events", `{"type":"`+d.Type+`","data":`+d.Body+`}`
	if d.Channel == notifications {
		path, body = "/api/notifications/create", `{"type":"info","title":"sim","message":"`+d.Token+`"}`
	}
	p.repeat(ctx, http.MethodPost, path, body, func(began time.Duration, answer []byte) {
		var created struct{ ID string }
		if json.Unmarshal(answer, &created) != nil || created.ID == "" {
			p.world.blame(judge.Process, "POST %s: 2xx without an id: %.100s", path, answer)
			return
		}
		d.Last, d.Answered, d.Outcome, d.ID = began, p.world.now(), judge.Acknowledged, created.ID
	})
}

// repeat makes a call until it is answered 2xx, or gives up.
func (p *publisher) repeat(ctx context.Context, method, path, body string, done func(time.Duration, []byte)) {
	w := p.world
	p.keys++
	header := map[string]string{"Content-Type": "application/json", "Idempotency-Key": fmt.Sprintf("%s-%d", p.name, p.keys)}
	for from := w.now(); w.now()-from < postGiveUp && ctx.Err() == nil; {
		began := w.now()
		call, cancel := context.WithTimeout(ctx, postTimeout)
		status, answer, err := w.call(call, p.name, w.target(p.turn), method, path, header, []byte(body))
		cancel()
		p.turn++
		switch {
		case err != nil:
		case status >= 200 && status < 300:
			done(began, answer)
			return
		case status >= 400 && status < 500 && status != http.StatusTooManyRequests:
			w.blame(judge.Process, "%s %s: %d %.200s", method, path, status, answer)
			return
		}
		sleep(ctx, postPause)
	}
}

// worker reports the progress of one task and takes it to its end.
type worker struct {
	publisher *publisher
	task      string
}

// startTask begins a task and lets somebody follow it.
func (w *world) startTask() {
	w.worker = &worker{publisher: w.publisher(50, PublisherPlan{}), task: "job"}
	w.worker.publisher.repeat(w.ctx, http.MethodPost, "/api/tasks", `{"taskId":"job","taskName":"simulated"}`,
		func(time.Duration, []byte) {})
	c := w.newClient("watcher", 1)
	c.path = "/api/sse/progress/job"
	w.tasks = append(w.tasks, c)
	w.wg.Go(c.run)
}

func (k *worker) run(ctx context.Context) {
	for percent := 1; percent < 100; percent++ {
		if !sleep(ctx, k.publisher.dice.between(100*ms, 500*ms)) {
			return
		}
		k.report(percent, "processing")
	}
}

func (k *worker) finish() { k.report(100, "completed") }

func (k *worker) report(percent int, status string) {
	p := k.publisher
	p.repeat(p.world.ctx, http.MethodPut, "/api/tasks/"+k.task+"/progress",
		fmt.Sprintf(`{"progress":%d,"status":%q}`, percent, status), func(time.Duration, []byte) {})
}
