package auth

import (
	"strings"
)

// cookieFilter are the names of the cookies that are handed on to the application. A name with a star at its end stands for
// all that begin so: a session that does not fit into one cookie is split into several. An empty filter hands on all.
type cookieFilter []string

// of returns the cookies of a request that are handed on, as they were sent, for a Cookie header.
func (f cookieFilter) of(headers []string) string {
	if len(f) == 0 {
		return strings.Join(headers, "; ")
	}
	var chosen []string
	for _, header := range headers {
		for pair := range strings.SplitSeq(header, ";") {
			pair = strings.Trim(pair, " \t")
			name, _, _ := strings.Cut(pair, "=")
			if f.has(strings.TrimRight(name, " \t")) {
				chosen = append(chosen, pair)
			}
		}
	}
	return strings.Join(chosen, "; ")
}

func (f cookieFilter) has(name string) bool {
	for _, want := range f {
		prefix, star := strings.CutSuffix(want, "*")
		if name == want || star && strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// isCookieName reports whether name can be the name of a cookie (RFC 6265, section 4.1.1).
func isCookieName(name string) bool {
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`()<>@,;:\"/[]?={}`, c) >= 0 {
			return false
		}
	}
	return name != ""
}
