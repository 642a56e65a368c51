package demo

import (
	"math/rand/v2"

	"sluice/store/kind"
)

var (
	people = []struct{ id, name string }{
		{"u-ada", "Ada Lovelace"}, {"u-grace", "Grace Hopper"}, {"u-alan", "Alan Turing"},
		{"u-edsger", "Edsger Dijkstra"}, {"u-barbara", "Barbara Liskov"},
	}
	deeds = []struct{ typ, action, details string }{
		{"user_joined", "joined the team", "Welcome on board"},
		{"post_created", "published a post", "Notes on the analytical engine"},
		{"comment_added", "commented on a post", "Could not agree more"},
		{"file_uploaded", "uploaded a file", "compiler.pdf"},
		{"task_completed", "completed a task", "Prove the delivery promise"},
	}
)

// Activity returns a made-up activity. It is safe for concurrent use.
func Activity() kind.Activity {
	p, d := people[rand.IntN(len(people))], deeds[rand.IntN(len(deeds))]
	return kind.Activity{Type: d.typ, UserID: p.id, UserName: p.name, Action: d.action, Details: d.details}
}
