package writer

import "strconv"

// The last chunk of a response says that the response is complete (RFC 9112, section 7.1).
var lastChunk = []byte("0\r\n\r\n")

// appendChunk appends data as one chunk (RFC 9112, section 7.1). data is not empty: an empty chunk would be the last one.
func appendChunk(dst []byte, data ...[]byte) []byte {
	size := 0
	for _, d := range data {
		size += len(d)
	}
	dst = append(strconv.AppendUint(dst, uint64(size), 16), "\r\n"...)
	for _, d := range data {
		dst = append(dst, d...)
	}
	return append(dst, "\r\n"...)
}

// framed makes chunks of what sources return. Sockets at the same place of a feed get the same bytes, and the chunk of these
// is made once. It is for one goroutine at a time.
type framed struct {
	of    []byte // what chunk was made of
	chunk []byte
}

// bytes returns what goes onto the wire for data. same tells that equal data lies in the same memory. The bytes are valid until
// the next call.
func (f *framed) bytes(k *socket, data []byte, same bool) []byte {
	switch {
	case !k.chunked:
		return data
	case same && len(f.of) == len(data) && &f.of[0] == &data[0]:
		return f.chunk
	}
	f.of, f.chunk = nil, appendChunk(f.chunk[:0], data)
	if same {
		f.of = data
	}
	return f.chunk
}
