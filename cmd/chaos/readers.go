package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	strangers     = 32                     // readers that make things up, at the same time
	strangerReads = 100 * time.Millisecond // how long each of them reads a stream
	madeUpMark    = "nobody."              // begins the names that they make up
)

// manyReaders has strangers ask for streams and histories of channels that nobody has ever published to, and of real ones
// after ids that nobody has ever got. They publish nothing, so nothing may be written because of them, and they must not
// be in the way of others.
func manyReaders(ctx context.Context, r *run) error {
	r.madeUp = madeUpMark
	at := r.now()
	asking, stop := context.WithDeadline(ctx, r.deadline)
	defer stop()
	var all sync.WaitGroup
	var answers atomic.Int64
	for i := range strangers {
		s := &stranger{
			run: r, dice: newDice(r.options.seed, fmt.Sprintf("stranger-%d", i)), turn: i, serial: i * 1_000_000,
			client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}},
		}
		all.Go(func() {
			for asking.Err() == nil {
				if s.ask(asking) {
					answers.Add(1)
				}
			}
		})
	}
	all.Wait()
	r.recordFault("requests with made-up names and ids", at, r.now(), int(answers.Load()))
	return nil
}

// stranger is a reader that makes things up.
type stranger struct {
	*run
	dice   *dice
	client *http.Client
	turn   int
	serial int // of the last name that it made up
}

// ask makes one request, reads its answer for a while, and reports whether there was one.
func (s *stranger) ask(ctx context.Context) bool {
	path, id := s.think()
	s.turn++
	ctx, cancel := context.WithTimeout(ctx, postTimeout)
	defer cancel()
	response, err := get(ctx, s.client, s.targets.pick(s.turn)+path, id)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	end := time.AfterFunc(strangerReads, cancel)
	defer end.Stop()
	_, _ = io.Copy(io.Discard, response.Body)
	return true
}

// think makes up a request: its path, and the id that it claims to have.
func (s *stranger) think() (path, id string) {
	c := s.clients[s.dice.draw(len(s.clients))] // whose id it changes
	id = s.change(c.position())
	switch s.dice.draw(6) {
	case 0:
		names := make([]string, mostChannels)
		for i := range names {
			names[i] = s.name()
		}
		return "/api/sse?channels=" + strings.Join(names, ","), ""
	case 1:
		return "/api/sse/channels/" + s.name(), id
	case 2:
		return "/api/sse/progress/" + s.name(), id
	case 3:
		return "/api/channels/" + s.name() + "/events?limit=1&after=" + url.QueryEscape(id), ""
	case 4:
		return "/api/channels/" + s.channels[s.dice.draw(len(s.channels))] + "/events?limit=1&after=" + url.QueryEscape(id), ""
	default: // the same stream as a real client, from a place that never was
		query := url.Values{}
		if c.several {
			query.Set("channels", strings.Join(c.channels, ","))
		}
		return c.path + "?" + query.Encode(), id
	}
}

// name makes up the name of a channel that nobody else ever names.
func (s *stranger) name() string {
	s.serial++
	return fmt.Sprintf("%s%d", madeUpMark, s.serial)
}

// change replaces some characters of an id. What comes out looks like an id, but nobody has got it from a replica.
func (s *stranger) change(id string) string {
	const characters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	out := []byte(id)
	for range 3 {
		if len(out) > 4 {
			out[4+s.dice.draw(len(out)-4)] = characters[s.dice.draw(len(characters))]
		}
	}
	return string(out)
}

// get asks for a URL, with a Last-Event-ID if there is one.
func get(ctx context.Context, client *http.Client, address, lastEventID string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "text/event-stream")
	if lastEventID != "" {
		request.Header.Set("Last-Event-ID", lastEventID)
	}
	return client.Do(request)
}

// keysOfReaders returns the keys in Redis of channels that only readers have named.
func (r *run) keysOfReaders(ctx context.Context) ([]string, error) {
	if r.madeUp == "" {
		return nil, nil
	}
	var out []string
	keys := r.admin.Scan(ctx, 0, "*"+r.madeUp+"*", 10_000).Iterator()
	for keys.Next(ctx) {
		out = append(out, keys.Val())
	}
	slices.Sort(out)
	return slices.Compact(out), keys.Err() // SCAN may return a key twice
}

// resultOf returns the number of receivers that Redis has answered to one PUBLISH of a pipeline.
func resultOf(answer redis.Cmder) (int64, error) {
	number, ok := answer.(*redis.IntCmd)
	if !ok {
		return 0, errors.New("not the answer to a PUBLISH")
	}
	return number.Result()
}
