package store

import "slices"

// Activity is what a publisher says of something a user did. The stored and delivered one has "id" and "timestamp" too.
type Activity struct {
	Type     string `json:"type"` // one of ActivityTypes
	UserID   string `json:"userId"`
	UserName string `json:"userName"`
	Action   string `json:"action"`
	Details  string `json:"details"`
}

// ActivityTypes are the types an activity can have.
var ActivityTypes = []string{"user_joined", "post_created", "comment_added", "file_uploaded", "task_completed"}

// Draft checks the activity and makes an event of it. Its errors are *InvalidError.
func (a Activity) Draft() (Draft, error) {
	if err := requireFields("type", a.Type, "userName", a.UserName, "action", a.Action); err != nil {
		return Draft{}, err
	}
	if !slices.Contains(ActivityTypes, a.Type) {
		return Draft{}, invalid("invalid_type",
			"type is one of user_joined, post_created, comment_added, file_uploaded, task_completed", "type")
	}
	return Draft{Channel: Activities, Type: a.Type, Data: marshal(a), Fill: FillID}, nil
}
