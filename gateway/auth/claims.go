package auth

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"sluice/store/kind"
)

// members is a JSON object by the exact names of its members. encoding/json would take "SUB" for "sub".
type members map[string]json.RawMessage

// of returns a member. ok is false if it is missing or null.
func (m members) of(name string) (text json.RawMessage, ok bool) {
	text, ok = m[name]
	return text, ok && !bytes.Equal(text, []byte("null"))
}

// defaults are what a user may do whose credential does not say it.
type defaults struct{ subscribe, publish Patterns }

// rights reads who somebody is and what they may do, from the claims of a token or the answer of the application:
//
//	sub         a string or an integer
//	subscribe   a list of patterns; missing or null: the default
//	publish     likewise
//	admin       true or false; missing or null: false
//
// Its errors are *DeniedError.
func (m members) rights(d defaults) (Identity, error) {
	subject, ok := m.subject()
	if !ok {
		return Identity{}, errSubject
	}
	who := Identity{Subject: subject, Subscribe: d.subscribe, Publish: d.publish}
	for name, patterns := range map[string]*Patterns{"subscribe": &who.Subscribe, "publish": &who.Publish} {
		text, ok := m.of(name)
		if !ok {
			continue
		}
		var list []string
		err := json.Unmarshal(text, &list)
		if err == nil {
			*patterns, err = NewPatterns(list)
		}
		if err != nil {
			return Identity{}, denied("invalid_claims", name+" must be a list of patterns, for example [\"orders.*\"]")
		}
	}
	if text, ok := m.of("admin"); ok && json.Unmarshal(text, &who.Admin) != nil {
		return Identity{}, denied("invalid_claims", "admin must be true or false")
	}
	return who, nil
}

// subject returns the member sub, if it is the id of a user.
func (m members) subject() (id string, ok bool) {
	text := m["sub"]
	if integer(text) {
		id = string(text)
	} else if json.Unmarshal(text, &id) != nil {
		return "", false
	}
	return id, kind.CheckUser(id) == nil
}

// integer reports whether JSON text is a number of digits only.
func integer(text []byte) bool {
	digits := bytes.TrimPrefix(text, []byte("-"))
	for _, c := range digits {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(digits) > 0
}

// farthest is the last second of the year 9999. A time that is later is a mistake: somebody sent milliseconds.
const farthest = 253402300799

// seconds reads a time that is a number of seconds since 1970 (NumericDate in RFC 7519, section 2). A part of a second
// is cut off.
func seconds(text []byte) (int64, error) {
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil || f < 0 || f > farthest {
		return 0, fmt.Errorf("a number of seconds since 1970 is expected")
	}
	return int64(f), nil
}

// moment reads a time that is a number of seconds since 1970, or a text as in RFC 3339.
func moment(text []byte) (int64, error) {
	var s string
	if json.Unmarshal(text, &s) != nil {
		return seconds(text)
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return 0, fmt.Errorf("a time is expected, as in RFC 3339 or as a number of seconds since 1970")
	}
	return t.Unix(), nil
}
