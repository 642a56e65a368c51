package store

import (
	"context"
	"encoding/json"
	"fmt"

	"sluice/store/kind"
)

// RawMessage is a message that somebody published with PUBLISH straight to a Redis channel, and that is not stored yet.
type RawMessage struct {
	Draft   kind.Draft // the event that the message stands for; only valid if Reason is empty
	Reason  string     // why the message is rejected; empty if it is not
	Payload []byte     // the message as it arrived
}

// Adopted is the result of Adopt.
type Adopted struct {
	Before   uint64 // the highest number since the marker that any replica had stored or rejected before this call
	Stored   int    // how many events this call stored
	Rejected int    // how many messages this call rejected
}

// Adopt stores or rejects raw messages of one channel, each exactly once, however many replicas present it. The
// messages have the numbers first, first+1, … since marker. Redis ignores a message whose number is not above the
// highest number that was stored or rejected before. Therefore messages must be presented in order, and after an error
// the same messages must be presented again.
//
// Other replicas learn that a message is stored or rejected from the announcement of its event. Where there may be none,
// because the message is rejected or because replicas follow the channel by a pattern, one notice for each call says so
// (see [ParseNotice]).
func (s *Store) Adopt(ctx context.Context, channel, marker string, first uint64, messages []RawMessage) (Adopted, error) {
	k := kind.Of(channel)
	keys := []string{historyKey(channel), metaKey(channel), adoptedKey(channel, marker), rejectedKey(channel)}
	args := adoptArgs{
		ruleArgs: s.ruleArgs(channel), First: first, Marker: marker,
		AdoptedTTL: seconds(adoptedTTL), RejectedCap: rejectedCap, RejectedTTL: seconds(rejectedTTL),
		Notices: AdoptedChannel, Channel: channel, Unheard: k.ByPattern(),
	}.argv()
	for _, m := range messages {
		var message messageArgs
		if m.Reason != "" {
			message.Reason = jsonString(m.Reason)
		} else {
			message.eventArgs = newEventArgs(m.Draft)
		}
		if m.Reason != "" || k.Ends() { // else the script cannot reject it, and the payload would be sent twice
			message.Payload = shown(m.Payload)
		}
		args = append(args, message.argv()...)
	}
	reply, err := s.scripts.run(ctx, adoptScript, keys, args).Int64Slice()
	if err != nil {
		return Adopted{}, fmt.Errorf("adopt into channel %q: %w", channel, err)
	}
	if len(reply) != 3 {
		return Adopted{}, fmt.Errorf("adopt.lua answered %v", reply)
	}
	return Adopted{Before: uint64(reply[0]), Stored: int(reply[1]), Rejected: int(reply[2])}, nil
}

// shown returns the beginning of a payload as JSON. Bytes that are not UTF-8 are replaced.
func shown(payload []byte) string {
	return jsonString(string(payload[:min(len(payload), rejectedPayload)]))
}

func jsonString(s string) string {
	text, _ := json.Marshal(s) // a string can always be encoded
	return string(text)
}

// Rejected returns the raw messages of a channel that were not understood, newest first, each as JSON
// {"time","reason","payload"}.
func (s *Store) Rejected(ctx context.Context, channel string) ([]json.RawMessage, error) {
	texts, err := s.rdb.LRange(ctx, rejectedKey(channel), 0, -1).Result()
	if err != nil {
		return nil, fmt.Errorf("read rejected messages of channel %q: %w", channel, err)
	}
	rejected := make([]json.RawMessage, 0, len(texts))
	for _, t := range texts {
		if json.Valid([]byte(t)) { // another program may have written into the list
			rejected = append(rejected, json.RawMessage(t))
		}
	}
	return rejected, nil
}
