package gateway

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"sluice/gateway/auth"
	"sluice/pubsub"
	"sluice/store"
)

// Whoever adds an address under /api/ and forgets to ask who calls it fails here.
func TestNoAddressOfTheAPIAnswersWithoutACredential(t *testing.T) {
	a, err := auth.New(auth.Config{JWTSecret: strings.Repeat("x", 32)}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(&redis.Options{}) // it does not connect before it is used
	defer rdb.Close()
	s, log := store.New(rdb, store.Config{}), slog.New(slog.DiscardHandler)
	server := New(pubsub.NewBroker(rdb, s, pubsub.Config{}, log), s, Config{Authenticator: a}, log)
	tried := 0
	for _, r := range server.echo.Routes() {
		if !strings.HasPrefix(r.Path, "/api") {
			continue
		}
		tried++
		path := strings.NewReplacer(":channel", "orders", ":taskId", "t1").Replace(r.Path)
		answer := httptest.NewRecorder()
		server.ServeHTTP(answer, httptest.NewRequest(r.Method, path+"?channels=orders", nil))
		if answer.Code != http.StatusUnauthorized {
			t.Errorf("%s %s: %d %s", r.Method, path, answer.Code, answer.Body)
		}
	}
	if tried < 18 {
		t.Errorf("only %d addresses were tried", tried)
	}
}
