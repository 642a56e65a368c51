package gateway

import (
	"log/slog"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"sluice/gateway/auth"
	"sluice/pubsub"
	"sluice/store"
)

// TestTheREADMEsTableOfCallsIsTrue compares the routes with the README's table, both ways.
func TestTheREADMEsTableOfCallsIsTrue(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "\n## API\n")
	table, _, _ = strings.Cut(table, "\n## ")
	var written []string
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) < 3 {
			continue
		}
		method := ""
		for _, code := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cells[1], -1) { // `GET /a`, `/b`
			path := code[1]
			if m, p, found := strings.Cut(code[1], " "); found {
				method, path = m, p
			}
			written = append(written, method+" "+path)
		}
	}

	rdb := redis.NewClient(&redis.Options{}) // it does not connect before it is used
	defer rdb.Close()
	s := store.New(rdb, store.Config{})
	log := slog.New(slog.DiscardHandler)
	var routes []string
	who, err := auth.New(auth.Config{JWTSecret: strings.Repeat("x", 32)}, nil, log) // some calls exist only with authentication
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range New(pubsub.NewBroker(rdb, s, pubsub.Config{}, log), s, Config{Authenticator: who}, log).echo.Routes() {
		asset := strings.HasPrefix(r.Path, "/console/") || r.Path == "/favicon.ico" // of the console's pages
		if r.Method != http.MethodHead && !asset {
			routes = append(routes, r.Method+" "+r.Path)
		}
	}
	for _, r := range routes {
		if !slices.Contains(written, r) {
			t.Errorf("%s is not in README.md", r)
		}
	}
	for _, w := range written {
		if !slices.Contains(routes, w) {
			t.Errorf("README.md promises %s, which does not exist", w)
		}
	}
}
