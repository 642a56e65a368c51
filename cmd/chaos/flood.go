package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"sluice/cmd/internal/judge"
	"sluice/cmd/internal/rig"
)

// A flood publishes as fast as Redis takes it. There are some floods in a run, of so many messages each: together fewer
// than a history keeps, whatever the length of the run.
const (
	floods       = 3
	floodSize    = 10_000
	floodBatch   = 64 // PUBLISHes in one round trip
	usersEach    = 20 // users that only make work for the replicas, for each client that is judged
	usersAtOnce  = 32 // of them that connect at the same time
	userReturns  = 500 * time.Millisecond
	floodChannel = 0 // index of the shared channel
)

// floodSets connects users, each with the shared channel and one of their own, and floods the shared channel again and
// again. What these users receive is not judged: they are the load, and come back whenever they were too slow.
func floodSets(ctx context.Context, r *run) error {
	using, stop := context.WithCancel(ctx)
	var users sync.WaitGroup
	defer users.Wait()
	defer stop()
	gate := make(chan struct{}, usersAtOnce)
	all := usersEach * r.options.clients
	var came atomic.Int64
	for i := range all {
		users.Go(func() { r.use(using, i, gate, sync.OnceFunc(func() { came.Add(1) })) })
	}
	_ = rig.Until(ctx, r.loadTime()/5, func(context.Context) error { // a flood is worth something with few of them, too
		if n := came.Load(); int(n) < all {
			return fmt.Errorf("%d of %d users have a stream", n, all)
		}
		return nil
	})
	for n := 0; n < floods && r.wait(ctx, r.loadTime()/8); n++ {
		at := r.now()
		received := r.flood(ctx, r.channels[floodChannel], n*floodSize+1, floodSize)
		r.recordFault(fmt.Sprintf("flood of %d messages", floodSize), at, r.now(), received)
	}
	r.wait(ctx, time.Hour)
	return nil
}

// flood publishes n numbered raw messages to a channel, over one connection. It returns how many had a receiver.
func (r *run) flood(ctx context.Context, channel string, first, n int) (received int) {
	for i := first; i < first+n && ctx.Err() == nil; {
		batch := r.raw.Pipeline()
		var publishes []judge.Publish
		for ; len(publishes) < floodBatch && i < first+n; i++ {
			token := judge.Token("flood", channel, i)
			p := judge.Publish{
				Publisher: "flood", Channel: channel, Raw: true, Token: token, Body: `{"token":"` + token + `"}`, First: r.now(),
			}
			p.Last = p.First
			publishes = append(publishes, p)
			batch.Publish(ctx, channel, p.Body)
		}
		answers, _ := batch.Exec(ctx) // each answer has its own error
		for k := range publishes {
			p := &publishes[k]
			if k < len(answers) {
				receivers, err := resultOf(answers[k])
				answerRaw(p, receivers, err, r.now())
			}
			if p.Receivers > 0 {
				received++
			}
			r.ledger.add(*p)
		}
	}
	return received
}

// use is one user: it reads its stream and throws away what comes, until ctx ends. It calls opened for each stream.
func (r *run) use(ctx context.Context, i int, gate chan struct{}, opened func()) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}}
	query := fmt.Sprintf("/api/sse?channels=%s,chaos.crowd.%d", r.channels[floodChannel], i)
	for turn := i; ctx.Err() == nil; turn++ {
		select {
		case gate <- struct{}{}:
		case <-ctx.Done():
			return
		}
		response, err := get(ctx, client, r.targets.pick(turn)+query, "")
		<-gate
		if err == nil {
			opened()
			_, _ = io.Copy(io.Discard, response.Body)
			response.Body.Close()
		}
		select {
		case <-ctx.Done():
		case <-time.After(userReturns):
		}
	}
}
