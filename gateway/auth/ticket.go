package auth

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"time"
	"unique"
)

// ticketLength is that of rand.Text: 130 random bits.
const ticketLength = 26

// NewTicket returns a ticket.
func NewTicket() string { return rand.Text() }

// TicketIn returns the ticket in a query. present is true if there is one, also a bad one: then ticket is empty.
func TicketIn(query string) (ticket string, present bool) {
	if !strings.Contains(query, "ticket") && !strings.Contains(query, "%") {
		return "", false // nearly always
	}
	values, err := url.ParseQuery(query)
	all, present := values["ticket"]
	if err != nil {
		return "", present || strings.Contains(query, "ticket") // what cannot be read may have been one
	}
	if len(all) != 1 || !isTicket(all[0]) {
		return "", present
	}
	return all[0], true
}

// isTicket reports whether a text has the form of a ticket.
func isTicket(text string) bool {
	if len(text) != ticketLength {
		return false
	}
	for _, c := range []byte(text) {
		if (c < 'A' || c > 'Z') && (c < '2' || c > '7') {
			return false
		}
	}
	return true
}

// sealed is an Identity as a ticket has it: what matters for reading.
type sealed struct {
	Subject   string `json:"sub,omitempty"`
	Key       string `json:"key,omitempty"`
	Subscribe string `json:"subscribe,omitempty"`
	Admin     bool   `json:"admin,omitempty"`
	Until     int64  `json:"until,omitempty"`
	Issued    int64  `json:"issued,omitempty"`
	TokenID   string `json:"jti,omitempty"`
	Asked     int64  `json:"asked,omitempty"`
}

// Seal returns what a ticket keeps of its maker. Whoever has the ticket may read what its maker may, and nothing else.
func (i *Identity) Seal() ([]byte, error) {
	return json.Marshal(sealed{i.Subject, i.Key, i.Subscribe.list, i.Admin, i.Until, i.Issued, i.TokenID, i.asked})
}

// unseal returns the maker of a ticket.
func unseal(text []byte) (Identity, error) {
	var s sealed
	if err := json.Unmarshal(text, &s); err != nil {
		return Identity{}, err
	}
	subscribe, err := NewPatterns(strings.Fields(s.Subscribe))
	return Identity{
		Subject: s.Subject, Key: s.Key, Subscribe: subscribe, Admin: s.Admin,
		Until: s.Until, Issued: s.Issued, TokenID: s.TokenID, asked: s.Asked,
	}, err
}

// ErrTicket is the refusal of a ticket, whatever is wrong with it.
var ErrTicket error = denied("invalid_ticket", "The ticket is not valid: it is too old, or of another stream")

var errTicketsAway = unknownNow("tickets_unknown", "This replica cannot look tickets up at the moment")

// ticket returns the session of whoever made a ticket.
func (a *Authenticator) ticket(ctx context.Context, r Request, ticket string) (Session, error) {
	if ticket == "" || r.TicketOf == nil {
		return Session{}, ErrTicket
	}
	text, err := r.TicketOf(ctx, ticket)
	if errors.Is(err, ErrTicket) {
		return Session{}, ErrTicket
	}
	if err != nil {
		return Session{}, errTicketsAway
	}
	who, err := unseal(text)
	if err != nil || who.ended(time.Now()) {
		return Session{}, ErrTicket
	}
	return unique.Make(who), nil
}
