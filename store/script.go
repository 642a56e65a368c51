package store

import (
	_ "embed"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// The scripts; add.lua is what both others share. Their headers say what they take and return.
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
