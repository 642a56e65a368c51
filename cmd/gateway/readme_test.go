package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sluice/cmd/internal/rig/rigtest"
	"sluice/store/storetest"
)

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// section returns what stands under a heading of the README.
func section(t *testing.T, heading string) string {
	t.Helper()
	_, text, found := strings.Cut(readme(t), "\n## "+heading+"\n")
	if !found {
		t.Fatalf("README.md has no section %q", heading)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	return text
}

// rows returns the rows of the tables in text, without heads.
func rows(text string) [][]string {
	var all [][]string
	for line := range strings.Lines(text) {
		line, isRow := strings.CutPrefix(strings.TrimSpace(line), "|")
		if !isRow || strings.Trim(line, "|- ") == "" {
			continue
		}
		var cells []string
		for cell := range strings.SplitSeq(strings.TrimSuffix(line, "|"), "|") {
			cells = append(cells, strings.TrimSpace(cell))
		}
		all = append(all, cells)
	}
	if len(all) > 0 {
		all = all[1:]
	}
	return all
}

func TestTheREADMEsTableOfSettingsIsTrue(t *testing.T) {
	var want, got [][]string
	for _, s := range settings(&Config{}) {
		standard := s.standard
		if standard != "" {
			standard = "`" + standard + "`"
		}
		want = append(want, []string{"`" + s.name + "`", standard, s.desc})
	}
	got = rows(section(t, "Settings"))
	for i, row := range want {
		if i >= len(got) || !slices.Equal(got[i], row) {
			line := []string{"(missing)"}
			if i < len(got) {
				line = got[i]
			}
			t.Errorf("row %d:\n got | %s |\nwant | %s |", i+1, strings.Join(line, " | "), strings.Join(row, " | "))
		}
	}
	if len(got) > len(want) {
		t.Errorf("rows without a setting: %v", got[len(want):])
	}
}

// What the table says of a default is what a gateway without settings has.
func TestTheDefaultsAreGoodSettings(t *testing.T) {
	for _, s := range settings(&Config{}) {
		if _, err := loadWith(s.name + "=" + s.standard); err != nil {
			t.Errorf("the default of %s: %v", s.name, err)
		}
	}
}

// The README's curl and redis-cli commands work when pasted.
func TestTheREADMEsCommandsWork(t *testing.T) {
	t.Parallel() // it mostly waits
	rigtest.Need(t, "curl")
	rigtest.Need(t, "redis-cli")
	server := storetest.Real(t)
	g := launch(t, "REDIS_URL=redis://"+server.Addr, "DRAIN_TIME=0s")
	g.connect(t, "/api/sse/channels/orders", "") // "while somebody watches orders"
	_, port, _ := net.SplitHostPort(server.Addr)

	found := regexp.MustCompile("(?m)^((?:curl|redis-cli) .+)$|`((?:curl|redis-cli) [^`]+)`").FindAllStringSubmatch(readme(t), -1)
	tried := 0
	for _, match := range found {
		command := match[1] + match[2]
		if strings.HasSuffix(command, "…") || strings.Count(command, " ") < 2 {
			continue // it is spoken of, not shown
		}
		if strings.Contains(command, "$ADMIN") || strings.Contains(command, ":8081") {
			continue // of a block that is pasted as a whole
		}
		tried++
		here := strings.ReplaceAll(command, "localhost:8080", g.addr)
		here = regexp.MustCompile(`^redis-cli `).ReplaceAllString(here, "redis-cli -p "+port+" ")
		here = regexp.MustCompile(`^curl `).ReplaceAllString(here, "curl -sS --fail-with-body ")
		streams := strings.Contains(command, "curl -N")
		if streams {
			here = strings.Replace(here, "curl ", "curl --max-time 1 ", 1)
		}
		text, err := exec.CommandContext(t.Context(), "sh", "-c", here).CombinedOutput()
		switch said := strings.TrimSpace(string(text)); {
		case streams && (!strings.Contains(said, "data: ") && !strings.Contains(said, "retry: ")):
			t.Errorf("%s\nshows no stream: %s", command, said)
		case !streams && err != nil:
			t.Errorf("%s\n%v: %s", command, err, said)
		case strings.Contains(command, "PUBLISH") && said == "0":
			t.Errorf("%s\nreaches nobody", command)
		case strings.HasPrefix(command, "redis-cli") && strings.Contains(said, "ERR"):
			t.Errorf("%s\n%s", command, said)
		}
	}
	if tried < 10 {
		t.Errorf("only %d commands were found in the README: %q", tried, found)
	}
}

// The chapter "Security" is pasted into a shell, and works.
func TestTheREADMEsChapterOnSecurityWorksWhenPasted(t *testing.T) {
	for _, program := range []string{"curl", "base64"} {
		rigtest.Need(t, program)
	}
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	addr := rigtest.FreeAddress(t)
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(section(t, "Security"), -1)
	script := "export GATEWAY_ADDR=" + addr + " GATEWAY_DRAIN_TIME=0s GATEWAY_REDIS_URL=redis://" + storetest.Mini(t).Addr + "\n"
	for i, b := range blocks {
		if strings.Contains(b[1], ":8081") {
			continue // it has two replicas of its own
		}
		script += b[1]
		if i == 0 {
			script += "PID=$!; until curl -s -o /dev/null --fail http://" + addr + "/readyz; do :; done\n"
		}
	}
	script = strings.NewReplacer("go run ./cmd/gateway", path, "localhost:8080", addr, "curl -N", "curl -sS --max-time 1 -N",
		"curl -H", "curl -sS -H").Replace(script) + "kill $PID\nwait $PID\necho \"ticket $TICKET\"\n"
	p := exec.CommandContext(t.Context(), "sh", "-c", script)
	p.Env = append(os.Environ(), asProgram+"=1", "GATEWAY_LOG_LEVEL=debug")
	text, err := p.CombinedOutput()
	said := string(text)
	if err != nil || !strings.Contains(said, `"success":true`) || !strings.Contains(said, "\ndata: {") || strings.Count(said, "retry: ") != 2 || strings.Contains(said, `"error"`) {
		t.Errorf("%v\n%s\nsays\n%s", err, script, said)
	}
	_, ticket, _ := strings.Cut(strings.TrimSpace(said), "\nticket ")
	if len(ticket) != 26 || strings.Count(said, ticket) != 1 {
		t.Errorf("the ticket %q is in a log:\n%s", ticket, said)
	}
}

// What the README says to try with two replicas shows a stream on one of them that ends because of a call to the other.
func TestTheREADMEsRevocationWorksWhenPasted(t *testing.T) {
	for _, program := range []string{"curl", "base64"} {
		rigtest.Need(t, program)
	}
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(section(t, "Security"), -1) {
		if !strings.Contains(b[1], "/api/revocations") {
			continue
		}
		first, second := rigtest.FreeAddress(t), rigtest.FreeAddress(t)
		ready := fmt.Sprintf("for A in %s %s; do until curl -s -o /dev/null --fail http://$A/readyz; do :; done; done", first, second)
		script := "export GATEWAY_ADDR=" + first + "\n" + strings.NewReplacer("redis://localhost:6379", "redis://"+storetest.Mini(t).Addr,
			"go run ./cmd/gateway", path, "go build -o sluice ./cmd/gateway\n", "", "./sluice &", path+" > /dev/null & PIDS=\"$PIDS $!\"",
			"127.0.0.1:8081", second, "localhost:8080", first, "localhost:8081", second, "sleep 2", ready, "curl", "curl -sS --max-time 20",
		).Replace(b[1]) + "kill $PIDS\nwait\n"
		p := exec.CommandContext(t.Context(), "sh", "-c", script)
		p.Env = append(os.Environ(), asProgram+"=1", "GATEWAY_DRAIN_TIME=0s")
		text, err := p.CombinedOutput()
		said := string(text)
		if err != nil || !strings.Contains(said, "event: revoked\n") || !strings.HasSuffix(strings.TrimSpace(said), `"code":"revoked"}`) {
			t.Errorf("%v\n%s\nsays\n%s", err, script, said)
		}
		return
	}
	t.Error("there is no such block")
}
