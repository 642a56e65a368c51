// Package storetest starts the Redis servers that tests run against: miniredis, which needs nothing, and a real
// redis-server. Without a redis-server on the machine a test that asks for one is skipped, or fails where CI=true.
//
// cmd/internal/rig starts redis-servers as well, for the commands and their tests. This package cannot use it: only
// packages below cmd may import it, and imports go from cmd down to store. So the few lines that start a process and
// wait for its first answer stand in both.
package storetest

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// Server is a Redis server of one test.
type Server struct {
	Addr string // host:port
	Mini *miniredis.Miniredis
	Real *Process
}

// Client returns a client of the server, closed with the test.
func (s *Server) Client(t testing.TB) *redis.Client {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: s.Addr, ContextTimeoutEnabled: true, DialerRetries: 1})
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// Each runs test against miniredis and against a real redis-server, each of them empty.
func Each(t *testing.T, test func(t *testing.T, s *Server)) {
	t.Helper()
	t.Run("miniredis", func(t *testing.T) { test(t, Mini(t)) })
	t.Run("redis-server", func(t *testing.T) { test(t, Real(t)) })
}

// Mini starts a miniredis with the settings of the gateway's embedded one.
func Mini(t testing.TB) *Server {
	t.Helper()
	m := miniredis.NewMiniRedis()
	m.ClockTTL(true)
	if err := m.Start(); err != nil {
		t.Fatalf("start miniredis: %v", err)
	}
	t.Cleanup(m.Close)
	return &Server{Addr: m.Addr(), Mini: m}
}

// Process is a redis-server process.
type Process struct {
	dir  string
	args []string
	addr string

	mu  sync.Mutex
	cmd *exec.Cmd // nil while it is stopped; guarded by mu
}

// Real starts a redis-server with extra arguments on a free port; it is killed with the test.
func Real(t testing.TB, args ...string) *Server {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("redis-server is not installed, and CI=true requires it")
		}
		t.Skip("redis-server is not installed")
	}
	addr := freeAddr(t)
	_, port, _ := net.SplitHostPort(addr)
	dir := t.TempDir()
	p := &Process{dir: dir, addr: addr, args: append([]string{
		path, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", dir,
	}, args...)}
	p.Start(t)
	t.Cleanup(p.Kill)
	return &Server{Addr: addr, Real: p}
}

// Start starts the process, again with the same data directory and port, and returns when it takes commands.
func (p *Process) Start(t testing.TB) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	cmd := exec.Command(p.args[0], p.args[1:]...)
	logFile, err := os.OpenFile(filepath.Join(p.dir, "redis.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatalf("log of redis-server: %v", err)
	}
	defer logFile.Close() // the process has its own copy
	cmd.Stdout, cmd.Stderr = logFile, logFile
	if err := cmd.Start(); err != nil {
		t.Fatalf("start redis-server: %v", err)
	}
	p.cmd = cmd
	deadline := time.Now().Add(10 * time.Second)
	for !answersPing(p.addr) {
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(filepath.Join(p.dir, "redis.log"))
			t.Fatalf("redis-server on %s does not answer:\n%s", p.addr, text)
		}
		time.Sleep(5 * time.Millisecond) // between two tries of a poll
	}
}

// Kill ends the process at once (SIGKILL) and waits for its end.
func (p *Process) Kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	p.cmd = nil
}

// Signal sends the process a signal, for example SIGSTOP.
func (p *Process) Signal(t testing.TB, sig os.Signal) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatalf("signal redis-server: %v", err)
	}
}

func answersPing(addr string) bool {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	if _, err := fmt.Fprint(conn, "*1\r\n$4\r\nPING\r\n"); err != nil {
		return false
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	return err == nil && strings.HasPrefix(line, "+PONG")
}

// freeAddr returns a loopback address that nobody listened on a moment ago.
func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("find a free port: %v", err)
	}
	defer l.Close()
	return l.Addr().String()
}
