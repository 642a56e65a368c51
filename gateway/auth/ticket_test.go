package auth_test

import (
	"net/url"
	"testing"

	"sluice/gateway/auth"
)

func FuzzATicketInAQueryIsOneTicketOrNone(f *testing.F) {
	ticket := auth.NewTicket()
	for _, query := range []string{
		"", "ticket=" + ticket, "a=b&ticket=" + ticket, "ticket=x", "ticket=" + ticket + "&ticket=" + ticket, "%74icket=" + ticket, "ticket=" + ticket + "%zz", "ticket", "ticket=%00",
	} {
		f.Add(query)
	}
	f.Fuzz(func(t *testing.T, query string) {
		got, present := auth.TicketIn(query)
		values, err := url.ParseQuery(query)
		if got == "" {
			if values.Has("ticket") && !present {
				t.Errorf("%q: the ticket is not seen", query)
			}
			return
		}
		if !present || err != nil || len(values["ticket"]) != 1 || values.Get("ticket") != got || len(got) != 26 {
			t.Errorf("%q: got %q", query, got)
		}
		for _, c := range got {
			if (c < 'A' || c > 'Z') && (c < '2' || c > '7') {
				t.Errorf("%q has %q", got, c)
			}
		}
	})
}
