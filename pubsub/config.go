package pubsub

import (
	"strings"
	"time"

	"sluice/store"
	"sluice/store/kind"
)

// Config holds the settings of a Broker.
type Config struct {
	// Replica must differ from the names of all other replicas on the same Redis.
	Replica   string   `desc:"name of this replica; empty: the host's name and a random ending"`
	Ingest    []string `desc:"general channels, separated by commas, whose PUBLISH messages are stored even while nobody watches"`
	FeedBytes int      `split_words:"true" default:"1048576" desc:"bytes of frames that the streams of a channel share; one further behind is closed and resumes. The largest event must fit; at least the newest 8 frames are kept; above 256 MiB in all, 64 KiB each"`
	// CheckEvery is the time in which each channel with events is compared with Redis once; 0 means ten seconds. Users cannot
	// set it: it is for tests, which do not want to wait.
	CheckEvery time.Duration `ignored:"true"`
}

// Validate reports, as a *store.SettingError, which setting is wrong. It removes blanks around the names in Ingest.
func (c *Config) Validate() error {
	if c.Replica != "" && kind.CheckChannel(c.Replica) != nil {
		return &store.SettingError{Field: "Replica", Value: c.Replica, Takes: "a name of " + kind.NameCharacters + " is expected"}
	}
	for i, name := range c.Ingest {
		c.Ingest[i] = strings.TrimSpace(name)
		if err := kind.CheckChannel(c.Ingest[i]); err != nil {
			return &store.SettingError{Field: "Ingest", Value: name, Takes: "names of channels are expected: " + err.Error()}
		}
	}
	return store.CheckRange("FeedBytes", c.FeedBytes, 64<<10, 1<<30)
}
