package wire

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/tmaxmax/go-sse"

	"sluice/pubsub"
	"sluice/store"
	"sluice/store/kind"
)

var (
	_ pubsub.Encoder = Plain{}
	_ pubsub.Encoder = Envelope{}
)

// someEvent has the position 7-000000000g.
func someEvent(channel, typ, data string) store.Event {
	p, err := store.ParsePosition("7-000000000g")
	if err != nil {
		panic(err)
	}
	return store.Event{Channel: channel, Position: p, Time: 1234, Type: typ, Data: []byte(data)}
}

// event encodes a whole frame, as package pubsub does.
func event(encoder pubsub.Encoder, dst, id []byte, e store.Event) []byte {
	return encoder.Event(encoder.ID(dst, id), e)
}

// gap encodes a whole gap notice, as package pubsub does.
func gap(encoder pubsub.Encoder, dst, id []byte, channel string, reason store.Reason) []byte {
	return encoder.Gap(encoder.ID(dst, id), channel, reason)
}

func TestFramesAreExactlyTheseBytes(t *testing.T) {
	id := []byte("7-000000000g")
	for _, test := range []struct{ name, got, want string }{
		{
			"an event of a channel with a shape goes to onmessage",
			string(event(Plain{}, nil, id, someEvent("notifications", "info", `{"a":1}`))),
			"id: 7-000000000g\ndata: {\"a\":1}\n\n",
		},
		{
			"an event of a general channel has its type",
			string(event(Plain{}, nil, id, someEvent("orders", "paid", `{"a":1}`))),
			"id: 7-000000000g\nevent: paid\ndata: {\"a\":1}\n\n",
		},
		{
			"an event of a general channel without a type goes to onmessage",
			string(event(Plain{}, nil, id, someEvent("orders", "", `"x"`))),
			"id: 7-000000000g\ndata: \"x\"\n\n",
		},
		{
			"an envelope says what the event is",
			string(event(Envelope{}, nil, []byte("mAAAA"), someEvent("orders", "paid", `{"a":1}`))),
			"id: mAAAA\ndata: {\"channel\":\"orders\",\"id\":\"7-000000000g\",\"type\":\"paid\",\"time\":1234,\"data\":{\"a\":1}}\n\n",
		},
		{
			"a gap notice",
			string(gap(Plain{}, nil, id, "orders", store.Trimmed)),
			"id: 7-000000000g\nevent: gap\ndata: {\"channel\":\"orders\",\"reason\":\"trimmed\"}\n\n",
		},
		{
			"a gap notice on a stream of several channels",
			string(gap(Envelope{}, nil, []byte("mAAAA"), "orders", store.Unknown)),
			"id: mAAAA\nevent: gap\ndata: {\"channel\":\"orders\",\"reason\":\"unknown\"}\n\n",
		},
		{
			"a gap notice that says nothing of the client's place",
			string(Envelope{}.Gap(nil, "orders", store.Trimmed)),
			"event: gap\ndata: {\"channel\":\"orders\",\"reason\":\"trimmed\"}\n\n",
		},
		{"a position", string(Plain{}.Position(nil, id)), "id: 7-000000000g\nevent: position\ndata: {\"id\":\"7-000000000g\"}\n\n"},
		{
			"a position of several channels",
			string(Envelope{}.Position(nil, []byte("mAAAA"))),
			"id: mAAAA\nevent: position\ndata: {\"id\":\"mAAAA\"}\n\n",
		},
		{"a reconnection time", string(AppendRetry(nil, 1500*time.Millisecond)), "retry: 1500\n"},
		{"a value", string(JSON(map[string]string{"message": "Hi"})), "data: {\"message\":\"Hi\"}\n\n"},
		{"a heartbeat is an empty comment, and no block", Heartbeat, ":\n"},
		{
			"frames are appended",
			string(Plain{}.Gap(Plain{}.Gap([]byte("x"), "a", store.Reset), "b", store.Reset)),
			"xevent: gap\ndata: {\"channel\":\"a\",\"reason\":\"reset\"}\n\nevent: gap\ndata: {\"channel\":\"b\",\"reason\":\"reset\"}\n\n",
		},
		{"several lines", string(appendData(nil, []byte("a\nb\r\nc\rd"))), "data: a\ndata: b\ndata: c\ndata: d\n"},
		{"empty data", string(appendData(nil, nil)), "data: \n"},
	} {
		if test.got != test.want {
			t.Errorf("%s:\n got %q\nwant %q", test.name, test.got, test.want)
		}
	}
}

// FuzzNothingEscapesItsFrame encodes an event between two others and reads all of it with a parser that is not ours.
// Whatever is in the event, three events come out, and the one in the middle is the one that went in.
func FuzzNothingEscapesItsFrame(f *testing.F) {
	for _, data := range []string{
		`{"a":1}`, ``, ` `, "\n", "\r", "\r\n", "\n\n", "a\n\nid: 9-evil\nevent: gap\ndata: x\n\n", "a\rdata: b\r\revent: x",
		"\x00", "data: x", ": comment", "\ufeff{}", "\u2028\u2029\u0085", "\xff\xfe", "{\n  \"a\": 1\n}", "\"\\n\"", "  two spaces",
	} {
		f.Add([]byte(data), "paid", "orders", false)
		f.Add([]byte(data), "", "progress:t1", true)
		f.Add([]byte(`1`), data, "orders", false)
		f.Add([]byte(`1`), "paid", data, false)
	}
	f.Fuzz(func(t *testing.T, data []byte, typ, channel string, final bool) {
		if kind.CheckType(typ) != nil || kind.CheckChannel(channel) != nil {
			t.Skip() // no event has such a type or channel: TestNoTypeOrChannelCanHoldALineEnd
		}
		e := someEvent(channel, typ, string(data))
		e.Final = final
		lines := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(data))
		middle := between(t, func(dst []byte) []byte { return event(Plain{}, dst, []byte(e.ID()), e) })
		wantID, wantType := e.ID(), typ
		if !kind.Of(channel).EventByType {
			wantType = ""
		}
		if middle.Data != lines || middle.LastEventID != wantID || middle.Type != wantType {
			t.Errorf("plain: got %+v, want data %q, id %q, type %q", middle, lines, wantID, wantType)
		}

		middle = between(t, func(dst []byte) []byte { return event(Envelope{}, dst, []byte("mAAAA"), e) })
		head := `{"channel":"` + channel + `","id":"` + e.ID() + `","type":"` + typ + `","time":1234,"data":`
		if want := head + lines + "}"; middle.Data != want || middle.LastEventID != "mAAAA" || middle.Type != "" {
			t.Errorf("envelope: got %+v, want data %q", middle, want)
		}

		middle = between(t, func(dst []byte) []byte { return gap(Plain{}, dst, []byte("mAAAA"), channel, store.Reset) })
		if want := `{"channel":"` + channel + `","reason":"reset"}`; middle.Data != want || middle.Type != "gap" {
			t.Errorf("gap: got %+v, want data %q", middle, want)
		}
	})
}

// between returns the event that frame makes, having put it between two known ones.
func between(t *testing.T, frame func(dst []byte) []byte) sse.Event {
	t.Helper()
	wire := frame([]byte("id: first\ndata: before\n\n"))
	wire = append(wire, "id: last\ndata: after\n\n"...)
	var all []sse.Event
	for e, err := range sse.Read(bytes.NewReader(wire), &sse.ReadConfig{MaxEventSize: 1 << 20}) {
		if err != nil && !errors.Is(err, io.EOF) {
			t.Fatalf("wire %q: %v", wire, err)
		}
		all = append(all, e)
	}
	first, last := sse.Event{LastEventID: "first", Data: "before"}, sse.Event{LastEventID: "last", Data: "after"}
	if len(all) != 3 || all[0] != first || all[2] != last {
		t.Fatalf("wire %q has the events %+v; want three, the first and last untouched", wire, all)
	}
	return all[1]
}

func TestNoTypeOrChannelCanHoldALineEnd(t *testing.T) {
	for _, bad := range []string{"\n", "\r", "\x00", ":\n", "a\nb", "a\rb", "a b", `a"b`, `a\b`, "é", "\u2028", "\xff"} {
		if kind.CheckType(bad) == nil {
			t.Errorf("type %q is taken", bad)
		}
		if kind.CheckChannel(bad) == nil {
			t.Errorf("channel %q is taken", bad)
		}
	}
}
