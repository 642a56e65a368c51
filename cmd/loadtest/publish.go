//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/redis/go-redis/v9"
)

// publisher publishes events to a server.
type publisher interface {
	// publish publishes event n of a channel. It may return before the server has received the event.
	publish(ctx context.Context, channel, n int) error
	// close waits until the server has received everything, and returns the first error.
	close() error
}

// posters is how many POSTs may be under way at the same time.
const posters = 64

// job is one event to publish.
type job struct{ channel, n int }

// --- floor and naive -----------------------------------------------------------------------------------------------

// piped publishes by writing records to a server's standard input.
type piped struct {
	to     io.Writer
	size   int
	frame  []byte
	record []byte
}

func (p *piped) publish(_ context.Context, channel, n int) error {
	p.frame = appendFrame(p.frame[:0], n, now(), p.size)
	p.record = appendRecord(p.record[:0], channel, p.frame)
	_, err := p.to.Write(p.record)
	return err
}

func (p *piped) close() error { return nil }

// --- workers -------------------------------------------------------------------------------------------------------

// workers are goroutines that publish jobs until there are no more, or until one of them fails.
type workers struct {
	jobs  chan job
	ctx   context.Context // ends when a worker fails, with the reason as its cause; close ends the workers, not a caller
	fail  context.CancelCauseFunc
	group sync.WaitGroup
}

// newWorkers returns no workers yet, and a queue of so many waiting jobs.
func newWorkers(waiting int) *workers {
	w := &workers{jobs: make(chan job, waiting)}
	w.ctx, w.fail = context.WithCancelCause(context.Background())
	return w
}

// run adds a worker. Its work must return when the jobs are closed.
func (w *workers) run(work func() error) {
	w.group.Go(func() {
		if err := work(); err != nil {
			w.fail(err)
		}
	})
}

func (w *workers) publish(ctx context.Context, channel, n int) error {
	select {
	case w.jobs <- job{channel, n}:
		return nil
	case <-w.ctx.Done():
		return context.Cause(w.ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *workers) close() error {
	close(w.jobs)
	w.group.Wait()
	return context.Cause(w.ctx)
}

// --- POST ----------------------------------------------------------------------------------------------------------

// poster publishes by POST, over connections that stay open. It writes its requests itself, which is cheap: it shares
// the machine with the server that is measured.
type poster struct {
	*workers
	times []*hdrhistogram.Histogram // by worker: how long the answers took; to be read after close
}

func newPoster(addrs []string, connections int, kind string, size int) *poster {
	p, before := &poster{workers: newWorkers(0)}, `{"data":`
	if kind != "" {
		before = `{"type":"` + kind + `","data":`
	}
	for i := range connections {
		times := newHistogram()
		p.times = append(p.times, times)
		p.run(func() error { return post(addrs[i%len(addrs)], p.jobs, times, before, size) })
	}
	return p
}

// answers returns how long the answers took.
func (p *poster) answers() *hdrhistogram.Histogram {
	all := newHistogram()
	for _, h := range p.times {
		all.Merge(h)
	}
	return all
}

// post publishes jobs over one connection, one after the other. It connects when the first job comes: a server closes a
// connection without requests. before is the part of each body before the data.
func post(addr string, jobs <-chan job, times *hdrhistogram.Histogram, before string, size int) error {
	var conn net.Conn
	var answers *bufio.Reader
	var text []byte
	for j := range jobs {
		if conn == nil {
			var err error
			if conn, err = net.DialTimeout("tcp", addr, postLimit); err != nil {
				return fmt.Errorf("POST: %w", err)
			}
			defer conn.Close() // in a loop, but for one connection only
			answers = bufio.NewReader(conn)
		}
		if err := conn.SetDeadline(time.Now().Add(postLimit)); err != nil {
			return fmt.Errorf("POST: %w", err)
		}
		began := now()
		text = appendPost(text[:0], j, began, before, size)
		if _, err := conn.Write(text); err != nil {
			return fmt.Errorf("POST: %w", err)
		}
		if err := readAnswer(answers); err != nil {
			return fmt.Errorf("POST: %w", err)
		}
		record(times, now()-began)
	}
	return nil
}

// postLimit is how long each step of a POST may take.
const postLimit = 20 * time.Second

// appendPost appends the request that publishes a job.
func appendPost(dst []byte, j job, at int64, before string, size int) []byte {
	const after = `}`
	dst = append(append(dst, "POST /api/channels/"...), channelName(j.channel)...)
	dst = append(dst, "/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(before)+size+len(after)), 10)
	dst = append(append(dst, "\r\n\r\n"...), before...)
	return append(appendPayload(dst, j.n, at, size), after...)
}

// readAnswer reads an answer. Any other status than 201 is an error.
func readAnswer(r *bufio.Reader) error {
	answer, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusCreated {
		err = fmt.Errorf("%s: %.200s", answer.Status, body)
	}
	return err
}

// --- raw PUBLISH ---------------------------------------------------------------------------------------------------

// rawBatch is how many PUBLISH commands may share one round trip.
const rawBatch = 64

// newRaw returns a publisher by PUBLISH to Redis. It keeps the order, and sends all jobs that are waiting in one round
// trip.
func newRaw(client *redis.Client, size int) publisher {
	w := newWorkers(rawBatch)
	w.run(func() error {
		for j := range w.jobs {
			batch := client.Pipeline()
			for more := true; more; {
				batch.Publish(w.ctx, channelName(j.channel), appendPayload(nil, j.n, now(), size))
				if more = batch.Len() < rawBatch; more {
					j, more = waiting(w.jobs)
				}
			}
			answers, err := batch.Exec(w.ctx)
			if err != nil {
				return fmt.Errorf("PUBLISH: %w", err)
			}
			for _, a := range answers {
				if a.(*redis.IntCmd).Val() == 0 {
					return errors.New("PUBLISH: no replica is subscribed")
				}
			}
		}
		return nil
	})
	return w
}

// waiting returns the next job if there is one now.
func waiting(jobs <-chan job) (j job, ok bool) {
	select {
	case j, ok = <-jobs:
	default:
	}
	return j, ok
}
