package main

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"sluice/cmd/internal/rig/rigtest"
	"sluice/store/storetest"
)

// asProgram makes the test binary behave as the gateway: so the tests of the process need no build of their own.
const asProgram = "SLUICE_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// process is the gateway as a process of its own.
type process struct {
	*exec.Cmd
	out, err *output
}

// program prepares the gateway's process; its environment has nothing but the variables given.
func program(t testing.TB, args []string, environ ...string) *process {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{Cmd: exec.CommandContext(t.Context(), path, args...), out: &output{}, err: &output{}}
	p.Env = append([]string{asProgram + "=1"}, environ...)
	p.Stdout, p.Stderr = p.out, p.err
	return p
}

func TestSIGTERMAndSIGHUPAndCtrlCEndStreamsAndTheProcessWithExitCodeZero(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGHUP, os.Interrupt} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel() // it mostly waits
			server := storetest.Mini(t)
			addr := rigtest.FreeAddress(t)
			p := program(t, nil, "GATEWAY_ADDR="+addr, "GATEWAY_REDIS_URL=redis://"+server.Addr, "GATEWAY_DRAIN_TIME=500ms", "GATEWAY_LOG_FORMAT=json")
			if err := p.Start(); err != nil {
				t.Fatal(err)
			}
			g := &instance{addr: addr}
			waitFor(t, "the gateway to be ready", func() bool { return g.status(t, "/readyz") == http.StatusOK })
			resp, err := http.Get("http://" + addr + "/api/sse/channels/orders")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if err := p.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(resp.Body)
			if !errors.Is(err, io.ErrUnexpectedEOF) || !regexp.MustCompile(`\nretry: [1-9]\d*\n$`).Match(text) {
				t.Errorf("the stream ended with %q, %v; want a retry time and no clean end", text, err)
			}
			if err := p.Wait(); err != nil || p.err.String() != "" {
				t.Errorf("the process ended with %v and said %q", err, p.err)
			}
			for line := range strings.Lines(p.out.String()) {
				if !strings.HasPrefix(line, "{") {
					t.Errorf("not a line of JSON: %q", line)
				}
			}
		})
	}
}

// draining returns a gateway's process that drains one stream for a minute, and has been sent SIGTERM for that.
func draining(t *testing.T) *process {
	t.Helper()
	server := storetest.Mini(t)
	addr := rigtest.FreeAddress(t)
	p := program(t, nil, "GATEWAY_ADDR="+addr, "GATEWAY_REDIS_URL=redis://"+server.Addr, "GATEWAY_DRAIN_TIME=60s", "GATEWAY_LOG_FORMAT=json")
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	g := &instance{addr: addr}
	waitFor(t, "the gateway to be ready", func() bool { return g.status(t, "/readyz") == http.StatusOK })
	for range 20 { // their ends are spread, so some are left for many seconds
		resp, err := http.Get("http://" + addr + "/api/sse/channels/orders")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = resp.Body.Close() })
	}
	signalled(t, p, syscall.SIGTERM)
	waitFor(t, "the drain to begin", func() bool { return strings.Contains(p.out.String(), "draining") })
	return p
}

func signalled(t *testing.T, p *process, sig os.Signal) {
	t.Helper()
	if err := p.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

func TestASecondSIGTERMDoesNotCutADrainShortAndASecondCtrlCDoes(t *testing.T) {
	p := draining(t)
	if text := p.out.String(); !strings.Contains(text, `"time":"1m0s"`) {
		t.Errorf("the log has no unit: %s", text)
	}
	signalled(t, p, syscall.SIGTERM)
	signalled(t, p, syscall.SIGHUP)
	ended := make(chan error, 1)
	go func() { ended <- p.Wait() }()
	waitFor(t, "Ctrl-C to end it", func() bool { // the first may come before the gateway has given it back its meaning
		_ = p.Process.Signal(os.Interrupt)
		select {
		case <-ended:
			return true
		default:
			return false
		}
	})
	status, ok := p.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() || status.Signal() != syscall.SIGINT {
		t.Errorf("the process ended with %v, want the third signal to have ended it", p.ProcessState)
	}
}

func TestAWrongSettingEndsTheProcessWithOneLine(t *testing.T) {
	p := program(t, nil, "GATEWAY_HISTORY_SIZE=many")
	err := p.Run()
	exit, ok := err.(*exec.ExitError) //nolint:errorlint // Run returns it as it is
	if !ok || exit.ExitCode() != 1 {
		t.Errorf("ended with %v, want exit code 1", err)
	}
	if got, want := p.err.String(), "gateway: GATEWAY_HISTORY_SIZE=\"many\": a whole number is expected\n"; got != want || p.out.String() != "" {
		t.Errorf("said %q and printed %q, want %q and nothing", got, p.out, want)
	}
}

func TestHealthcheckExitsZeroWhenReadyAndOneOtherwise(t *testing.T) {
	t.Parallel() // it mostly waits
	server := storetest.Mini(t)
	g := launch(t, "REDIS_URL=redis://"+server.Addr, "DRAIN_TIME=0s")
	check := func() (int, string) {
		p := program(t, []string{"healthcheck"}, "GATEWAY_ADDR="+g.addr)
		_ = p.Run()
		return p.ProcessState.ExitCode(), p.err.String()
	}
	if code, said := check(); code != 0 || said != "" {
		t.Errorf("ready: exit code %d, %q", code, said)
	}
	server.Mini.SetError("LOADING")
	waitFor(t, "the gateway to notice", func() bool { return g.status(t, "/readyz") == http.StatusServiceUnavailable })
	if code, said := check(); code != 1 || !strings.Contains(said, "not ready") {
		t.Errorf("Redis is away: exit code %d, %q", code, said)
	}
	server.Mini.SetError("")
	if err := g.stop(); err != nil {
		t.Error(err)
	}
	if code, said := check(); code != 1 || said == "" {
		t.Errorf("stopped: exit code %d, %q", code, said)
	}
}

func TestHealthcheckAsksThisMachineWhereTheGatewayListensEverywhere(t *testing.T) {
	server := storetest.Mini(t)
	g := launch(t, "REDIS_URL=redis://"+server.Addr, "DRAIN_TIME=0s")
	port := g.addr[strings.LastIndex(g.addr, ":"):]
	for _, addr := range []string{port, "0.0.0.0" + port, "[::]" + port, "localhost" + port} {
		t.Setenv("GATEWAY_ADDR", addr)
		if err := command(t.Context(), []string{"healthcheck"}, io.Discard); err != nil {
			t.Errorf("GATEWAY_ADDR=%s: %v", addr, err)
		}
	}
}

func TestTheCommandLine(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string // printed, or, if it begins with "error: ", returned
	}{
		{[]string{"version"}, "sluice dev\n"},
		{[]string{"--version"}, "sluice dev\n"},
		{[]string{"serv"}, `error: unknown command "serv"; see gateway help`},
		{[]string{"--port=80"}, `error: unknown command "--port=80"; see gateway help`},
		{[]string{"version", "now"}, "error: too many arguments; see gateway help"},
	} {
		var out bytes.Buffer
		err := command(t.Context(), test.args, &out)
		got := out.String()
		if err != nil {
			got += "error: " + err.Error()
		}
		if got != test.want {
			t.Errorf("gateway %s: got %q, want %q", strings.Join(test.args, " "), got, test.want)
		}
	}
}

func TestHelpListsEverySetting(t *testing.T) {
	for _, arg := range []string{"help", "-h", "-help", "--help"} {
		var out bytes.Buffer
		if err := command(t.Context(), []string{arg}, &out); err != nil {
			t.Fatal(err)
		}
		for _, s := range settings(&Config{}) {
			standard := s.standard
			if standard == "" {
				standard = "(empty)"
			}
			line := regexp.MustCompile(`(?m)^ +` + s.name + ` +` + regexp.QuoteMeta(standard) + ` +` + regexp.QuoteMeta(s.desc) + `$`)
			if !line.MatchString(out.String()) {
				t.Errorf("gateway %s: no line for %s", arg, s.name)
			}
		}
	}
}

// Help is there even if the settings are wrong: that is when it is needed.
func TestHelpNeedsNoGoodSettings(t *testing.T) {
	t.Setenv("GATEWAY_ADDR", "nonsense")
	if err := command(t.Context(), []string{"help"}, io.Discard); err != nil {
		t.Error(err)
	}
}

func TestAnotherCtrlCEndsTheProcessAtOnce(t *testing.T) {
	server := storetest.Mini(t)
	addr := rigtest.FreeAddress(t)
	p := program(t, nil, "GATEWAY_ADDR="+addr, "GATEWAY_REDIS_URL=redis://"+server.Addr, "GATEWAY_DRAIN_TIME=1h")
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	g := &instance{addr: addr}
	waitFor(t, "the gateway to be ready", func() bool { return g.status(t, "/readyz") == http.StatusOK })
	for range 5 {
		g.connect(t, "/api/sse/time", "") // one of them at least would be closed much later
	}
	_ = p.Process.Signal(os.Interrupt)
	waitFor(t, "the gateway to drain", func() bool { return g.status(t, "/readyz") == http.StatusServiceUnavailable })
	ended := make(chan error, 1)
	go func() { ended <- p.Wait() }()
	waitFor(t, "the process to end", func() bool {
		_ = p.Process.Signal(os.Interrupt) // an impatient user
		select {
		case err := <-ended:
			if err == nil {
				t.Error("the process ended as if all was well")
			}
			return true
		default:
			return false
		}
	})
}
