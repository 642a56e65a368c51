package kind

import (
	"fmt"
	"slices"
)

// The statuses of a task. Completed and failed are final: no report is accepted after them.
const (
	Pending    = "pending"
	Processing = "processing"
	Completed  = "completed"
	Failed     = "failed"
)

var statuses = []string{Pending, Processing, Completed, Failed}

// Progress is the state of a task. A report replaces the state before it as a whole.
type Progress struct {
	TaskID      string  `json:"taskId"`
	Progress    float64 `json:"progress"` // percent
	Status      string  `json:"status"`
	Message     string  `json:"message"`
	CurrentStep string  `json:"currentStep"`
}

// Report is what a worker says about a task.
type Report struct {
	// Progress is in percent. With some statuses it may be left out:
	//
	//	pending    it is 0
	//	completed  it is 100
	//	failed     the last progress that was reported
	Progress *float64 `json:"progress"`
	// Status may be left out: it is completed at 100 percent, processing below.
	Status      string `json:"status"`
	Message     string `json:"message"`
	CurrentStep string `json:"currentStep"`
}

// taskPrefix begins the name of a task's channel; the task's id follows.
const taskPrefix = "progress:"

// TaskChannel returns the channel of a task's states.
func TaskChannel(taskID string) string { return taskPrefix + taskID }

// maxTaskIDLength is the greatest length of a task's id, in bytes: the name of its channel must not be too long either.
const maxTaskIDLength = MaxChannelLength - len(taskPrefix)

// CheckTaskID reports, as an *[InvalidError], why id cannot be the id of a task.
func CheckTaskID(id string) error {
	if id == "" || len(id) > maxTaskIDLength || !hasNameCharacters(id) {
		return invalid("invalid_task",
			fmt.Sprintf("A task's id consists of 1 to %d %s", maxTaskIDLength, NameCharacters))
	}
	return nil
}

// Draft checks the report and makes an event of it. Its errors are *[InvalidError].
func (r Report) Draft(taskID string) (Draft, error) {
	if err := CheckTaskID(taskID); err != nil {
		return Draft{}, err
	}
	state := Progress{TaskID: taskID, Status: r.Status, Message: r.Message, CurrentStep: r.CurrentStep}
	switch {
	case r.Progress != nil:
		state.Progress = *r.Progress
	case r.Status == Completed:
		state.Progress = 100
	case r.Status == Pending, r.Status == Failed:
	default:
		return Draft{}, Missing("progress")
	}
	if state.Progress < 0 || state.Progress > 100 {
		return Draft{}, invalid("invalid_progress", "progress is a number from 0 to 100", "progress")
	}
	if state.Status == "" {
		state.Status = Processing
		if state.Progress == 100 {
			state.Status = Completed
		}
	}
	if !slices.Contains(statuses, state.Status) {
		return Draft{}, oneOf("invalid_status", "status", statuses)
	}
	d := Draft{
		Channel: TaskChannel(taskID), Type: state.Status, Data: marshal(state), Progress: string(marshal(state.Progress)),
		Final: state.Status == Completed || state.Status == Failed,
	}
	if r.Progress == nil && r.Status == Failed {
		const head = `{"taskId":"` // the id has no character that JSON escapes
		d.Data, d.Progress = marshal(failure{taskID, state.Status, state.Message, state.CurrentStep}), ""
		d.Fill, d.FillAt = FillProgress, len(head+taskID+`",`)
	}
	return d, nil
}

// failure is a [Progress] without the progress. Redis inserts the last progress that was reported after the task's id.
type failure struct {
	TaskID      string `json:"taskId"`
	Status      string `json:"status"`
	Message     string `json:"message"`
	CurrentStep string `json:"currentStep"`
}
