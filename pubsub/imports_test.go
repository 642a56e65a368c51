package pubsub_test

import (
	"go/build"
	"slices"
	"strings"
	"testing"
)

// The walls between the rooms: what a package must not know it must not import.
func TestRoomsDoNotImportWhatTheyMustNotKnow(t *testing.T) {
	for _, room := range []struct {
		dir     string
		mustNot []string // packages, and those below them
		except  []string
	}{
		{".", []string{"sluice/gateway", "net", "bufio"}, nil}, // listen knows how to speak to Redis
		{"listen", []string{"sluice/gateway", "sluice/pubsub"}, []string{"sluice/pubsub/ingest", "sluice/pubsub/boottime"}},
		{"ingest", []string{"sluice/gateway", "sluice/pubsub", "net", "github.com/redis"}, []string{"sluice/pubsub/boottime"}},
		{"boottime", []string{"sluice", "net"}, nil},
	} {
		p, err := build.ImportDir(room.dir, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, imported := range p.Imports {
			forbidden := slices.ContainsFunc(room.mustNot, func(path string) bool {
				return imported == path || strings.HasPrefix(imported, path+"/")
			})
			if forbidden && !slices.Contains(room.except, imported) {
				t.Errorf("package %s imports %s", p.Name, imported)
			}
		}
	}
}
