//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// The data and the end of such a stream may be in one report of epoll.
func TestTheEndOfAStreamRightAfterItsDataIsNoticed(t *testing.T) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { // ends with the request
				_, _ = conn.Read(make([]byte, 4096))
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nretry: 1000\n\n")
				_ = conn.Close()
			}()
		}
	}()
	orders, tell := pipe(t)
	hear, notes := pipe(t)
	ended := make(chan error, 1)
	go func() {
		ended <- runClients(orders, notes)
		notes.Close()
	}()
	const clients = 200
	open := order{Do: "open", Open: &openOrder{Addrs: []string{listener.Addr().String()}, Path: "/", Clients: clients, AtOnce: clients}}
	if err := json.NewEncoder(tell).Encode(open); err != nil {
		t.Fatal(err)
	}
	if err := hear.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(hear)
	var n note
	for gone := int64(0); gone < clients; {
		if !lines.Scan() {
			t.Fatalf("%d of %d streams were noticed to end: %v", gone, clients, lines.Err())
		}
		n = note{}
		if err := json.Unmarshal(lines.Bytes(), &n); err != nil {
			t.Fatal(err)
		}
		switch {
		case n.Say == "opened" || n.Say == "progress":
			if err := json.NewEncoder(tell).Encode(order{Do: "audit"}); err != nil {
				t.Fatal(err)
			}
		case n.Audit != nil:
			gone = n.Audit.Faults.Dropped + n.Audit.Faults.Refused
		}
	}
	tell.Close()
	for lines.Scan() {
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}
