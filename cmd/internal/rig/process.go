package rig

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// Process is a process that a Group has started. It is safe for concurrent use.
type Process struct {
	In  io.WriteCloser // its standard input, with Command.Pipes
	Out io.ReadCloser  // its standard output, with Command.Pipes; Group.Close closes it

	name     string
	cmd      *exec.Cmd
	gently   bool
	log      string // path
	logStart int64  // where in the log the output of this process begins

	asked atomic.Bool   // to end
	done  chan struct{} // closed when the process has ended
	err   error         // how it ended; valid once done is closed
}

// pipe makes In and Out. The returned function closes the ends that the started process has copies of.
func (p *Process) pipe() (closeTheirs func(), err error) {
	// Not exec.Cmd's StdoutPipe: Wait would close our end before everything is read.
	ours, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, errors.Join(err, ours.Close(), theirs.Close())
	}
	p.In, p.Out, p.cmd.Stdout = in, ours, theirs
	return func() { _ = theirs.Close() }, nil
}

// Pid returns the process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Kill ends the process by SIGKILL, also while it is paused, and waits for its end. It returns the error of Ended if
// the process had ended before.
func (p *Process) Kill() error {
	if err := p.Ended(); err != nil {
		return err
	}
	p.asked.Store(true)
	err := p.cmd.Process.Kill()
	<-p.done
	return err
}

// Terminate asks the process to end by SIGTERM and waits for that. It returns an error if the process ends with
// another exit code than 0, or does not end within limit: then it is killed.
func (p *Process) Terminate(limit time.Duration) error {
	if err := p.Ended(); err != nil {
		return err
	}
	p.asked.Store(true)
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("signal %s: %w", p.name, err)
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.done:
		if p.err != nil {
			return fmt.Errorf("%s ended with %w after SIGTERM", p.name, p.err)
		}
		return nil
	case <-timer.C:
		_ = p.Kill() // the error below says that this was necessary
		return fmt.Errorf("%s did not end within %v after SIGTERM", p.name, limit)
	}
}

// ErrEnded is in the error of a process that has ended. Nobody should go on waiting for it.
var ErrEnded = errors.New("ended by itself")

// Ended returns nil while the process runs. Afterwards it returns an error that wraps ErrEnded and says how the process
// ended, with the line of its log that tells most: that of a panic, or the last one.
func (p *Process) Ended() error {
	select {
	case <-p.done:
	default:
		return nil
	}
	text, _ := p.Log() // without the log the error says less
	why := ""
	for line := range strings.Lines(string(text)) {
		why = strings.TrimSpace(line)
		if strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") {
			break
		}
	}
	return fmt.Errorf("%s: %w: %v: %s", p.name, ErrEnded, p.cmd.ProcessState, why)
}

// Log returns what this process has written to its log so far. What earlier processes of the same name wrote is not
// in it.
func (p *Process) Log() ([]byte, error) {
	log, err := os.Open(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	return io.ReadAll(io.NewSectionReader(log, p.logStart, math.MaxInt64-p.logStart))
}
