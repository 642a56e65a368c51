package ingest

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"sluice/store"
	"sluice/store/kind"
)

// Bounds and times of presenting; the package comment has them in a table.
const (
	presentMessages = 64        // in one call to the store
	presentBytes    = 256 << 10 // in one call to the store
	presentTimeout  = 5 * time.Second

	retryAtLeast = 50 * time.Millisecond
	retryAtMost  = 2 * time.Second

	// A message that Redis refuses for a reason that does not pass is put aside after both.
	asideAfter = 10 * time.Second
	asideTries = 3
)

// trouble is a reason that does not pass by itself for which Redis refuses the messages of a channel.
type trouble struct {
	code  string        // see store.Trouble; empty: there is none
	since time.Duration // when Redis gave it first
	tries int           // how often it gave it
}

// presentAll is a presenter. It presents backlogs as long as one is ready.
func (in *Intake) presentAll() {
	for {
		b, batch, session, ok := in.next()
		if !ok {
			return
		}
		result, err := in.adopt(b, batch, session)
		in.presented(b, batch, session, result, err)
	}
}

// adopt presents messages once. Meanwhile it makes the drafts of those behind them, so that neither Redis nor the
// presenter waits for the other one longer than it must.
func (in *Intake) adopt(b *backlog, batch []*waiting, session string) (store.Adopted, error) {
	in.makeDrafts(b.channel, batch)
	messages := make([]store.RawMessage, len(batch))
	for i, m := range batch {
		messages[i] = *m.draft
	}
	in.mu.Lock()
	behind := b.first(min(len(batch), len(b.messages)), presentMessages)
	in.mu.Unlock()
	if len(behind) == 0 {
		return in.call(session, b.channel, batch[0].ID, messages)
	}
	made := make(chan struct{})
	go func() { // waited for below
		defer close(made)
		in.makeDrafts(b.channel, behind)
	}()
	result, err := in.call(session, b.channel, batch[0].ID, messages)
	<-made
	return result, err
}

// call calls the store.
func (in *Intake) call(session, channel string, first RawID, messages []store.RawMessage) (store.Adopted, error) {
	ctx, cancel := context.WithTimeout(in.ctx, presentTimeout)
	defer cancel()
	return in.adopter.Adopt(ctx, session, channel, first.Marker, first.Number, messages)
}

// makeDrafts turns messages into the form that Adopt expects, unless that was done before.
func (in *Intake) makeDrafts(channel string, messages []*waiting) {
	for _, m := range messages {
		if m.draft != nil {
			continue
		}
		d, err := kind.DraftPayload(channel, m.Payload, in.maxPayload)
		m.draft = &store.RawMessage{Draft: d, Payload: m.Payload}
		if err != nil {
			m.draft.Reason = err.Error()
		}
	}
}

// presented handles the result of a presentation.
func (in *Intake) presented(b *backlog, batch []*waiting, session string, result store.Adopted, err error) {
	in.stats.stored.Add(int64(result.Stored)) // with an error too: the store may have done a part
	in.stats.rejected.Add(int64(result.Rejected))
	if err != nil && in.ctx.Err() == nil && in.mustPutAside(b, batch, err) {
		in.putAside(b, batch[0], session, err)
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if err != nil {
		in.failed(b, err)
	} else {
		in.stored(b, batch, result)
	}
	b.place = nowhere
	in.schedule(b)
}

// stored handles the answer of Redis to a batch; in.mu is held.
func (in *Intake) stored(b *backlog, batch []*waiting, result store.Adopted) {
	first := result.Stored+result.Rejected > 0 // this replica came first with some of them
	if !first {
		in.stats.vain.Add(1)
	}
	if first || b.retry == 0 { // else this replica may have stored them itself, by a call whose answer was lost
		in.lead(batch[0].Source).presented(first)
	}
	in.recovered(b)
	b.trouble = trouble{}
	last := batch[len(batch)-1].ID
	if from, to := b.upTo(last); from < to {
		in.remove(b, from, to)
	}
}

// failed notes that a presentation failed; in.mu is held. The same messages must come next: RawIDs are exact only if the
// order is kept.
func (in *Intake) failed(b *backlog, err error) {
	if in.ctx.Err() != nil {
		return
	}
	in.stats.failed.Add(1)
	for _, m := range b.messages[:min(len(b.messages), 2*presentMessages)] {
		m.draft = nil // they would double what waits, and it may wait for long
	}
	if b.retry == 0 {
		b.retry = retryAtLeast
		if in.failing++; in.failing == 1 {
			in.log.Warn("raw messages wait: Redis does not store them", "channel", b.channel, "error", err)
		}
	}
	b.retryAt = in.now() + b.retry/2 + rand.N(b.retry/2+1)
	b.retry = min(2*b.retry, retryAtMost)
}

// recovered notes that nothing is wrong with a backlog any more; in.mu is held.
func (in *Intake) recovered(b *backlog) {
	if b.retry == 0 {
		return
	}
	b.retry, b.retryAt = 0, 0
	if in.failing--; in.failing == 0 {
		in.log.Info("raw messages are stored again")
	}
}

// mustPutAside notes an error, and reports whether the first message of the batch has been refused for a reason that does
// not pass often enough and for long enough. It is alone in its batch then.
func (in *Intake) mustPutAside(b *backlog, batch []*waiting, err error) bool {
	if store.Temporary(err) {
		return false
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	now, code := in.now(), store.TroubleOf(err).Code
	if b.trouble.code != code {
		b.trouble = trouble{code: code, since: now}
	}
	b.trouble.tries++
	return len(batch) == 1 && b.trouble.tries >= asideTries && now-b.trouble.since >= asideAfter
}

// putAside has the store reject a message that Redis refuses to store. If Redis refuses that too, the message is dropped.
// Those behind it go on; the reason is still there, so each of them is tried once.
func (in *Intake) putAside(b *backlog, m *waiting, session string, cause error) {
	reason := "Redis refuses this message: " + store.TroubleOf(cause).Message
	result, err := in.call(session, b.channel, m.ID, []store.RawMessage{{Payload: m.Payload, Reason: reason}})
	in.mu.Lock()
	defer in.mu.Unlock()
	switch {
	case err == nil:
		in.stats.rejected.Add(int64(result.Rejected))
		in.stats.aside.Add(int64(result.Rejected))
		in.log.Error("raw message put aside: Redis refuses it", "channel", b.channel, "error", cause)
	case store.Temporary(err):
		in.failed(b, err)
	default:
		in.stats.lost[lostRefused].Add(1)
		in.log.Error("raw message lost: Redis refuses it, and to keep it among the rejected ones",
			"channel", b.channel, "error", cause)
	}
	if err == nil || !store.Temporary(err) {
		b.retryAt = 0
		if i := slices.Index(b.messages, m); i >= 0 {
			in.remove(b, i, i+1)
		}
	}
	b.place = nowhere
	in.schedule(b)
}
