package store

import (
	_ "embed"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/store/kind"
)

// The scripts. Both begin with add.lua. The header of each script says which arguments it has and what it returns.
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

// eventArgs are the arguments for one event; both scripts have them.
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

type appendArgs struct {
	ruleArgs
	eventArgs
	IfNew   bool
	OnceTTL int64
}

func (a appendArgs) argv() []any {
	return slices.Concat(a.ruleArgs.argv(), a.eventArgs.argv(), []any{flag(a.IfNew), a.OnceTTL})
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
	Channel     string
	Unheard     bool
}

func (a adoptArgs) argv() []any {
	return append(a.ruleArgs.argv(), a.First, a.Marker, a.AdoptedTTL, a.RejectedCap, a.RejectedTTL,
		a.Notices, a.Channel, flag(a.Unheard))
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
		Live: LiveChannel(channel), Capacity: r.Capacity, Base: NewNonce().String(),
		TTL: seconds(r.TTL), MetaTTL: seconds(r.MetaTTL), FinalTTL: seconds(r.FinalTTL),
	}
}

func newEventArgs(d kind.Draft) eventArgs {
	return eventArgs{
		EventType: d.Type, Data: d.Data, Fill: string(d.Fill), FillAt: d.FillAt, Progress: d.Progress,
		Nonce: NewNonce().String(), Final: d.Final,
	}
}

// flag returns a boolean as an argument for a script.
func flag(b bool) string {
	if b {
		return "1"
	}
	return ""
}

// seconds returns a time as an argument for a script. It rounds up, because EXPIRE 0 would delete the key.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// appendReply decodes the reply of append.lua.
func appendReply(reply any) (status, text string, err error) {
	items, ok := reply.([]any)
	if !ok || len(items) == 0 || len(items) > 2 {
		return "", "", fmt.Errorf("append.lua answered %v", reply)
	}
	if status, ok = items[0].(string); !ok {
		return "", "", fmt.Errorf("append.lua answered %v", reply)
	}
	if len(items) == 2 {
		text, _ = items[1].(string)
	}
	return status, text, nil
}
