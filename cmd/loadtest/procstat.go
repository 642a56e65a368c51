//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ticks is how many units of time in /proc make a second: USER_HZ, which is 100 on every Linux that Go supports.
const ticks = 100

// cpu is processor time.
type cpu struct {
	total  time.Duration // user and system time of all threads, also of those that have ended
	user   time.Duration // measured in hundredths of a second
	system time.Duration
}

func (c cpu) minus(d cpu) cpu {
	return cpu{total: c.total - d.total, user: c.user - d.user, system: c.system - d.system}
}

func (c cpu) plus(d cpu) cpu {
	return cpu{total: c.total + d.total, user: c.user + d.user, system: c.system + d.system}
}

// cpuOf returns the processor time that processes have used. The total comes from the CPU clock of each process
// (clock_getcpuclockid(3)). It is the sum of utime and stime in /proc/PID/stat, but not rounded to hundredths of a
// second.
func cpuOf(pids ...int) (cpu, error) {
	var sum cpu
	for _, pid := range pids {
		var ts unix.Timespec
		const schedClock = 2 // CPUCLOCK_SCHED of include/linux/posix-timers_types.h
		if err := unix.ClockGettime(int32(^pid)<<3|schedClock, &ts); err != nil {
			return cpu{}, fmt.Errorf("CPU clock of process %d: %w", pid, err)
		}
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return cpu{}, err
		}
		user, system, err := parseStat(text)
		if err != nil {
			return cpu{}, err
		}
		sum = sum.plus(cpu{total: time.Duration(ts.Nano()), user: user, system: system})
	}
	return sum, nil
}

// parseStat returns utime and stime of a /proc/PID/stat.
func parseStat(text []byte) (user, system time.Duration, err error) {
	// The second field is the program's name in parentheses. It may contain spaces and parentheses, so fields are counted
	// from its end.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 13 {
		return 0, 0, fmt.Errorf("not a /proc/PID/stat: %.80q", text)
	}
	u, err1 := strconv.ParseInt(string(fields[11]), 10, 64)
	s, err2 := strconv.ParseInt(string(fields[12]), 10, 64)
	const tick = time.Second / ticks
	return time.Duration(u) * tick, time.Duration(s) * tick, errors.Join(err1, err2)
}

// memory is how much memory processes use, in bytes. Kernel memory, such as the buffers of sockets, is not in it.
type memory struct {
	pss int64 // a page that several processes share is divided by their number
	rss int64 // a shared page counts fully
}

// memoryOf returns the memory of processes, together.
func memoryOf(pids ...int) (memory, error) {
	var sum memory
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			return memory{}, err
		}
		m, err := parseRollup(string(text))
		if err != nil {
			return memory{}, fmt.Errorf("process %d: %w", pid, err)
		}
		sum.pss += m.pss
		sum.rss += m.rss
	}
	return sum, nil
}

// parseRollup reads a /proc/PID/smaps_rollup.
func parseRollup(text string) (memory, error) {
	m := memory{pss: -1, rss: -1}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) != 3 || fields[2] != "kB" {
			continue
		}
		kib, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			return memory{}, err
		}
		switch fields[0] {
		case "Rss:":
			m.rss = kib << 10
		case "Pss:":
			m.pss = kib << 10
		}
	}
	if m.pss < 0 || m.rss < 0 {
		return memory{}, errors.New("smaps_rollup has no Rss or no Pss")
	}
	return m, nil
}

// descriptors returns how many file descriptors processes have open.
func descriptors(pids ...int) (int, error) {
	n := 0
	for _, pid := range pids {
		entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		if err != nil {
			return 0, err
		}
		n += len(entries)
	}
	return n, nil
}

// machineBusy returns how long the machine's cores have worked, for any process, and how much of their time the host of
// a virtual machine has given to others.
func machineBusy() (busy, stolen time.Duration, err error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, err
	}
	return parseMachineStat(string(text))
}

// parseMachineStat reads the first line of /proc/stat: proc_stat(5).
func parseMachineStat(text string) (busy, stolen time.Duration, err error) {
	line, _, _ := strings.Cut(text, "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0, 0, fmt.Errorf("not a /proc/stat: %.80q", line)
	}
	for i, field := range fields[1:9] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, 0, err
		}
		span := time.Duration(n) * time.Second / ticks
		switch i {
		case 3, 4: // idle, iowait
		case 7:
			stolen = span
		default: // user, nice, system, irq, softirq
			busy += span
		}
	}
	return busy, stolen, nil
}

// fileLimit returns how many file descriptors a process may have that this one starts. It is the hard limit: Go raises
// the soft limit to it.
func fileLimit() int {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return 1024
	}
	return int(min(limit.Max, 1<<20))
}
