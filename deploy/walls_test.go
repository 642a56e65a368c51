package deploy

import (
	"errors"
	"go/build"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// walls says what each room may import: rooms of this module (without "sluice/"), other modules by a part of their path,
// and net and net/http, which stand for sockets and HTTP. The rest of the standard library is free, and so is what a test
// imports.
//
// Imports go one way: cmd, gateway, pubsub, store. A room that is not here has no walls yet, and the test says so.
var walls = map[string][]string{
	"store/kind":      {},
	"store":           {"store/kind", "net", "go-redis"}, // net: to tell a connection that failed from a call that did
	"store/storetest": {"net", "go-redis", "miniredis"},

	"pubsub/boottime":            {"x/sys/unix"},
	"pubsub/internal/transcript": {},
	"pubsub/ingest":              {"store", "store/kind", "pubsub/boottime", "prometheus"},
	"pubsub/dispatch":            {"prometheus"},
	"pubsub/listen":              {"x/sys/unix", "store", "store/kind", "pubsub/boottime", "pubsub/ingest", "net", "go-redis", "prometheus"},
	"pubsub":                     {"store", "store/kind", "pubsub/dispatch", "pubsub/ingest", "pubsub/listen", "go-redis", "prometheus"},

	"gateway/wire":    {"store", "store/kind"},
	"gateway/writer":  {"gateway/wire", "pubsub", "net", "x/sys/unix"},
	"gateway/console": {"net/http"},
	"gateway/auth":    {"store", "store/kind", "net/http", "golang-jwt", "jwkset"}, // store: the errors of settings
	"gateway/demo":    {"gateway/wire", "pubsub", "store", "store/kind"},
	"gateway": {
		"gateway/auth", "gateway/console", "gateway/demo", "gateway/wire", "gateway/writer", "pubsub", "store", "store/kind",
		"net", "net/http", "echo", "prometheus", "x/time/rate",
	},

	"cmd/internal/rig":         {"net", "net/http", "go-redis"},
	"cmd/internal/rig/rigtest": {"cmd/internal/rig", "net"},
	"cmd/internal/report":      {},
	"cmd/internal/judge":       {},
	"cmd/internal/eventsource": {},
	"cmd/gateway":              {"gateway", "gateway/auth", "pubsub", "store", "store/kind", "net", "net/http", "envconfig", "go-redis", "miniredis"},
	// The simulation runs the real rooms; what it judges by, it has of its own.
	"cmd/sim":                     {"cmd/sim/internal/world", "wazero"},
	"cmd/sim/guest":               {"cmd/sim/internal/world"},
	"cmd/sim/internal/network":    {"net"},
	"cmd/sim/internal/redismodel": {"cmd/sim/internal/network", "net", "gopher-lua"},
	"cmd/sim/internal/world": {
		"cmd/internal/eventsource", "cmd/internal/judge", "cmd/sim/internal/network", "cmd/sim/internal/redismodel",
		"gateway", "pubsub", "store", "net", "net/http", "go-redis",
	},
	// The checker and the load command see the gateway from the outside only: they import nothing of it.
	"cmd/chaos":    {"cmd/internal/eventsource", "cmd/internal/judge", "cmd/internal/rig", "cmd/internal/report", "net", "net/http", "go-redis"},
	"cmd/loadtest": {"cmd/internal/rig", "cmd/internal/report", "net", "net/http", "go-redis", "x/sys/unix", "hdrhistogram"},

	"deploy": {},
}

func TestEachRoomImportsOnlyWhatItMayKnow(t *testing.T) {
	root, seen := "..", map[string]bool{}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if base := d.Name(); base == "testdata" || name != root && strings.HasPrefix(base, ".") {
			return fs.SkipDir
		}
		room := filepath.ToSlash(strings.TrimPrefix(strings.TrimPrefix(name, root), string(os.PathSeparator)))
		p, err := build.ImportDir(name, 0)
		if _, none := errors.AsType[*build.NoGoError](err); none {
			return nil
		}
		if err != nil {
			return err
		}
		may, known := walls[room]
		if !known {
			t.Errorf("room %s is new: say in walls what it may import", room)
			return nil
		}
		seen[room] = true
		for _, imported := range p.Imports {
			if !allowed(imported, may) {
				t.Errorf("room %s imports %s, which it must not know", room, imported)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for room := range walls {
		if !seen[room] {
			t.Errorf("room %s has walls, but does not exist", room)
		}
	}
}

// allowed reports whether a room with these walls may import a package.
func allowed(imported string, may []string) bool {
	first, _, _ := strings.Cut(imported, "/")
	switch {
	case first == "sluice":
		return slices.Contains(may, strings.TrimPrefix(imported, "sluice/"))
	case strings.Contains(first, "."): // another module
		return slices.ContainsFunc(may, func(part string) bool {
			return strings.Contains(strings.ToLower(path.Clean(imported)), part)
		})
	case imported == "net", imported == "net/http":
		return slices.Contains(may, imported)
	default:
		return true
	}
}
