package gateway_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice/gateway"
	"sluice/gateway/auth"
)

// ticket makes a ticket.
func (s *site) ticket(who []string) string {
	s.t.Helper()
	a := s.post("/api/tickets", "", who...)
	if a.Status != 201 || a.Header.Get("Cache-Control") != "no-store" {
		s.t.Fatalf("a ticket: %d %s", a.Status, a.Body)
	}
	return fields(s.t, a.Body)["ticket"].(string)
}

const ordersBy = "/api/sse/channels/orders?ticket="

func TestATicketOpensAStreamOnAnyReplicaAsItsMaker(t *testing.T) {
	protectTwo(t, tokens, nil, func(t *testing.T, a, b *site) {
		ada := token(t, "ada", "orders", "orders")
		ticket := a.ticket(ada)
		time.Sleep(29 * time.Second)
		st := b.open(ordersBy + ticket)
		if st.Status != 200 {
			t.Fatalf("%d %s", st.Status, st.Body)
		}
		a.post("/api/channels/orders/events", `{"data":1}`, ada...)
		if e := st.next(); e.Data != "1" {
			t.Errorf("got %+v", e)
		}
		id := place(blocks(t, "the stream", st.rawSoFar()))
		time.Sleep(10 * time.Minute) // it is kept while its stream lives
		st.Close()
		time.Sleep(55 * time.Second)
		a.post("/api/channels/orders/events", `{"data":2}`, ada...)
		back := a.open(ordersBy+ticket+"&lastEventId=old", "Last-Event-ID", id)
		if e := back.next(); e.Data != "2" {
			t.Errorf("back again: %+v", e)
		}
		back.Close()
		time.Sleep(76 * time.Second)
		if got := deny(t, "later", a.get(ordersBy+ticket), 401); got != "invalid_ticket" {
			t.Errorf("later: %s", got)
		}
		unused := a.ticket(ada)
		time.Sleep(31 * time.Second)
		deny(t, "a ticket that was not used in time", b.get(ordersBy+unused), 401)
		if left := a.mini.Keys(); strings.Contains(fmt.Sprint(left), "ticket") {
			t.Errorf("Redis keeps %v", left)
		}
	})
}

func TestATicketIsNotUsedUpByAReplicaThatRefusesTheStream(t *testing.T) {
	protectTwo(t, tokens, nil, func(t *testing.T, a, b *site) {
		ada := token(t, "ada", "orders", "")
		ticket := a.ticket(ada)
		b.back.cut()
		time.Sleep(2 * time.Second)
		deny(t, "a replica without Redis", b.get(ordersBy+ticket), 503)
		deny(t, "what it may not", a.get("/api/sse/channels/bills?ticket="+ticket), 403)
		if st := a.open("/api/sse/channels/orders?replay=3&ticket=" + ticket); st.Status != 200 {
			t.Errorf("then: %d %s", st.Status, st.Body)
		}
		b.back.mend()
	})
}

func TestAttackATicketForOtherChannels(t *testing.T) {
	protect(t, tokens, gateway.Config{}, nil, func(t *testing.T, s *site) {
		ada := token(t, "ada", "orders,bills", "orders")
		ticket := s.ticket(ada)
		deny(t, "a channel that its maker may not read", s.get("/api/sse/channels/secret?ticket="+ticket), 403)
		if st := s.open(ordersBy + ticket + "&types=a"); st.Status != 200 {
			t.Fatalf("%d %s", st.Status, st.Body)
		}
		for _, path := range []string{
			"/api/sse/channels/bills?types=a", "/api/sse?channels=orders&types=a", "/api/sse/channels/orders?types=b", "/api/sse/channels/orders?x", "/api/sse/channels/orders?types=a&replay=9",
		} {
			deny(t, path, s.get(path+"&ticket="+ticket), 401)
		}
		for _, path := range []string{"/api/channels/orders/events", "/api/notifications", "/api/tasks/t1", "/api/channels/orders/rejected"} {
			deny(t, path, s.get(path+"?ticket="+ticket), 401)
		}
		for _, path := range []string{"/api/channels/orders/events", "/api/tickets", "/api/revocations"} {
			deny(t, path, s.post(path+"?ticket="+ticket, `{"data":1}`), 401)
		}
	})
}

func TestAttackAReplayedTicketHasOneStreamTheNewest(t *testing.T) {
	protectTwo(t, tokens, nil, func(t *testing.T, a, b *site) {
		ticket := a.ticket(token(t, "ada", "orders", ""))
		older, newer := a.open(ordersBy+ticket), b.open(ordersBy+ticket)
		older.wantRevoked()
		if again := a.open(ordersBy + ticket); again.Status != 200 {
			t.Errorf("%d %s", again.Status, again.Body)
		}
		newer.wantRevoked()
	})
}

func TestAttackTheSameTicketOnTwoReplicasAtOnce(t *testing.T) {
	protectTwo(t, tokens, nil, func(t *testing.T, a, b *site) {
		ticket := a.ticket(token(t, "ada", "orders", ""))
		streams := make([]*stream, 10)
		var all sync.WaitGroup
		for i := range streams {
			all.Go(func() {
				var err error
				if streams[i], err = []*site{a, b}[i%2].tryOpen(ordersBy + ticket); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		time.Sleep(time.Second)
		synctest.Wait()
		open := 0
		for _, st := range streams {
			if !strings.Contains(st.raw.String(), "event: revoked") {
				open++
			}
		}
		if open != 1 {
			t.Errorf("%d streams are open, want 1", open)
		}
	})
}

// A stream on a replica that was cut off loses its ticket too.
func TestAStreamThatLostItsTicketWhileRedisWasAwayEnds(t *testing.T) {
	protectTwo(t, tokens, nil, func(t *testing.T, a, b *site) {
		ticket := a.ticket(token(t, "ada", "orders", ""))
		older := b.open(ordersBy + ticket)
		b.back.cut()
		time.Sleep(3 * time.Second)
		a.open(ordersBy + ticket)
		time.Sleep(30 * time.Second) // what tells of it is gone by then
		b.back.mend()
		if all := older.ended(); len(all) != 1 || all[0].Type != "revoked" {
			t.Errorf("it ends with %+v", all)
		}
	})
}

func TestAttackTenThousandTickets(t *testing.T) {
	protect(t, tokens, gateway.Config{}, nil, func(t *testing.T, s *site) {
		eve := token(t, "eve", "orders", "")
		made := 0
		for range 10_000 {
			switch a := s.do("POST", "/api/tickets", "", eve...); a.Status {
			case 201:
				made++
			case 429:
			default:
				t.Fatalf("%d %s", a.Status, a.Body)
			}
		}
		if made > 30 {
			t.Errorf("%d tickets were made", made)
		}
		keys := 0
		for _, k := range s.mini.Keys() {
			if strings.HasPrefix(k, "sluice:ticket:") {
				keys++
			}
		}
		if keys > made {
			t.Errorf("%d keys for %d tickets", keys, made)
		}
		s.ticket(token(t, "ada", "orders", "")) // somebody else is not held up
		deny(t, "somebody without a credential", s.post("/api/tickets", ""), 401)
	})
}

func TestATicketEndsWithItsMakersSession(t *testing.T) {
	protect(t, tokens, gateway.Config{}, nil, func(t *testing.T, s *site) {
		text, err := auth.NewToken(tokens, auth.Identity{Subject: "ada", Subscribe: patterns(t, "orders")}, 20*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		ticket := s.ticket([]string{"Authorization", "Bearer " + text})
		st := s.open(ordersBy + ticket)
		if all := st.ended(); len(all) != 1 || all[0].Type != "expired" {
			t.Errorf("the stream ends with %+v", all)
		}
		time.Sleep(5 * time.Second)
		deny(t, "back again", s.get(ordersBy+ticket), 401)

		ticket = s.ticket(token(t, "ada", "orders", ""))
		st = s.open(ordersBy + ticket)
		s.revoke(`{"sub":"ada"}`, admin(t))
		st.wantRevoked()
		if got := deny(t, "back after a revocation", s.get(ordersBy+ticket), 401); got != "revoked" {
			t.Errorf("back after a revocation: %s", got)
		}
	})
}

func TestAttackATokenInTheURLInPlaceOfATicket(t *testing.T) {
	protect(t, tokens, gateway.Config{}, nil, func(t *testing.T, s *site) {
		jwt := strings.TrimPrefix(token(t, "ada", "orders", "")[1], "Bearer ")
		if got := deny(t, "a token", s.get(ordersBy+jwt), 401); got != "credential_in_url" {
			t.Errorf("a token: %s", got)
		}
		good := s.ticket(token(t, "ada", "orders", ""))
		for _, bad := range []string{"", "x", strings.ToLower(good), good + "A", good + "&ticket=" + good, good + "%00", "%zz", strings.Repeat("A", 26)} {
			if got := deny(t, bad, s.get(ordersBy+bad), 401); got != "invalid_ticket" {
				t.Errorf("%q: %s", bad, got)
			}
		}
	})
}
