//go:build linux

package main

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// naive is the server that most tutorials show: net/http, and for each client a goroutine, a Go channel, and a Flush
// per event. It has no Redis, no history and no positions.
type naive struct {
	mu      sync.Mutex
	clients map[int]map[chan []byte]bool // by channel; guarded by mu
}

// naiveQueue is larger than the number of events under way, so that broadcast never waits for a client.
const naiveQueue = 256

// runNaive is the role naive. It serves until in ends. The process ends with it, and its goroutines with the process.
func runNaive(in *os.File, out io.Writer) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s := &naive{clients: make(map[int]map[chan []byte]bool)}
	server := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 2)
	go func() { failed <- server.Serve(l) }()
	go func() { failed <- s.broadcast(in) }()
	if err := sayAddress(out, l.Addr().String()); err != nil {
		return err
	}
	if err := <-failed; !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// ServeHTTP is one client's stream.
func (s *naive) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	flusher := w.(http.Flusher) // always so with HTTP/1.1
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache")
	frames := make(chan []byte, naiveQueue)
	defer s.join(requested([]byte("GET "+r.URL.Path+" ")), frames)()
	if _, err := io.WriteString(w, "retry: 3000\n\n"); err != nil {
		return
	}
	flusher.Flush()
	for {
		select {
		case frame := <-frames:
			if _, err := w.Write(frame); err != nil {
				return
			}
			flusher.Flush()
		case <-r.Context().Done():
			return
		}
	}
}

// join adds a client to a channel.
func (s *naive) join(channel int, frames chan []byte) (leave func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.clients[channel] == nil {
		s.clients[channel] = make(map[chan []byte]bool)
	}
	s.clients[channel][frames] = true
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.clients[channel], frames)
		if len(s.clients[channel]) == 0 {
			delete(s.clients, channel)
		}
	}
}

// broadcast passes each event that is read from in to the goroutines of its clients. It returns io.EOF when no more
// will come.
func (s *naive) broadcast(in io.Reader) error {
	r := bufio.NewReaderSize(in, 64<<10)
	for {
		channel, frame, err := readRecord(r)
		if err != nil {
			return err
		}
		s.mu.Lock()
		for frames := range s.clients[channel] {
			frames <- frame
		}
		s.mu.Unlock()
	}
}
