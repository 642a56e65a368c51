package rig_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"sluice/cmd/internal/rig"
	"sluice/cmd/internal/rig/rigtest"
)

// asParent has the test binary start a process that waits, print its id, and wait itself.
const asParent = "SLUICE_TEST_RIG_PARENT"

func TestMain(m *testing.M) {
	if dir := os.Getenv(asParent); dir != "" {
		path, err := rig.Find("sleep")
		if err != nil {
			panic(err)
		}
		p, err := rig.NewGroup(dir).Start(rig.Command{Name: "child", Path: path, Args: []string{"600"}})
		if err != nil {
			panic(err)
		}
		fmt.Fprintln(os.Stdout, p.Pid())
		select {}
	}
	os.Exit(m.Run())
}

// shell starts a shell script, which may call sleep.
func shell(t *testing.T, g *rig.Group, name, script string) *rig.Process {
	t.Helper()
	rigtest.Need(t, "sleep")
	p, err := g.Start(rig.Command{
		Name: name, Path: rigtest.Need(t, "sh"), Args: []string{"-c", script}, Env: rig.Environment(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func group(t *testing.T) *rig.Group {
	t.Helper()
	g := rig.NewGroup(t.TempDir())
	t.Cleanup(g.Close)
	return g
}

// awaitEnd waits until a process has ended, and returns how.
func awaitEnd(t *testing.T, p *rig.Process) error {
	t.Helper()
	err := rig.Until(t.Context(), 10*time.Second, func(context.Context) error {
		if err := p.Ended(); err != nil {
			return err
		}
		return errors.New("it runs")
	})
	if !errors.Is(err, rig.ErrEnded) {
		t.Fatal(err)
	}
	return err
}

// awaitLog waits until a process has written something.
func awaitLog(t *testing.T, p *rig.Process, want string) {
	t.Helper()
	err := rig.Until(t.Context(), 10*time.Second, func(context.Context) error {
		text, err := p.Log()
		if err != nil {
			return err
		}
		if !strings.Contains(string(text), want) {
			return fmt.Errorf("the log is %q; want %q in it", text, want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAProcessThatDiesIsNamedWithTheReason(t *testing.T) {
	g := group(t)
	p := shell(t, g, "victim", "echo 'panic: something broke' >&2; echo more >&2; exit 3")
	awaitEnd(t, p)
	want := "victim: ended by itself: exit status 3: panic: something broke"
	for what, err := range map[string]error{"Ended": p.Ended(), "Failed": g.Failed(), "Kill": p.Kill()} {
		if err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", what, err, want)
		}
	}
	if want := "victim: ended by itself: exit status 1: last"; awaitEnd(t, shell(t, g, "victim", "echo first; echo last; exit 1")).Error() != want {
		t.Errorf("got %v, want %s", g.Failed(), want)
	}
}

func TestAProcessThatWasAskedToEndHasNotFailed(t *testing.T) {
	g := group(t)
	killed, asked := shell(t, g, "killed", "exec sleep 600"), shell(t, g, "asked", "trap 'exit 0' TERM; echo up; while :; do sleep 0.01; done")
	awaitLog(t, asked, "up")
	if err := g.Failed(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(killed.Kill(), asked.Terminate(10*time.Second)); err != nil {
		t.Fatal(err)
	}
	if err := g.Failed(); err != nil {
		t.Error(err)
	}
	if killed.Ended() == nil || asked.Ended() == nil {
		t.Error("a process that has ended is said to run")
	}
}

func TestAProcessThatEndsBadlyAfterSIGTERMIsAnError(t *testing.T) {
	g := group(t)
	p := shell(t, g, "sulky", "trap 'exit 7' TERM; echo up; while :; do sleep 0.01; done")
	awaitLog(t, p, "up")
	if err := p.Terminate(10 * time.Second); err == nil || !strings.Contains(err.Error(), "exit status 7") {
		t.Errorf("got %v, want the exit code", err)
	}
	p = shell(t, g, "deaf", "trap '' TERM; echo up; while :; do sleep 0.01; done")
	awaitLog(t, p, "up")
	if err := p.Terminate(50 * time.Millisecond); err == nil || !strings.Contains(err.Error(), "did not end within 50ms") {
		t.Errorf("got %v, want that it did not end", err)
	}
	if p.Ended() == nil {
		t.Error("a process that ignores SIGTERM is left running")
	}
}

func TestTheLogOfARestartedProcessBeginsAnew(t *testing.T) {
	g := group(t)
	awaitEnd(t, shell(t, g, "twice", "echo one"))
	second := shell(t, g, "twice", "echo two >&2")
	awaitEnd(t, second)
	if text, err := second.Log(); err != nil || string(text) != "two\n" {
		t.Errorf("the log of the second process is %q, %v", text, err)
	}
	whole, err := os.ReadFile(filepath.Join(g.Dir(), "twice.log"))
	if err != nil || !strings.Contains(string(whole), "one\n") || strings.Count(string(whole), "--- ") != 2 {
		t.Errorf("the file is %q, %v; want both processes, each with a headline", whole, err)
	}
}

func TestPipesAreTheProcesssInputAndOutput(t *testing.T) {
	g := group(t)
	p, err := g.Start(rig.Command{Name: "echo", Path: rigtest.Need(t, "cat"), Pipes: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintln(p.In, "there and back"); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(p.Out).ReadString('\n'); line != "there and back\n" {
		t.Errorf("got %q, %v", line, err)
	}
	_ = p.In.Close()
	awaitEnd(t, p)
}

func TestAMissingProgramIsAnError(t *testing.T) {
	if _, err := group(t).Start(rig.Command{Name: "none", Path: "/no/such/program", Pipes: true}); err == nil || !strings.Contains(err.Error(), "start none") {
		t.Errorf("got %v", err)
	}
	if _, err := rig.Find("no-such-program"); !errors.Is(err, rig.ErrMissing) || err.Error() != "no-such-program is not installed" {
		t.Errorf("got %v", err)
	}
}

func TestCloseEndsEveryProcess(t *testing.T) {
	g := rig.NewGroup(t.TempDir())
	gentle, err := g.Start(rig.Command{
		Name: "gentle", Path: rigtest.Need(t, "sh"), Gently: true,
		Args: []string{"-c", "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.01; done"},
	})
	if err != nil {
		t.Fatal(err)
	}
	awaitLog(t, gentle, "up")
	others := []*rig.Process{shell(t, g, "a", "exec sleep 600"), shell(t, g, "b", "exit 1")}
	if runtime.GOOS == "linux" {
		paused := shell(t, g, "paused", "exec sleep 600")
		if err := paused.Pause(); err != nil {
			t.Fatal(err)
		}
		others = append(others, paused)
	}
	g.Close()
	for _, p := range append(others, gentle) {
		if p.Ended() == nil {
			t.Errorf("process %d still runs", p.Pid())
		}
	}
	awaitLog(t, gentle, "bye")
}

func TestAKilledParentLeavesNoProcessBehind(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux ends a process with its parent")
	}
	rigtest.Need(t, "sleep")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	g := group(t)
	parent, err := g.Start(rig.Command{Name: "parent", Path: self, Env: append(os.Environ(), asParent+"="+t.TempDir()), Pipes: true})
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(parent.Out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	stat := "/proc/" + strings.TrimSpace(line) + "/stat"
	runs := func() bool { // a zombie has ended; whoever inherits it may take a while to ask how
		text, err := os.ReadFile(stat)
		return err == nil && strings.Contains(string(text), "(sleep)") && !strings.Contains(string(text), ") Z ")
	}
	err = rig.Until(t.Context(), 10*time.Second, func(context.Context) error {
		if !runs() {
			return errors.New("the child does not run")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Kill(); err != nil {
		t.Fatal(err)
	}
	err = rig.Until(t.Context(), 10*time.Second, func(context.Context) error {
		if runs() {
			return errors.New("the child outlives its parent")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
