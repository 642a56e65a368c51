package auth

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unique"

	"sluice/store/kind"
)

// Identity is who makes a request, and what they may do. It is a value: two requests of one session have equal ones.
type Identity struct {
	Subject   string // the id of a user (see kind.CheckUser); empty for a key, and for somebody who is not known
	Key       string // the name of an API key, if the request has one
	Subscribe Patterns
	Publish   Patterns
	Admin     bool // may do everything
	Revoke    bool // may end the sessions of others
	// Until is when the session ends, in seconds since 1970; 0: it does not.
	Until int64
	// Issued is when the session began, as far as anybody knows: when its token was issued, or when the application said
	// who this is; in seconds since 1970. A revocation ends what was issued before it.
	Issued  int64
	TokenID string // the token's jti, by which it can be revoked

	asked int64 // when the application was asked who this is, in milliseconds since 1970; 0: it was not
}

// Session is an identity that all streams of one session share. It takes 8 bytes, and equal identities are equal sessions.
type Session = unique.Handle[Identity]

// Everybody is who makes a request to a gateway without authentication.
var Everybody = Identity{Admin: true}

// Known reports whether the request has a credential.
func (i *Identity) Known() bool { return i.Subject != "" || i.Key != "" || i.Admin }

// MayRead reports whether a channel's events may be read.
func (i *Identity) MayRead(channel string) bool { return i.Admin || i.Subscribe.Reach(channel) }

// MayPublish reports whether events may be published on a channel.
func (i *Identity) MayPublish(channel string) bool { return i.Admin || i.Publish.Reach(channel) }

// ended reports whether the session is over.
func (i *Identity) ended(now time.Time) bool { return i.Until != 0 && now.Unix() >= i.Until }

// maxPatterns bounds the patterns of one identity.
const maxPatterns = 100

// Patterns are the channels that somebody may read, or publish on (see kind.CheckPattern). The zero value reaches none.
type Patterns struct {
	list string // the patterns with blanks between them: an Identity can be compared, and a pattern has no blank
}

// NewPatterns returns the patterns of a list, once they are checked.
func NewPatterns(list []string) (Patterns, error) {
	if len(list) > maxPatterns {
		return Patterns{}, fmt.Errorf("at most %d patterns are possible", maxPatterns)
	}
	for _, p := range list {
		if err := kind.CheckPattern(p); err != nil {
			return Patterns{}, err
		}
	}
	return Patterns{strings.Join(list, " ")}, nil
}

// Reach reports whether one of the patterns reaches a channel. It costs a comparison for each pattern and no memory.
func (p Patterns) Reach(channel string) bool {
	if p.list == "" {
		return false
	}
	for pattern := range strings.SplitSeq(p.list, " ") {
		if kind.Reaches(pattern, channel) {
			return true
		}
	}
	return false
}

// String returns the patterns with commas between them.
func (p Patterns) String() string { return strings.ReplaceAll(p.list, " ", ",") }

// DeniedError is why a request is not let in. Its texts are meant for whoever made the request.
type DeniedError struct {
	Status  int    // of HTTP: 401, 403, or 503 if nobody can say now who this is
	Code    string // for programs; it never changes
	Message string // for people: a sentence
}

// Error returns the message.
func (d *DeniedError) Error() string { return d.Message }

func denied(code, message string) *DeniedError {
	return &DeniedError{Status: 401, Code: code, Message: message}
}

// unknownNow is the answer while nobody can say who somebody is.
func unknownNow(code, message string) *DeniedError {
	return &DeniedError{Status: 503, Code: code, Message: message}
}

// The answers that say nothing about the credential.
var (
	errTwoCredentials = denied("invalid_credential", "The request has more than one credential of a kind")
	errScheme         = denied("invalid_credential", "The Authorization header has a credential that this gateway does not accept")
	errInURL          = denied("credential_in_url",
		"A token or a key must not be in an address, because addresses are written into logs")
	errSubject = denied("invalid_subject", "The subject must be a string or an integer of 1 to 100 "+kind.NameCharacters)
)

// asDenied returns the DeniedError in err, or nil.
func asDenied(err error) *DeniedError {
	if d, ok := errors.AsType[*DeniedError](err); ok {
		return d
	}
	return nil
}
