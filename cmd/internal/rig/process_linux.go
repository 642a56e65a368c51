package rig

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// spawner starts processes from one operating system thread that lives as long as this program. The kernel sends
// Pdeathsig when the thread that started a process ends, which may be long before the program ends.
var spawner = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() { // ends with the program, on purpose
		runtime.LockOSThread()
		for f := range work {
			f()
		}
	}()
	return work
})

// spawn starts cmd so that it ends when this program ends, whatever the reason, and so that a terminal's Ctrl-C reaches
// only this program.
func spawn(cmd *exec.Cmd, gently bool) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if gently {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGTERM
	}
	started := make(chan error)
	spawner() <- func() { started <- cmd.Start() }
	return <-started
}

// Pause stops the process where it is (SIGSTOP) until Resume.
func (p *Process) Pause() error { return p.cmd.Process.Signal(syscall.SIGSTOP) }

// Resume lets a paused process go on (SIGCONT).
func (p *Process) Resume() error { return p.cmd.Process.Signal(syscall.SIGCONT) }
