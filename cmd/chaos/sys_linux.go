package main

import (
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// spawner starts processes from one thread that lives as long as the program: the kernel sends Pdeathsig when the
// thread that started a process ends, not when the program does.
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

// spawn starts cmd so that it ends with us, whatever ends us, and does not get the terminal's Ctrl-C itself.
// gently is for programs whose own children would survive if they were killed; a stopped process needs the other way.
func spawn(cmd *exec.Cmd, gently bool) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if gently {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGTERM
	}
	started := make(chan error)
	spawner() <- func() { started <- cmd.Start() }
	return <-started
}

func pause(p *os.Process) error    { return p.Signal(syscall.SIGSTOP) }
func unpause(p *os.Process) error  { return p.Signal(syscall.SIGCONT) }
func hangUp(p *os.Process) error   { return p.Signal(syscall.SIGHUP) }
func askToEnd(p *os.Process) error { return p.Signal(syscall.SIGTERM) }

// smallReceiveBuffer is set before the connection exists: a window once offered is never taken back.
func smallReceiveBuffer(_, _ string, conn syscall.RawConn) error {
	var err error
	if e := conn.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096)
	}); e != nil {
		return e
	}
	return err
}
