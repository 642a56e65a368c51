package store

import (
	"context"
	"encoding/json"
	"fmt"

	"sluice/store/kind"
)

// RawMessage is a raw PUBLISH on its way into a channel.
type RawMessage struct {
	Draft   kind.Draft // what it means, if it is understood
	Reason  string     // why it is rejected; empty if it is understood
	Payload []byte     // the message as it arrived
}

// Adopted says what became of messages that were presented to Adopt.
type Adopted struct {
	Before   uint64 // the highest number since the marker that was taken in before this call, by any replica
	Stored   int    // how many events this call stored
	Rejected int    // how many messages this call rejected
	Unlisted int    // how many of these are not in the list of rejected messages, because Redis did not put them there
}

// Adopt takes raw messages of one channel in, each exactly once however many replicas present it. The messages are those
// with the numbers first, first+1, … since marker. Redis ignores a message whose number is not above the highest one that
// was taken in before. Therefore messages must be presented in order, and after an error the same ones again.
//
// An error concerns the channel and not one of the messages: Redis takes in all messages of a script call or none. Many
// or large messages take several calls, so even with an error the first messages may have been taken in, and Adopted
// counts them. A message that has a Reason needs nothing of the channel but its place among the others. So what a channel
// refuses for good (see [Temporary]) can be put aside by presenting it again with a Reason.
//
// session is the pub/sub channel [Names.Session] of the connection by which the messages came. A Redis on which nobody is
// subscribed to it is not the one from which they came: it was restarted, or is another node. Then the error is temporary, and
// nothing is taken in. An empty session has the messages taken in by any Redis.
//
// Other replicas learn that a message is taken in from the announcement of its event. Where they may not get one, because
// it was rejected or because they follow the channel by a pattern only, one notice for each call says so ([Names.Adopted]).
func (s *Store) Adopt(
	ctx context.Context, session, channel, marker string, first uint64, messages []RawMessage,
) (Adopted, error) {
	var all Adopted
	for from := 0; from < len(messages); {
		to := from + stepLength(messages[from:])
		a, err := s.adopt(ctx, session, channel, marker, first+uint64(from), messages[from:to])
		if from == 0 {
			all.Before = a.Before
		}
		all.Stored += a.Stored
		all.Rejected += a.Rejected
		all.Unlisted += a.Unlisted
		if err != nil {
			return all, fmt.Errorf("adopt into channel %q: %w", channel, err)
		}
		from = to
	}
	return all, nil
}

// stepLength returns how many of the messages go into one script call.
func stepLength(messages []RawMessage) int {
	size := 0
	for i, m := range messages {
		size += len(m.Draft.Data) + eventBytes
		if i == stepEvents || i > 0 && size > stepBytes {
			return i
		}
	}
	return len(messages)
}

// adopt is one script call.
func (s *Store) adopt(
	ctx context.Context, session, channel, marker string, first uint64, messages []RawMessage,
) (Adopted, error) {
	keys := []string{s.names.history(channel), s.names.meta(channel), s.names.adopted(channel, marker), s.names.rejected(channel)}
	args := adoptArgs{
		ruleArgs: s.ruleArgs(channel), First: first, Marker: marker,
		AdoptedTTL: seconds(adoptedTTL), RejectedCap: rejectedCap, RejectedTTL: seconds(rejectedTTL),
		Notices: s.names.Adopted, Name: channel, Unheard: kind.Of(channel).ByPattern(), Session: session,
	}.argv()
	for _, m := range messages {
		var message messageArgs
		if m.Reason != "" {
			message.Reason = jsonString(m.Reason)
		} else {
			message.eventArgs = newEventArgs(m.Draft)
		}
		if m.Reason != "" || kind.Of(channel).Ends() { // else the script cannot reject it, and it would be sent twice
			message.Payload = shown(m.Payload)
		}
		args = append(args, message.argv()...)
	}
	reply, err := s.scripts.run(ctx, adoptScript, keys, args).Slice()
	if err != nil {
		s.noteOutcome(err)
		if wasSent(err) {
			err = fmt.Errorf("%w: %w", ErrUncertain, err)
		}
		return Adopted{}, err
	}
	a, err := adoptReply(reply)
	if err != nil || a.Stored > 0 {
		s.noteOutcome(err)
	}
	return a, err
}

// adoptReply decodes the reply of adopt.lua.
func adoptReply(reply []any) (Adopted, error) {
	if len(reply) != 5 {
		return Adopted{}, fmt.Errorf("adopt.lua answered %v", reply)
	}
	var numbers [4]int64
	for i := range numbers {
		n, ok := reply[i].(int64)
		if !ok {
			return Adopted{}, fmt.Errorf("adopt.lua answered %v", reply)
		}
		numbers[i] = n
	}
	if refusal, _ := reply[4].(string); refusal != "" {
		return Adopted{}, fmt.Errorf("%w: %w", ErrUncertain, refusalError(refusal))
	}
	return Adopted{
		Before: uint64(numbers[0]), Stored: int(numbers[1]), Rejected: int(numbers[2]), Unlisted: int(numbers[3]),
	}, nil
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
	texts, err := s.rdb.LRange(ctx, s.names.rejected(channel), 0, -1).Result()
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
