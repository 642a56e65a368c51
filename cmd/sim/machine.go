package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"

	"sluice/cmd/sim/internal/world"
)

// machine runs guests: each world in an instance of its own, with a clock and random numbers that the seed decides. It
// is safe for concurrent use.
type machine struct {
	runtime wazero.Runtime
	guest   wazero.CompiledModule
}

// newMachine compiles a guest. Compiling takes long the first time; the result is kept in the user's cache.
func newMachine(ctx context.Context, wasm []byte) (*machine, error) {
	config := wazero.NewRuntimeConfigCompiler()
	if dir, err := os.UserCacheDir(); err == nil {
		cache, err := wazero.NewCompilationCacheWithDir(filepath.Join(dir, "sluice-sim"))
		if err != nil {
			return nil, err
		}
		config = config.WithCompilationCache(cache)
	}
	r := wazero.NewRuntimeWithConfig(ctx, config)
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, r); err != nil {
		return nil, errors.Join(err, r.Close(ctx))
	}
	guest, err := r.CompileModule(ctx, wasm)
	if err != nil {
		return nil, errors.Join(err, r.Close(ctx))
	}
	return &machine{r, guest}, nil
}

func (m *machine) close(ctx context.Context) error { return m.runtime.Close(ctx) }

// clock counts up by a microsecond at each reading: time passes while something is done, and never by itself.
type clock struct {
	now      int64 // virtual nanoseconds
	readings int
}

const (
	tick = int64(time.Microsecond)
	// epoch is when every world begins: 2026-01-01T00:00:00Z.
	epoch = int64(1767225600)
	// readingsAtMost bounds what a world may do. Most need less than a million readings.
	readingsAtMost = 200_000_000
)

func (c *clock) read() int64 {
	c.now += tick
	if c.readings++; c.readings > readingsAtMost {
		panic(errTooLong) // wazero makes an error of it
	}
	return c.now
}

var errTooLong = errors.New("the world goes on and on")

// run lives through one world. log gets a readable log, unless it is nil.
func (m *machine) run(ctx context.Context, seed uint64, drop []int, log io.Writer) (world.Result, error) {
	c := &clock{}
	args := []string{"guest", "-seed", strconv.FormatUint(seed, 10)}
	if len(drop) > 0 {
		var list []string
		for _, i := range drop {
			list = append(list, strconv.Itoa(i))
		}
		args = append(args, "-drop", strings.Join(list, ","))
	}
	var out bytes.Buffer
	last := &lastBytes{max: 8 << 10}
	said := io.Writer(last)
	if log != nil {
		said = io.MultiWriter(last, log)
	}
	key := [32]byte{0: 's', 1: 'i', 2: 'm'}
	for i := range 8 {
		key[8+i] = byte(seed >> (8 * i))
	}
	config := wazero.NewModuleConfig().WithName("").WithArgs(args...).WithStdout(&out).WithStderr(said).
		WithRandSource(rand.NewChaCha8(key)).
		WithWalltime(func() (int64, int32) {
			now := c.read()
			return epoch + now/1e9, int32(now % 1e9)
		}, sys.ClockResolution(tick)).
		WithNanotime(c.read, sys.ClockResolution(tick)).
		WithNanosleep(func(ns int64) { c.now += max(ns, 0) })
	instance, err := m.runtime.InstantiateModule(ctx, m.guest, config)
	if instance != nil {
		defer instance.Close(ctx)
	}
	if exit, ok := errors.AsType[*sys.ExitError](err); ok && exit.ExitCode() == 0 {
		err = nil
	}
	if err != nil {
		return world.Result{}, fmt.Errorf("seed %d: %w\n%s", seed, err, last.bytes)
	}
	var r world.Result
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		return r, fmt.Errorf("seed %d: %w\n%s", seed, err, last.bytes)
	}
	return r, nil
}

// lastBytes keeps the end of what is written.
type lastBytes struct {
	bytes []byte
	max   int
}

// Write never fails.
func (l *lastBytes) Write(b []byte) (int, error) {
	l.bytes = append(l.bytes, b...)
	if len(l.bytes) > 2*l.max {
		l.bytes = append(l.bytes[:0], l.bytes[len(l.bytes)-l.max:]...)
	}
	return len(b), nil
}
