//go:build linux

package main

import (
	"bytes"
	"strconv"
)

// The sizes of a payload: the smallest has room for any number and time.
const (
	leastBytes = 64
	mostBytes  = 16 << 10
)

// sharedChannel is the number of the one channel that all clients read. Other channels are numbered from 0.
const sharedChannel = -1

// channelName returns the name of a channel.
func channelName(channel int) string {
	if channel == sharedChannel {
		return "load"
	}
	return "load-" + strconv.Itoa(channel)
}

// appendPayload appends the data of one event: its number in its channel, the time when it was published, and padding
// up to size bytes. So all frames of a run have about the same length. The data is compact JSON, which the gateway
// delivers unchanged.
func appendPayload(dst []byte, n int, at int64, size int) []byte {
	start := len(dst)
	dst = strconv.AppendInt(append(dst, `{"n":`...), int64(n), 10)
	dst = strconv.AppendInt(append(dst, `,"at":`...), at, 10)
	dst = append(dst, `,"pad":"`...)
	for len(dst) < start+size-len(`"}`) {
		dst = append(dst, 'x')
	}
	return append(dst, `"}`...)
}

// parsePayload reads what appendPayload wrote, alone or as the data of an envelope, which streams of several channels have.
// ok is false for anything else.
func parsePayload(data []byte) (n int, at int64, ok bool) {
	if bytes.HasPrefix(data, []byte(`{"channel":`)) {
		_, inner, _ := bytes.Cut(data, []byte(`"data":`))
		data = bytes.TrimSuffix(inner, []byte("}"))
	}
	data, ok = bytes.CutPrefix(data, []byte(`{"n":`))
	if !ok {
		return 0, 0, false
	}
	number, data, ok := digits(data)
	if !ok {
		return 0, 0, false
	}
	if data, ok = bytes.CutPrefix(data, []byte(`,"at":`)); !ok {
		return 0, 0, false
	}
	at, data, ok = digits(data)
	return int(number), at, ok && bytes.HasPrefix(data, []byte(`,"pad":"`)) && bytes.HasSuffix(data, []byte(`"}`))
}

// digits reads the number at the beginning of data.
func digits(data []byte) (number int64, rest []byte, ok bool) {
	i := 0
	for ; i < len(data) && i < 18 && data[i] >= '0' && data[i] <= '9'; i++ {
		number = 10*number + int64(data[i]-'0')
	}
	return number, data[i:], i > 0
}

// appendFrame appends the event as floor and naive send it. The frame has the form and the length of the gateway's.
func appendFrame(dst []byte, n int, at int64, size int) []byte {
	dst = strconv.AppendInt(append(dst, "id: "...), int64(n)+1, 10)
	dst = append(dst, "-loadtest00\ndata: "...) // in place of a nonce: six bytes, written as ten characters
	return append(appendPayload(dst, n, at, size), "\n\n"...)
}
