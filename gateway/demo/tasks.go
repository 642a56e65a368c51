package demo

import (
	"context"
	"crypto/rand"
	"log/slog"
	"sync"
	"time"

	"sluice/store"
	"sluice/store/kind"
)

// appender is the part of the store that a simulated task needs.
type appender interface {
	Append(ctx context.Context, d kind.Draft, o store.AppendOptions) (event store.Event, again bool, err error)
}

// Tasks carries out simulated tasks. It is safe for concurrent use.
type Tasks struct {
	store appender
	log   *slog.Logger
	step  time.Duration // between two reports

	running sync.WaitGroup
	ctx     context.Context // of all running tasks, because a task outlives the call that started it; Wait cancels it
	stop    context.CancelFunc
}

// NewTasks returns Tasks that report to s. Wait must be called at the end.
func NewTasks(s appender, log *slog.Logger) *Tasks {
	ctx, stop := context.WithCancel(context.Background())
	return &Tasks{store: s, log: log, step: time.Second, ctx: ctx, stop: stop}
}

// steps of a simulated task.
var steps = []struct {
	progress float64
	step     string
	message  string
}{
	{0, "Starting", "Getting ready"},
	{20, "Loading", "Loading the data"},
	{40, "Checking", "Checking the data"},
	{60, "Working", "Working through the data"},
	{80, "Summing up", "Putting the results together"},
	{95, "Finishing", "Nearly there"},
	{100, "Done", "Finished"},
}

// Simulate carries out one task, a step a second, and returns at once.
func (t *Tasks) Simulate(taskID, taskName string) {
	t.running.Go(func() {
		for _, st := range steps {
			r := kind.Report{Progress: &st.progress, Message: taskName + ": " + st.message, CurrentStep: st.step}
			err := t.report(t.ctx, taskID, r)
			if err == nil && st.progress < 100 {
				err = sleep(t.ctx, t.step)
			}
			if t.ctx.Err() != nil {
				t.fail(taskID, taskName)
				return
			}
			if err != nil {
				t.log.Warn("simulated task given up", "task", taskID, "error", err)
				return
			}
		}
	})
}

// report publishes a state, for up to half a minute while Redis does not answer.
func (t *Tasks) report(ctx context.Context, taskID string, r kind.Report) error {
	d, err := r.Draft(taskID)
	if err != nil {
		return err
	}
	key := rand.Text() // a try whose answer was lost may have been stored; with the key it is not stored again
	for try := 1; ; try++ {
		call, cancel := context.WithTimeout(ctx, 3*time.Second)
		_, _, err = t.store.Append(call, d, store.AppendOptions{IdempotencyKey: key})
		cancel()
		if !store.Temporary(err) || try == 30 || ctx.Err() != nil {
			return err
		}
		if err := sleep(ctx, time.Second); err != nil {
			return err
		}
	}
}

// fail tells a task's watchers that the replica stopped before the task was done.
func (t *Tasks) fail(taskID, taskName string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.ctx), 2*time.Second)
	defer cancel()
	r := kind.Report{Status: kind.Failed, Message: taskName + ": the replica was stopped", CurrentStep: "Stopped"}
	if err := t.report(ctx, taskID, r); err != nil {
		t.log.Warn("end of a simulated task not published", "task", taskID, "error", err)
	}
}

// Wait returns when all tasks are done. When ctx ends, the tasks that are still running are reported as failed.
func (t *Tasks) Wait(ctx context.Context) {
	stop := context.AfterFunc(ctx, t.stop)
	defer stop()
	t.running.Wait()
}

// sleep waits for d, or less if ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
