package ingest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sluice/pubsub/internal/transcript"
)

// The steps of testdata/sequencer:
//
//	marker M own|other SOURCE...   a marker of this or another replica, for these sources
//	message CHANNEL [by PATTERN]   a raw message; its name, or "not ours"
//	forget SOURCE                  the subscription has ended
//	counted PATTERN                how many channels are counted
//	reconnect                      a new connection
func TestTranscriptsOfNamingRawMessages(t *testing.T) {
	transcript.Run(t, "testdata/sequencer", func(t *testing.T) func([]string) string {
		q := NewSequencer()
		return func(words []string) string {
			switch command, args := words[0], words[1:]; command {
			case "marker":
				repeated := q.Marker(args[0], args[2:], args[1] == "own")
				followed := make([]string, 0, len(q.sources))
				for name, s := range q.sources {
					followed = append(followed, name+" since "+s.marker)
				}
				if len(followed) == 0 {
					return "follows nothing"
				}
				slices.Sort(followed)
				text := "follows " + strings.Join(followed, ", ")
				if len(repeated) > 0 {
					text += "; repeated for " + strings.Join(repeated, ", ")
				}
				return text
			case "reconnect":
				q = q.ForNextConnection()
				return "follows nothing"
			case "message":
				id, ok := q.Next(args[len(args)-1], args[0])
				if !ok {
					return "not ours"
				}
				return fmt.Sprint(id.Marker, " ", id.Number)
			case "forget":
				q.Forget(args[0])
				return ""
			case "counted":
				return fmt.Sprint(q.Counted(args[0]))
			default:
				t.Fatalf("unknown step %q", command)
				return ""
			}
		}
	})
}
