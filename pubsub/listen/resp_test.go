package listen

import (
	"bufio"
	"strings"
	"testing"
)

func readerOf(text string) *respReader {
	return &respReader{r: bufio.NewReader(strings.NewReader(text)), maxBytes: 8}
}

func TestTheReaderUnderstandsWhatRedisSends(t *testing.T) {
	r := readerOf("" +
		">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n" +
		">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$5\r\nx\r\ny!\r\n" +
		">4\r\n$8\r\npmessage\r\n$2\r\na*\r\n$2\r\nab\r\n$0\r\n\r\n" +
		"+OK\r\n*2\r\n:7\r\n" + // EXEC: subscriptions come as pushes, PUBLISH as a number
		"-NOPERM no\r\n" +
		"*2\r\n$4\r\npong\r\n$0\r\n\r\n" + // miniredis's answer to a PING
		">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$20\r\n12345678901234567890\r\n" + // longer than maxBytes
		">3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:0\r\n")
	want := []message{
		{kind: subscribed, channel: "a"},
		{kind: channelMessage, channel: "a", payload: []byte("x\r\ny!")},
		{kind: patternMessage, pattern: "a*", channel: "ab"},
		{kind: otherReply},
		{kind: arrayReply},
		{kind: integerReply, integer: 7},
		{kind: errorReply, text: "NOPERM no"},
		{kind: arrayReply},
		{kind: otherReply},
		{kind: otherReply},
		{kind: channelMessage, channel: "a", payload: []byte("123456789")}, // one byte more than may be: seen as too long
		{kind: unsubscribed, channel: "a"},
	}
	for i, w := range want {
		got, err := r.next()
		if err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
		if got.kind != w.kind || got.channel != w.channel || got.pattern != w.pattern ||
			string(got.payload) != string(w.payload) || got.integer != w.integer || got.text != w.text {
			t.Errorf("message %d: got %+v, want %+v", i, got, w)
		}
	}
}

func FuzzTheReaderEndsOnAnyInput(f *testing.F) {
	f.Add(">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$5\r\nhello\r\n")
	f.Add("*1\r\n$-1\r\n%2\r\n+a\r\n:1\r\n")
	f.Add(">999999999\r\n$1\r\n")
	f.Add("$9223372036854775807\r\nx")
	f.Fuzz(func(t *testing.T, text string) {
		r := readerOf(text)
		for range len(text) + 1 {
			m, err := r.next()
			if err != nil {
				return
			}
			if len(m.payload) > r.maxBytes+1 {
				t.Fatalf("payload of %d bytes", len(m.payload))
			}
		}
		t.Fatal("more messages than bytes")
	})
}
