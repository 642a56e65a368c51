package gateway

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"sluice/store"
	"sluice/store/kind"
)

// maxTaskName bounds the name of a task, in bytes.
const maxTaskName = 200

// createTask begins a task. A worker outside of the gateway reports on it.
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

// startTask begins a simulated task. This replica carries it out.
func (s *Server) startTask(c echo.Context) error {
	var task struct {
		TaskName string `json:"taskName"`
	}
	if err := s.decode(c, &task); err != nil {
		return err
	}
	if strings.TrimSpace(task.TaskName) == "" {
		return kind.Missing("taskName")
	}
	e, taskID, err := s.beginTask(c, "", task.TaskName)
	if err != nil {
		return err
	}
	if c.Response().Header().Get("Idempotent-Replayed") == "" {
		s.tasks.Simulate(taskID, task.TaskName)
	} else { // an earlier request with the same key began it, maybe with another name
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

// beginTask publishes the first state of a task, and returns its event and the task's id. A task without an id gets a random
// one. With an Idempotency-Key the id is a hash of the key and its sender, so that a repeated request finds the same task; it is
// as hard to guess as the key.
func (s *Server) beginTask(c echo.Context, taskID, taskName string) (store.Event, string, error) {
	if len(taskName) > maxTaskName {
		return store.Event{}, "", badRequest("invalid_field", fmt.Sprintf("taskName has at most %d bytes", maxTaskName), "taskName")
	}
	if taskID == "" {
		key, err := s.idempotencyKey(c)
		if err != nil {
			return store.Event{}, "", err
		}
		taskID = strings.ToLower(rand.Text()) // 130 bits: who knows it was told it
		if key != "" {
			sum := sha256.Sum256([]byte(key))
			taskID = "k" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:16]))
		}
	}
	d, err := kind.Report{Status: kind.Pending, Message: taskName, CurrentStep: "Waiting"}.Draft(taskID)
	if err != nil {
		return store.Event{}, "", err
	}
	e, err := s.publish(c, d, store.AppendOptions{IfNew: true})
	return e, taskID, err
}

// getTask answers with the state of a task.
func (s *Server) getTask(c echo.Context) error {
	taskID, err := taskParam(c)
	if err != nil {
		return err
	}
	if err := s.mayRead(c, kind.TaskChannel(taskID)); err != nil {
		return err
	}
	h, err := s.store.Newest(c.Request().Context(), kind.TaskChannel(taskID), 1)
	if err != nil {
		return err
	}
	state := h.Events
	if len(state) == 0 {
		return errNoTask
	}
	c.Response().Header().Set("Cache-Control", "no-store")
	return c.JSONBlob(http.StatusOK, state[0].Data)
}

// reportProgress publishes a worker's report on a task.
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
