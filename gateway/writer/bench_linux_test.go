package writer

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"sluice/pubsub"
)

// BenchmarkFlush is one frame from a feed to so many streams on TCP sockets. Nearly all of it is the kernel's: the
// receiving half of TCP is in it too.
func BenchmarkFlush(b *testing.B) {
	for _, streams := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("streams=%d", streams), func(b *testing.B) {
			l, err := newLoop(testConfig(time.Minute))
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(l.close)
			feed := pubsub.NewFeed(1 << 20)
			var clients []net.Conn
			for range streams {
				server, client := tcpPair(b)
				fd, err := detach(server)
				server.Close()
				if err != nil {
					b.Fatal(err)
				}
				l.add(fd, nil, true, Stream{Source: pubsub.NewStream(feed, nil), Feeds: []*pubsub.Feed{feed}, Done: func(error) {}})
				clients = append(clients, client)
			}
			frame := fmt.Appendf(nil, "id: 42-Zk3d9aQx\ndata: %0200d\n\n", 7)
			unread := 0
			read := func() {
				for _, c := range clients {
					if _, err := io.CopyN(io.Discard, c, int64(unread*len(frame))); err != nil {
						b.Fatal(err)
					}
				}
				unread = 0
			}
			group := l.groups[feed]
			b.ReportAllocs()
			for b.Loop() {
				feed.Write(frame)
				l.mu.Lock()
				l.flushGroup(group, &round{now: time.Now()})
				l.mu.Unlock()
				l.grown = l.grown[:0] // nobody else looks: the loop was not started
				if unread++; unread == 64 {
					b.StopTimer()
					read()
					b.StartTimer()
				}
			}
			read() // all of it must have come
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*streams), "ns/delivery")
		})
	}
}
