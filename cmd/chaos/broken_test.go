package main

import (
	"path/filepath"
	"testing"

	"sluice/cmd/internal/judge"
	"sluice/cmd/internal/rig"
)

// ignoresHoles makes a gateway that goes on after a hole instead of filling it, in all three places where a replica
// notices one.
var ignoresHoles = []rig.Change{
	{ // An announced event does not follow the last one.
		File: "pubsub/channel.go",
		Old:  "\tcase repair:\n\t\tc.addPending(e)\n\t\tc.setState(subscribed)\n\t\treturn true\n",
		New:  "\tcase repair:\n\t\tc.history.Events, c.memoryBytes = nil, 0\n\t\tc.deliver(e)\n\t\treturn false\n",
	},
	{ // A channel is compared with Redis after a reconnection.
		File: "pubsub/catchup.go",
		Old:  "\tat := ours.Tip.Position\n",
		New:  "\tat := ours.Tip.Position\n\tif true {\n\t\treturn missed{}\n\t}\n",
	},
	{ // A channel is compared with Redis in rounds.
		File: "pubsub/channel.go",
		Old:  "\tif c.state != live || c.busy {",
		New:  "\tif true || c.state != live || c.busy {",
	},
}

// dropsSilently makes a gateway that drops some raw messages, the same ones on all replicas, and does not count them.
var dropsSilently = []rig.Change{{
	File: "pubsub/ingest/intake.go",
	Old:  "\tif in.closing {\n\t\treturn\n\t}\n\tb := in.backlogs[channel]\n",
	New:  "\tif in.closing || m.ID.Number%500 == 7 {\n\t\treturn\n\t}\n\tb := in.backlogs[channel]\n",
}}

// buildWrong builds the gateway with changes and returns the path of the program.
func buildWrong(t *testing.T, changes []rig.Change) string {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	overlay, err := rig.Overlay(root, dir, changes)
	if err != nil {
		t.Fatal(err)
	}
	gateway, err := rig.Binary{Package: "sluice/cmd/gateway", Overlay: overlay}.Build(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
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
	if holes := s.Results[0].Counts[judge.SilentHole]; holes == 0 {
		t.Errorf("violations %v, want silent holes among them", s.Results[0].Counts)
	}
}

func TestAGatewayThatDropsRawMessagesWithoutCountingIsCaught(t *testing.T) {
	needRedis(t)
	code, s := runChaos(t, "-scenario", "flood-sets", "-gateway", buildWrong(t, dropsSilently),
		"-seconds", "3", "-clients", "8", "-rate", "50")
	if code != exitViolated {
		t.Fatalf("exit code %d, want %d", code, exitViolated)
	}
	if lost := s.Results[0].Counts[judge.Lost]; lost < 10 {
		t.Errorf("violations %v, want lost messages among them", s.Results[0].Counts)
	}
}
