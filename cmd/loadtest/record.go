//go:build linux

package main

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Floor and naive read their events from standard input, as records. A record is the channel of an event, the length of
// its frame, and the frame as it is to be sent.

// recordHead is the length of a record's head: channel and length, four bytes each.
const recordHead = 8

// appendRecord appends one record.
func appendRecord(dst []byte, channel int, frame []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(int32(channel)))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(frame)))
	return append(dst, frame...)
}

// parseHead reads the head of a record.
func parseHead(b []byte) (channel, length int) {
	return int(int32(binary.LittleEndian.Uint32(b))), int(binary.LittleEndian.Uint32(b[4:]))
}

// parseRecord returns the first record of b and its size. The size is 0 if the record is not complete.
func parseRecord(b []byte) (channel int, frame []byte, size int) {
	if len(b) < recordHead {
		return 0, nil, 0
	}
	channel, length := parseHead(b)
	size = recordHead + length
	if len(b) < size {
		return 0, nil, 0
	}
	return channel, b[recordHead:size], size
}

// readRecord reads one record. It returns io.EOF when there are no more.
func readRecord(r io.Reader) (channel int, frame []byte, err error) {
	var head [recordHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	channel, length := parseHead(head[:])
	frame = make([]byte, length)
	_, err = io.ReadFull(r, frame)
	return channel, frame, err
}

// sayAddress tells the load command where a server listens.
func sayAddress(out io.Writer, address string) error {
	_, err := fmt.Fprintln(out, address)
	return err
}
