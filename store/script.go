package store

import (
	_ "embed"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/store/kind"
)

// The scripts. add.lua is what the two others share. Their headers say what they take and return.
var (
	//go:embed lua/add.lua
	addLua string
	//go:embed lua/append.lua
	appendLua string
	//go:embed lua/adopt.lua
	adoptLua string

	appendScript = redis.NewScript(addLua + appendLua)
	adoptScript  = redis.NewScript(addLua + adoptLua)
)

// The arguments of the scripts. Each struct has the fields that the header of its script names, in the same order.

// ruleArgs are the first arguments of both scripts.
type ruleArgs struct {
	Live     string
	Capacity int
	TTL      int64 // all times in seconds
	MetaTTL  int64
	FinalTTL int64
	Base     string
}

func (a ruleArgs) argv() []any {
	return []any{a.Live, a.Capacity, a.TTL, a.MetaTTL, a.FinalTTL, a.Base}
}

// eventArgs is an event on its way into either script.
type eventArgs struct {
	EventType string
	Data      []byte
	Fill      string
	FillAt    int
	Progress  string
	Nonce     string
	Final     bool
}

func (a eventArgs) argv() []any {
	return []any{a.EventType, a.Data, a.Fill, a.FillAt, a.Progress, a.Nonce, flag(a.Final)}
}

// channelArgs are followed by one appendArgs for each event.
type channelArgs struct {
	ruleArgs
	OnceTTL int64
}

func (a channelArgs) argv() []any { return append(a.ruleArgs.argv(), a.OnceTTL) }

type appendArgs struct {
	eventArgs
	IfNew bool
	Once  bool
}

func (a appendArgs) argv() []any {
	return append(a.eventArgs.argv(), flag(a.IfNew), flag(a.Once))
}

// adoptArgs are followed by one messageArgs for each message.
type adoptArgs struct {
	ruleArgs
	First       uint64
	Marker      string
	AdoptedTTL  int64
	RejectedCap int
	RejectedTTL int64
	Notices     string
	Name        string
	Unheard     bool
	Session     string
}

func (a adoptArgs) argv() []any {
	return append(a.ruleArgs.argv(), a.First, a.Marker, a.AdoptedTTL, a.RejectedCap, a.RejectedTTL,
		a.Notices, a.Name, flag(a.Unheard), a.Session)
}

type messageArgs struct {
	Reason  string
	Payload string
	eventArgs
}

func (a messageArgs) argv() []any {
	return append([]any{a.Reason, a.Payload}, a.eventArgs.argv()...)
}

func (s *Store) ruleArgs(channel string) ruleArgs {
	r := s.Rule(channel)
	return ruleArgs{
		Live: s.names.Live(channel), Capacity: r.Capacity, Base: s.newBase().String(),
		TTL: seconds(r.TTL), MetaTTL: seconds(r.MetaTTL), FinalTTL: seconds(r.FinalTTL),
	}
}

func newEventArgs(d kind.Draft) eventArgs {
	return eventArgs{
		EventType: d.Type, Data: d.Data, Fill: string(d.Fill), FillAt: d.FillAt, Progress: d.Progress,
		Nonce: NewNonce().String(), Final: d.Final,
	}
}

// flag returns a boolean argument as the scripts read it.
func flag(b bool) string {
	if b {
		return "1"
	}
	return ""
}

// seconds returns a time as the scripts read it, rounded up, because EXPIRE 0 would delete.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// appendResult is what append.lua says about one event.
type appendResult struct{ status, text string }

// appendReply decodes the reply of append.lua about n events.
func appendReply(reply any, n int) ([]appendResult, error) {
	items, ok := reply.([]any)
	if !ok || len(items) != 2*n {
		return nil, fmt.Errorf("append.lua answered %v", reply)
	}
	results := make([]appendResult, n)
	for i := range results {
		status, ok1 := items[2*i].(string)
		text, ok2 := items[2*i+1].(string)
		if !ok1 || !ok2 {
			return nil, fmt.Errorf("append.lua answered %v", reply)
		}
		results[i] = appendResult{status, text}
	}
	return results, nil
}

// refusalError is a refusal of Redis's inside a script, told by the script's reply.
type refusalError string

func (e refusalError) Error() string { return string(e) }

// RedisError makes it a redis.Error, like a refusal that is the reply itself.
func (refusalError) RedisError() {}
