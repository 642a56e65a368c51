package rig

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// A Group starts processes and ends all of them. It is safe for concurrent use.
type Group struct {
	dir string // of the logs, and the processes' working directory

	mu  sync.Mutex
	all []*Process // guarded by mu
}

// NewGroup returns a group without processes. Their logs go to the folder dir, which must exist.
func NewGroup(dir string) *Group { return &Group{dir: dir} }

// Dir returns the folder of the logs. It is also the working directory of the processes.
func (g *Group) Dir() string { return g.dir }

// Command says what process to start.
type Command struct {
	Name string // names the process in errors, and its log: Name.log
	Path string
	Args []string // without the program's name
	Env  []string // nil: the environment of this process

	// Pipes connects the process's standard input and output to Process.In and Process.Out. Otherwise its input is
	// empty, and its output goes to the log.
	Pipes bool

	// Gently says that the process is to be ended by SIGTERM, also when this program ends. It is for a program that
	// would leave its own child processes behind if it were killed.
	Gently bool
}

// gentleLimit is how long Close waits for a process that is ended gently, before it kills it.
const gentleLimit = 2 * time.Second

// Start starts a process. What the process prints is appended to its log, below a line that says when it was started.
func (g *Group) Start(c Command) (*Process, error) {
	p := &Process{
		name: c.Name, log: filepath.Join(g.dir, c.Name+".log"), gently: c.Gently, done: make(chan struct{}),
		cmd: exec.Command(c.Path, c.Args...),
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the process has its own descriptor
	fmt.Fprintf(log, "--- %s: %s %s\n",
		time.Now().Format("15:04:05.000"), filepath.Base(c.Path), strings.Join(c.Args, " "))
	if p.logStart, err = log.Seek(0, io.SeekEnd); err != nil {
		return nil, err
	}
	p.cmd.Env, p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = c.Env, g.dir, log, log
	if c.Pipes {
		closeTheirs, err := p.pipe()
		if err != nil {
			return nil, err
		}
		defer closeTheirs()
	}
	if err := spawn(p.cmd, c.Gently); err != nil {
		if p.Out != nil {
			_ = p.Out.Close() // exec.Cmd closes its own end of the other pipe
		}
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	go func() { // ends with the process, and Close waits for it
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	g.mu.Lock()
	g.all = append(g.all, p)
	g.mu.Unlock()
	return p, nil
}

// Failed returns an error if a process has ended although neither Kill nor Terminate asked it to.
func (g *Group) Failed() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range g.all {
		if !p.asked.Load() {
			if err := p.Ended(); err != nil {
				return err
			}
		}
	}
	return nil
}

// Close ends all processes, stopped ones too, and waits for their ends. The group can be used again.
func (g *Group) Close() {
	g.mu.Lock()
	all := g.all
	g.all = nil
	g.mu.Unlock()
	for _, p := range all {
		if p.gently {
			_ = p.Terminate(gentleLimit) // how it ends does not matter any more
		}
	}
	for _, p := range all {
		p.asked.Store(true)
		_ = p.cmd.Process.Kill() // it may have ended already
	}
	for _, p := range all {
		<-p.done
		if p.Out != nil {
			_ = p.Out.Close() // only read from
		}
	}
}
