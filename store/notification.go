package store

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
)

// Notification is what a publisher says of a notification. The stored and delivered one has "id" and "timestamp" too.
type Notification struct {
	Type     string   `json:"type"` // info, success, warning or error
	Title    string   `json:"title"`
	Message  string   `json:"message"`
	Read     bool     `json:"read"`               // always false when it is published
	Link     string   `json:"link,omitempty"`     // http(s) URL or path
	Icon     string   `json:"icon,omitempty"`     // a name the page knows
	Priority string   `json:"priority,omitempty"` // low, normal or high
	Tags     []string `json:"tags,omitempty"`
	// User and TTL wait for the inbox. Until then they are refused: ignoring "user" would show a private
	// notification to everybody.
	User json.RawMessage `json:"user,omitempty"`
	TTL  json.RawMessage `json:"ttl,omitempty"`
}

var notificationTypes = []string{"info", "success", "warning", "error"}

// Draft checks the notification and makes an event of it. Its errors are *InvalidError.
func (n Notification) Draft() (Draft, error) {
	if err := requireFields("type", n.Type, "title", n.Title, "message", n.Message); err != nil {
		return Draft{}, err
	}
	switch {
	case !slices.Contains(notificationTypes, n.Type):
		return Draft{}, invalid("invalid_type", "type is one of info, success, warning, error", "type")
	case n.Priority != "" && !slices.Contains([]string{"low", "normal", "high"}, n.Priority):
		return Draft{}, invalid("invalid_field", "priority is one of low, normal, high", "priority")
	case !isLink(n.Link):
		return Draft{}, invalid("invalid_field", "link is an http or https URL, or a path that starts with /", "link")
	case n.User != nil:
		return Draft{}, invalid("unsupported_field", "Notifications for one user are not supported yet", "user")
	case n.TTL != nil:
		return Draft{}, invalid("unsupported_field", "A ttl of one notification is not supported yet", "ttl")
	}
	n.Read = false
	return Draft{Channel: Notifications, Type: n.Type, Data: marshal(n), Fill: FillID}, nil
}

// isLink keeps javascript: and the like out of what a page may make a link of.
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
