package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// change is one place where a source file of the gateway is made wrong.
type change struct {
	file    string // relative to the module's root
	correct string // stands there exactly once
	wrong   string
}

// ignoresHoles makes a gateway that goes on after a hole instead of filling it, in all three places where a replica
// notices one.
var ignoresHoles = []change{
	{ // An announced event does not follow the last one.
		file:    "pubsub/channel.go",
		correct: "\tcase repair:\n\t\tc.addPending(e)\n\t\tc.setState(subscribed)\n\t\treturn true\n",
		wrong:   "\tcase repair:\n\t\tc.history.Events, c.memoryBytes = nil, 0\n\t\tc.deliver(e)\n\t\treturn false\n",
	},
	{ // A channel is compared with Redis after a reconnection.
		file:    "pubsub/trail.go",
		correct: "\tevents, gap := theirs.After(ours.Tip.Position)\n",
		wrong:   "\tif true {\n\t\treturn nil, \"\"\n\t}\n\tevents, gap := theirs.After(ours.Tip.Position)\n",
	},
	{ // A quiet channel is compared with Redis.
		file:    "pubsub/channel.go",
		correct: "\tif c.state != live || c.busy ||",
		wrong:   "\tif true || c.state != live || c.busy ||",
	},
}

// buildWrong builds the gateway with changes and returns the path of the program. The files of the repository stay as
// they are: the compiler reads the changed ones by its -overlay flag.
func buildWrong(t *testing.T, changes []change) string {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{} // by absolute path
	for _, c := range changes {
		path := filepath.Join(root, filepath.FromSlash(c.file))
		text, changed := texts[path]
		if !changed {
			original, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			text = string(original)
		}
		if n := strings.Count(text, c.correct); n != 1 {
			t.Fatalf("%s: found %d times, want once (has the code moved? then move the change with it):\n%s", c.file, n, c.correct)
		}
		texts[path] = strings.Replace(text, c.correct, c.wrong, 1)
	}
	dir := t.TempDir()
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for path, text := range texts {
		overlay.Replace[path] = filepath.Join(dir, strings.ReplaceAll(strings.TrimPrefix(path, root), string(filepath.Separator), "_"))
		if err := os.WriteFile(overlay.Replace[path], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	list, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	listPath := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(listPath, list, 0o600); err != nil {
		t.Fatal(err)
	}
	gateway := filepath.Join(dir, "gateway")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-overlay", listPath, "-o", gateway, "sluice/cmd/gateway").CombinedOutput()
	if err != nil {
		t.Fatalf("go build -overlay: %v\n%s", err, out)
	}
	return gateway
}

// A checker that cannot fail is worth nothing.
func TestAGatewayThatIgnoresHolesIsCaught(t *testing.T) {
	needRedis(t)
	code, s := runChaos(t, "-scenario", "pubsub-kill", "-gateway", buildWrong(t, ignoresHoles),
		"-seconds", "6", "-clients", "12", "-rate", "300", "-settle", "6s")
	if code != exitViolated {
		t.Fatalf("exit code %d, want %d", code, exitViolated)
	}
	if holes := s.Results[0].Counts[silentHole]; holes == 0 {
		t.Errorf("violations %v, want silent holes among them", s.Results[0].Counts)
	}
}
