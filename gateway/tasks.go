package gateway

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"sluice/store"
	"sluice/store/kind"
)

// maxTaskName bounds a task's name, in bytes.
const maxTaskName = 200

// createTask begins a task that a worker elsewhere will report on.
func (s *Server) createTask(c echo.Context) error {
	var task struct {
		TaskID   string `json:"taskId"`
		TaskName string `json:"taskName"`
	}
	if err := s.decode(c, &task); err != nil {
		return err
	}
	e, taskID, err := s.beginTask(c, task.TaskID, task.TaskName)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusCreated, struct {
		Success bool            `json:"success"`
		TaskID  string          `json:"taskId"`
		State   json.RawMessage `json:"state"`
	}{true, taskID, e.Data})
}

// startTask begins a simulated task, which this replica carries out.
func (s *Server) startTask(c echo.Context) error {
	var task struct {
		TaskName string `json:"taskName"`
	}
	if err := s.decode(c, &task); err != nil {
		return err
	}
	if strings.TrimSpace(task.TaskName) == "" {
		return missing("taskName")
	}
	e, taskID, err := s.beginTask(c, "", task.TaskName)
	if err != nil {
		return err
	}
	if c.Response().Header().Get("Idempotent-Replayed") == "" {
		s.tasks.simulate(taskID, task.TaskName)
	} else { // the answer is the first one's
		var first kind.Progress
		if err := json.Unmarshal(e.Data, &first); err != nil {
			return fmt.Errorf("state of task %q: %w", taskID, err)
		}
		task.TaskName = first.Message
	}
	return c.JSON(http.StatusAccepted, struct {
		Success  bool   `json:"success"`
		TaskID   string `json:"taskId"`
		TaskName string `json:"taskName"`
		Stream   string `json:"stream"`
	}{true, taskID, task.TaskName, "/api/sse/progress/" + taskID})
}

// beginTask publishes a task's first state. Without an id the task gets one: random, or, with an Idempotency-Key, made
// from it, so that a repeated call finds the first one's channel (and there its result).
func (s *Server) beginTask(c echo.Context, taskID, taskName string) (store.Event, string, error) {
	if len(taskName) > maxTaskName {
		return store.Event{}, "", badRequest("invalid_field", fmt.Sprintf("taskName has at most %d bytes", maxTaskName), "taskName")
	}
	if taskID == "" {
		key, err := idempotencyKey(c)
		if err != nil {
			return store.Event{}, "", err
		}
		taskID = strings.ToLower(rand.Text()[:20])
		if key != "" {
			sum := sha256.Sum256([]byte(key))
			taskID = "k" + hex.EncodeToString(sum[:12])
		}
	}
	d, err := kind.Report{Status: kind.Pending, Message: taskName, CurrentStep: "Waiting"}.Draft(taskID)
	if err != nil {
		return store.Event{}, "", err
	}
	e, err := s.publish(c, d, store.AppendOptions{IfNew: true})
	return e, taskID, err
}

// getTask shows a task's state.
func (s *Server) getTask(c echo.Context) error {
	taskID, err := taskParam(c)
	if err != nil {
		return err
	}
	h, err := s.store.History(c.Request().Context(), kind.TaskChannel(taskID))
	if err != nil {
		return err
	}
	state := h.Last(1)
	if len(state) == 0 {
		return errNoTask
	}
	c.Response().Header().Set("Cache-Control", "no-store")
	return c.JSONBlob(http.StatusOK, state[0].Data)
}

// reportProgress takes a worker's report.
func (s *Server) reportProgress(c echo.Context) error {
	taskID, err := taskParam(c)
	if err != nil {
		return err
	}
	var r kind.Report
	if err := s.decode(c, &r); err != nil {
		return err
	}
	d, err := r.Draft(taskID)
	if err != nil {
		return err
	}
	e, err := s.publish(c, d, store.AppendOptions{})
	if err != nil {
		return err
	}
	return c.JSONBlob(http.StatusOK, e.Data)
}

// tasks carries out simulated tasks. It is safe for concurrent use.
type tasks struct {
	store *store.Store
	log   *slog.Logger
	step  time.Duration

	running sync.WaitGroup
	ctx     context.Context // ends what is still running
	stop    context.CancelFunc
}

func newTasks(s *store.Store, log *slog.Logger) *tasks {
	ctx, stop := context.WithCancel(context.Background())
	return &tasks{store: s, log: log, step: time.Second, ctx: ctx, stop: stop}
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

// simulate carries out one task, a step a second, in a goroutine of its own.
func (t *tasks) simulate(taskID, taskName string) {
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
func (t *tasks) report(ctx context.Context, taskID string, r kind.Report) error {
	d, err := r.Draft(taskID)
	if err != nil {
		return err
	}
	key := rand.Text() // so that a try whose answer was lost is not repeated
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
func (t *tasks) fail(taskID, taskName string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.ctx), 2*time.Second)
	defer cancel()
	r := kind.Report{Status: kind.Failed, Message: taskName + ": the replica was stopped", CurrentStep: "Stopped"}
	if err := t.report(ctx, taskID, r); err != nil {
		t.log.Warn("end of a simulated task not published", "task", taskID, "error", err)
	}
}

// wait returns when all tasks are done; those that are not by the end of ctx fail.
func (t *tasks) wait(ctx context.Context) {
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
