package world

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"sluice/cmd/internal/judge"
	"sluice/cmd/sim/internal/network"
)

// request sends one HTTP request over a connection of its own and reads the head of the answer. net/http's client would
// do, but it costs three goroutines and much time per call.
func (w *world) request(
	ctx context.Context, from, to, method, path string, header map[string]string, body []byte,
) (*network.Conn, *http.Response, error) {
	conn, err := w.net.Dial(ctx, from, to)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer stop()
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: gateway\r\n", method, path)
	for _, name := range []string{"Accept", "Cache-Control", "Last-Event-ID", "Content-Type", "Idempotency-Key"} {
		if value := header[name]; value != "" {
			fmt.Fprintf(&b, "%s: %s\r\n", name, value)
		}
	}
	if body != nil {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n")
	b.Write(body)
	if _, err := conn.Write(b.Bytes()); err != nil {
		_ = conn.Close()
		return nil, nil, err
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err == nil && !stop() {
		err = ctx.Err()
	}
	if err != nil {
		_ = conn.Close()
		return nil, nil, err
	}
	return conn, response, nil
}

// call is request for an answer that is read at once.
func (w *world) call(
	ctx context.Context, from, to, method, path string, header map[string]string, body []byte,
) (status int, answer []byte, err error) {
	conn, response, err := w.request(ctx, from, to, method, path, header, body)
	if err != nil {
		return 0, nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer stop()
	answer, err = io.ReadAll(io.LimitReader(response.Body, 4<<20))
	if err != nil {
		return 0, nil, err
	}
	return response.StatusCode, answer, nil
}

// view compares what a replica's GET shows of a channel: page after page for what comes after the last event shown.
func (w *world) view(channel string, want []judge.Event) {
	if channel == notifications || len(want) == 0 {
		return
	}
	replica := w.target(int(w.plan.Seed))
	v := judge.View{Replica: replica, Channel: channel, Events: want[:1:1]}
	for len(v.Events) <= len(want) {
		path := fmt.Sprintf("/api/channels/%s/events?after=%s&limit=500", channel, v.Events[len(v.Events)-1].ID)
		status, answer, err := w.call(w.ctx, "operator", replica, http.MethodGet, path, nil, nil)
		var page struct {
			Events []struct {
				ID, Type string
				Data     json.RawMessage
			}
		}
		if err == nil && status == http.StatusOK {
			err = json.Unmarshal(answer, &page)
		}
		if err != nil || status != http.StatusOK {
			w.blame(judge.Process, "%s of %s: %d %v", path, replica, status, err)
			return
		}
		if len(page.Events) == 0 {
			break
		}
		for _, e := range page.Events {
			v.Events = append(v.Events, judge.Event{ID: e.ID, Type: e.Type, Data: string(e.Data)})
		}
	}
	w.record.Views = append(w.record.Views, v)
}
