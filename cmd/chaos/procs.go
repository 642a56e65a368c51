package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// proc is a process we started. It is ended by its own pid and nothing else is ever signalled.
type proc struct {
	name string
	cmd  *exec.Cmd
	log  string        // path
	done chan struct{} // closed when it has been waited for
	err  error         // how it ended; valid once done is closed
}

// procs starts processes and ends all of them.
type procs struct {
	dir string // logs go here

	mu  sync.Mutex
	all []*proc // guarded by mu
}

// start runs a command; its output is appended to <name>.log.
func (ps *procs) start(name string, env []string, path string, args ...string) (*proc, error) {
	logPath := filepath.Join(ps.dir, name+".log")
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	fmt.Fprintf(log, "--- %s: %s %s\n", time.Now().Format("15:04:05.000"), filepath.Base(path), strings.Join(args, " "))
	cmd := exec.Command(path, args...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = env, ps.dir, log, log
	if err := spawn(cmd, name == "nginx"); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &proc{name: name, cmd: cmd, log: logPath, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	ps.mu.Lock()
	ps.all = append(ps.all, p)
	ps.mu.Unlock()
	return p, nil
}

// endAll kills what still runs and waits for it.
func (ps *procs) endAll() {
	ps.mu.Lock()
	all := ps.all
	ps.all = nil
	ps.mu.Unlock()
	for _, p := range all {
		_ = p.kill()
	}
}

// kill ends the process at once, stopped or not. It returns an error if the process had ended already.
func (p *proc) kill() error {
	if !p.running() {
		return p.ended()
	}
	err := p.cmd.Process.Kill()
	<-p.done
	return err
}

// terminate asks the process to end and reports how it did. One that does not end in time is killed.
func (p *proc) terminate(limit time.Duration) error {
	if !p.running() {
		return p.ended()
	}
	if err := askToEnd(p.cmd.Process); err != nil {
		return fmt.Errorf("signal %s: %w", p.name, err)
	}
	select {
	case <-p.done:
		if p.err != nil {
			return fmt.Errorf("%s ended with %w after SIGTERM", p.name, p.err)
		}
		return nil
	case <-time.After(limit):
		_ = p.kill()
		return fmt.Errorf("%s did not end within %v after SIGTERM", p.name, limit)
	}
}

func (p *proc) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// errEnded marks a process that ended although nobody asked it to: there is no use in waiting for it.
var errEnded = errors.New("ended by itself")

// ended says how a process that is gone came to its end.
func (p *proc) ended() error {
	text, _ := os.ReadFile(p.log)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return fmt.Errorf("%s %w: %v: %s", p.name, errEnded, p.err, lines[len(lines)-1])
}

// freePort finds a loopback port nobody listens on. It is below the range from which the kernel takes ports for outgoing
// connections (32768 on Linux): a replica that comes back must not find one of those on its port.
func freePort() (int, error) {
	for range 100 {
		port := 15000 + rand.IntN(15000)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			return port, l.Close()
		}
	}
	return 0, errors.New("no free port between 15000 and 30000")
}

// until polls a condition. When the time is up it returns what the condition last complained about.
func until(ctx context.Context, limit time.Duration, condition func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var why error
	for {
		err := condition(ctx)
		if err == nil || errors.Is(err, errEnded) {
			return err
		}
		if why == nil || ctx.Err() == nil { // the last question may have been cut short
			why = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w (waited %v)", why, limit)
		case <-tick.C:
		}
	}
}

// quick is for questions that are answered at once or not at all.
var quick = &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// getOK expects 200 from a URL.
func getOK(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := quick.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(response.Body, 200))
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", url, response.Status, strings.TrimSpace(string(body)))
	}
	return nil
}

// environment is ours without any setting of the gateway, plus what is given.
func environment(settings ...string) []string {
	var env []string
	for _, s := range os.Environ() {
		if !strings.HasPrefix(s, "GATEWAY_") {
			env = append(env, s)
		}
	}
	return append(env, settings...)
}

// buildGateway builds the server into dir. The module's root is found from wherever we run.
func buildGateway(ctx context.Context, dir string, tags string) (string, error) {
	path := filepath.Join(dir, "gateway")
	args := []string{"build", "-o", path}
	if tags != "" {
		args = append(args, "-tags", tags)
	}
	out, err := exec.CommandContext(ctx, "go", append(args, "sluice/cmd/gateway")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build sluice/cmd/gateway: %w\n%s", err, out)
	}
	return path, nil
}

// errMissing marks a program that is not installed.
var errMissing = errors.New("not installed")

// find looks a program up, also where Debian keeps servers.
func find(program string) (string, error) {
	for _, name := range []string{program, "/usr/sbin/" + program, "/usr/local/sbin/" + program} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: %w", program, errMissing)
}
