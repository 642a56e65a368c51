//go:build linux

package main

import (
	"bytes"
	"strconv"
)

// The smallest payload that has room for any number and time, and the largest that makes sense here.
const (
	leastBytes = 64
	mostBytes  = 16 << 10
)

// sharedChannel is the channel number of the one channel that all clients watch. Others are numbered from 0.
const sharedChannel = -1

// channelName returns the name of a channel.
func channelName(channel int) string {
	if channel == sharedChannel {
		return "load"
	}
	return "load-" + strconv.Itoa(channel)
}

// appendPayload appends the data of one event: its number in its channel, the time of its publishing, and padding up
// to size bytes, so that every frame of a run is equally long. It is compact JSON, which the gateway passes on as is.
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

// parsePayload reads what appendPayload wrote. ok is false for anything else.
func parsePayload(data []byte) (n int, at int64, ok bool) {
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

// digits reads the number that data begins with.
func digits(data []byte) (number int64, rest []byte, ok bool) {
	i := 0
	for ; i < len(data) && i < 18 && data[i] >= '0' && data[i] <= '9'; i++ {
		number = 10*number + int64(data[i]-'0')
	}
	return number, data[i:], i > 0
}

// appendFrame appends the event as floor and naive send it: a frame of the gateway's form and length.
func appendFrame(dst []byte, n int, at int64, size int) []byte {
	dst = strconv.AppendInt(append(dst, "id: "...), int64(n)+1, 10)
	dst = append(dst, "-LoadTest\ndata: "...) // a nonce has eight characters
	return append(appendPayload(dst, n, at, size), "\n\n"...)
}
