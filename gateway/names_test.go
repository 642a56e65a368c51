package gateway_test

import (
	"net/url"
	"testing"

	"sluice/gateway"
)

// Identity providers call their users ada@example.com and auth0|123.
func TestAChannelMayBeNamedAfterAUserOfAnyProvider(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		for _, channel := range []string{"ada@example.com", "auth0|123", "a+b=c~d", "progress:ada@example.com", "notifications:auth0|123"} {
			escaped := url.PathEscape(channel)
			alone, among := s.open("/api/sse/channels/"+escaped), s.open("/api/sse?channels=other,"+url.QueryEscape(channel))
			s.rdb.Publish(t.Context(), channel, `{"progress":1}`)
			if a := s.post("/api/channels/"+escaped+"/events", `{"data":{"progress":2}}`); a.Status != 201 {
				t.Fatalf("%s: %d %s", channel, a.Status, a.Body)
			}
			for range 2 { // the PUBLISH and the POST, in whichever order
				alone.next()
				if e := among.next(); fields(t, e.Data)["channel"] != channel {
					t.Errorf("%s: the envelope is %s", channel, e.Data)
				}
			}
			alone.Close()
			among.Close()
			a := s.get("/api/channels/" + escaped + "/events")
			if got := fields(t, a.Body); got["channel"] != channel {
				t.Errorf("%s: the history is %d %s", channel, a.Status, a.Body)
			}
		}
	})
}
