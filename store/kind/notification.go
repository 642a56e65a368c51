package kind

import (
	"bytes"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
)

// Notification is a notification as a publisher sends it. The stored and delivered one also has "id" and "timestamp".
type Notification struct {
	Type     string   `json:"type"` // info, success, warning or error
	Title    string   `json:"title"`
	Message  string   `json:"message"`
	Read     bool     `json:"read"`               // always false when it is published
	Link     string   `json:"link,omitempty"`     // an http or https URL, or a path
	Icon     string   `json:"icon,omitempty"`     // a name that the page knows
	Priority string   `json:"priority,omitempty"` // low, normal or high
	Tags     []string `json:"tags,omitempty"`
	// User and TTL are refused, because nothing supports them yet. To ignore User would show a private notification
	// to everybody.
	User json.RawMessage `json:"user,omitempty"`
	TTL  json.RawMessage `json:"ttl,omitempty"`
}

var (
	notificationTypes = []string{"info", "success", "warning", "error"}
	priorities        = []string{"low", "normal", "high"}
)

// Draft checks the notification and makes an event of it. Its errors are *[InvalidError].
func (n Notification) Draft() (Draft, error) {
	if err := requireFields("type", n.Type, "title", n.Title, "message", n.Message); err != nil {
		return Draft{}, err
	}
	switch {
	case !slices.Contains(notificationTypes, n.Type):
		return Draft{}, oneOf("invalid_type", "type", notificationTypes)
	case n.Priority != "" && !slices.Contains(priorities, n.Priority):
		return Draft{}, oneOf("invalid_field", "priority", priorities)
	case !isLink(n.Link):
		return Draft{}, invalid("invalid_field", "link is an http or https URL, or a path that starts with /", "link")
	case n.User != nil:
		return Draft{}, invalid("unsupported_field", "Notifications for one user are not supported yet", "user")
	case n.TTL != nil:
		return Draft{}, invalid("unsupported_field", "A ttl of one notification is not supported yet", "ttl")
	}
	n.Read = false
	return Draft{Channel: Notifications, Type: n.Type, Data: marshal(n), Fill: FillID, FillAt: afterBrace}, nil
}

// textNotification returns the data of a raw message that is plain text: an info notification with the text as its
// message. It returns nil for a text that begins with a brace, because its publisher meant an object.
func textNotification(payload []byte) []byte {
	text := bytes.TrimSpace(payload)
	if len(text) == 0 || text[0] == '{' {
		return nil
	}
	return marshal(Notification{Type: "info", Title: "Notification", Message: string(text)})
}

// isLink reports whether a page may use link as the target of a link. A javascript: URL, for example, must never become
// one. The empty link is valid.
func isLink(link string) bool {
	if link == "" {
		return true
	}
	u, err := url.Parse(link)
	if err != nil {
		return false
	}
	if u.Scheme == "" {
		return strings.HasPrefix(link, "/") && !strings.HasPrefix(link, "//") && !strings.HasPrefix(link, `/\`)
	}
	return (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}
