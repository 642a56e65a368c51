//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
)

// proc is a process that we started. It is ended by its own pid; nothing else is ever signalled.
type proc struct {
	name string
	cmd  *exec.Cmd
	in   io.WriteCloser // its standard input; nil for programs that are not ours
	out  io.Reader      // its standard output; likewise
	log  string         // file with everything else it says
	done chan struct{}  // closed when it has been waited for
	err  error          // how it ended; valid once done is closed
}

func (p *proc) pid() int { return p.cmd.Process.Pid }

// procs starts processes and ends all of them.
type procs struct {
	dir string // of the logs
	all []*proc
}

// program starts a program that runs until it is killed.
func (ps *procs) program(name string, env []string, path string, args ...string) (*proc, error) {
	return ps.start(name, env, false, path, args...)
}

// role starts this program again in one of its roles, with pipes to talk to it.
func (ps *procs) role(name, role string) (*proc, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return ps.start(name, plainEnvironment(), true, self, "-role", role)
}

func (ps *procs) start(name string, env []string, piped bool, path string, args ...string) (*proc, error) {
	p := &proc{name: name, log: filepath.Join(ps.dir, name+".log"), done: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the process has its own
	p.cmd = exec.Command(path, args...)
	p.cmd.Env, p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = env, ps.dir, log, log
	var theirs *os.File // end of the pipe that its output goes into
	if piped {
		ours, pipe, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		// Not StdoutPipe: Wait would close our end before all has been read.
		p.out, theirs, p.cmd.Stdout = ours, pipe, pipe
		defer theirs.Close()
		if p.in, err = p.cmd.StdinPipe(); err != nil {
			return nil, err
		}
	}
	if err := spawn(p.cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	ps.all = append(ps.all, p)
	return p, nil
}

// end kills all processes and waits for them.
func (ps *procs) end() {
	for _, p := range ps.all {
		_ = p.cmd.Process.Kill() // it may have ended by itself
	}
	for _, p := range ps.all {
		<-p.done
		if c, ok := p.out.(io.Closer); ok {
			_ = c.Close() // only read from
		}
	}
	ps.all = nil
}

// failed returns an error if a process has ended although nobody asked it to.
func (ps *procs) failed() error {
	for _, p := range ps.all {
		select {
		case <-p.done:
			return p.ended()
		default:
		}
	}
	return nil
}

// ended says how a process came to its end by itself.
func (p *proc) ended() error {
	text, _ := os.ReadFile(p.log) // without it we say less
	why := ""
	for line := range strings.Lines(string(text)) {
		why = strings.TrimSpace(line)
		if strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") {
			break
		}
	}
	return fmt.Errorf("%s: %w: %v: %s", p.name, errEnded, p.err, why)
}

var errEnded = errors.New("ended by itself")

// spawner starts processes from one thread that lives as long as we do: the kernel sends a process its Pdeathsig when
// the thread that started it ends.
var spawner = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range work {
			f()
		}
	}()
	return work
})

// spawn starts cmd so that it ends when we do, whatever ends us, and so that a terminal's Ctrl-C reaches only us.
func spawn(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	spawner() <- func() { started <- cmd.Start() }
	return <-started
}

// plainEnvironment is ours without what would make the programs under test run otherwise than they do for their users,
// plus settings.
func plainEnvironment(settings ...string) []string {
	var env []string
	for _, s := range os.Environ() {
		name, _, _ := strings.Cut(s, "=")
		switch {
		case strings.HasPrefix(name, "GATEWAY_"):
		case name == "GOGC", name == "GOMEMLIMIT", name == "GOMAXPROCS", name == "GODEBUG":
		default:
			env = append(env, s)
		}
	}
	return append(env, settings...)
}

// find looks a program up, also where Debian keeps servers.
func find(program string) (string, error) {
	for _, name := range []string{program, "/usr/sbin/" + program, "/usr/local/sbin/" + program} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is not installed", program)
}
