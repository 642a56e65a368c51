package kind

import "slices"

// Activity is what a user did, as a publisher sends it. The stored and delivered one also has "id" and "timestamp".
type Activity struct {
	Type     string `json:"type"` // user_joined, post_created, comment_added, file_uploaded or task_completed
	UserID   string `json:"userId"`
	UserName string `json:"userName"`
	Action   string `json:"action"`
	Details  string `json:"details"`
}

var activityTypes = []string{"user_joined", "post_created", "comment_added", "file_uploaded", "task_completed"}

// Draft checks the activity and makes an event of it. Its errors are *[InvalidError].
func (a Activity) Draft() (Draft, error) {
	if err := requireFields("type", a.Type, "userName", a.UserName, "action", a.Action); err != nil {
		return Draft{}, err
	}
	if !slices.Contains(activityTypes, a.Type) {
		return Draft{}, oneOf("invalid_type", "type", activityTypes)
	}
	return Draft{Channel: Activities, Type: a.Type, Data: marshal(a), Fill: FillID, FillAt: afterBrace}, nil
}
