package redismodel

import "strconv"

// What a command answers is one of: status, failure, int64, string, nil, []any, pairs, and none.
type (
	status  string
	failure string
	pairs   []any    // a map in RESP3, a flat array in RESP2
	none    struct{} // the command has written by itself
)

// appendReply encodes a reply.
func appendReply(b []byte, protocol int, r any) []byte {
	switch r := r.(type) {
	case none:
		return b
	case status:
		return append(append(append(b, '+'), r...), "\r\n"...)
	case failure:
		return append(append(append(b, '-'), r...), "\r\n"...)
	case int64:
		return appendHeader(b, ':', r)
	case string:
		b = appendHeader(b, '$', int64(len(r)))
		return append(append(b, r...), "\r\n"...)
	case nil:
		if protocol == 3 {
			return append(b, "_\r\n"...)
		}
		return append(b, "$-1\r\n"...)
	case pairs:
		if protocol == 3 {
			b = appendHeader(b, '%', int64(len(r)/2))
		} else {
			b = appendHeader(b, '*', int64(len(r)))
		}
		for _, element := range r {
			b = appendReply(b, protocol, element)
		}
		return b
	case []any:
		b = appendHeader(b, '*', int64(len(r)))
		for _, element := range r {
			b = appendReply(b, protocol, element)
		}
		return b
	default:
		panic("redismodel: a reply of an unknown type")
	}
}

func appendHeader(b []byte, mark byte, n int64) []byte {
	return append(strconv.AppendInt(append(b, mark), n, 10), "\r\n"...)
}

// pushReply encodes a message to a subscriber.
func pushReply(protocol int, elements ...any) []byte {
	mark := byte('>')
	if protocol == 2 {
		mark = '*'
	}
	b := appendHeader(nil, mark, int64(len(elements)))
	for _, e := range elements {
		b = appendReply(b, protocol, e)
	}
	return b
}
