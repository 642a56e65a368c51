package redismodel

import (
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	lua "github.com/yuin/gopher-lua"
	"github.com/yuin/gopher-lua/parse"
)

// scripts are the Lua scripts that a server knows, and the state they run in.
type scripts struct {
	state *lua.LState
	known map[string]*lua.FunctionProto // by SHA-1

	// Of the script that runs.
	server *Server
	client *client
	wrote  bool // it has changed something: from then on it is not refused for lack of memory
}

func newScripts() *scripts {
	sc := &scripts{known: map[string]*lua.FunctionProto{}}
	sc.state = lua.NewState(lua.Options{SkipOpenLibs: true})
	for _, lib := range []struct {
		name string
		open lua.LGFunction
	}{
		{lua.BaseLibName, lua.OpenBase}, {lua.TabLibName, lua.OpenTable},
		{lua.StringLibName, lua.OpenString}, {lua.MathLibName, lua.OpenMath},
	} {
		sc.state.Push(sc.state.NewFunction(lib.open))
		sc.state.Push(lua.LString(lib.name))
		sc.state.Call(1, 0)
	}
	table := sc.state.NewTable()
	sc.state.SetFuncs(table, map[string]lua.LGFunction{
		"call":         func(l *lua.LState) int { return sc.call(l, true) },
		"pcall":        func(l *lua.LState) int { return sc.call(l, false) },
		"error_reply":  func(l *lua.LState) int { return tagged(l, "err") },
		"status_reply": func(l *lua.LState) int { return tagged(l, "ok") },
	})
	sc.state.SetGlobal("redis", table)
	return sc
}

// tagged makes the table that stands for an error or a status.
func tagged(l *lua.LState, field string) int {
	t := l.NewTable()
	t.RawSetString(field, lua.LString(l.CheckString(1)))
	l.Push(t)
	return 1
}

func shaOf(text string) string {
	sum := sha1.Sum([]byte(text))
	return hex.EncodeToString(sum[:])
}

// load compiles a script.
func (sc *scripts) load(text string) (sha string, problem failure) {
	sha = shaOf(text)
	if sc.known[sha] != nil {
		return sha, ""
	}
	chunk, err := parse.Parse(strings.NewReader(text), "@user_script")
	if err != nil {
		return "", failure(fmt.Sprintf("ERR Error compiling script (new function): %s", oneLine(err.Error())))
	}
	proto, err := lua.Compile(chunk, "@user_script")
	if err != nil {
		return "", failure(fmt.Sprintf("ERR Error compiling script (new function): %s", oneLine(err.Error())))
	}
	sc.known[sha] = proto
	return sha, ""
}

func eval(s *Server, c *client, args []string) any {
	sha, problem := s.scripts.load(args[0])
	if problem != "" {
		return problem
	}
	return s.scripts.run(s, c, sha, args[1:])
}

func evalSHA(s *Server, c *client, args []string) any {
	sha := strings.ToLower(args[0])
	if s.scripts.known[sha] == nil {
		return failure("NOSCRIPT No matching script. Please use EVAL.")
	}
	return s.scripts.run(s, c, sha, args[1:])
}

func script(s *Server, _ *client, args []string) any {
	switch {
	case strings.EqualFold(args[0], "LOAD") && len(args) == 2:
		sha, problem := s.scripts.load(args[1])
		if problem != "" {
			return problem
		}
		return sha
	case strings.EqualFold(args[0], "EXISTS"):
		out := []any{}
		for _, sha := range args[1:] {
			known := int64(0)
			if s.scripts.known[strings.ToLower(sha)] != nil {
				known = 1
			}
			out = append(out, known)
		}
		return out
	case strings.EqualFold(args[0], "FLUSH"):
		clear(s.scripts.known)
		return status("OK")
	default:
		return failure("ERR unknown subcommand '" + args[0] + "'. Try SCRIPT HELP.")
	}
}

// run runs a script. If its reply is to be lost, the connection ends instead.
func (sc *scripts) run(s *Server, c *client, sha string, args []string) any {
	n, err := strconv.Atoi(args[0])
	switch {
	case err != nil:
		return notInteger
	case n < 0:
		return failure("ERR Number of keys can't be negative")
	case n > len(args)-1:
		return failure("ERR Number of keys can't be greater than number of args")
	}
	sc.server, sc.client, sc.wrote = s, c, false
	l := sc.state
	l.SetGlobal("KEYS", textTable(l, args[1:1+n]))
	l.SetGlobal("ARGV", textTable(l, args[1+n:]))
	l.Push(l.NewFunctionFromProto(sc.known[sha]))
	err = l.PCall(0, 1, nil)
	if err != nil {
		return scriptFailure(err, sha)
	}
	result := fromLua(l.Get(-1))
	l.Pop(1)
	if s.losing && sc.wrote {
		s.losing = false
		s.lost++
		s.log("redis: the reply of a script of connection %d (%s) is lost", c.id, c.conn.Peer())
		c.end()
		return none{}
	}
	return result
}

func textTable(l *lua.LState, texts []string) *lua.LTable {
	t := l.CreateTable(len(texts), 0)
	for _, text := range texts {
		t.Append(lua.LString(text))
	}
	return t
}

// scriptFailure is what a script that failed answers.
func scriptFailure(err error, sha string) failure {
	text := err.Error()
	if e, ok := errors.AsType[*lua.ApiError](err); ok {
		text = e.Object.String()
		if t, ok := e.Object.(*lua.LTable); ok {
			text = lua.LVAsString(t.RawGetString("err"))
			return failure(fmt.Sprintf("%s script: %s, on @user_script.", oneLine(text), sha))
		}
	}
	return failure(fmt.Sprintf("ERR %s script: %s, on @user_script.", oneLine(text), sha))
}

func oneLine(text string) string { return strings.NewReplacer("\r", " ", "\n", " ").Replace(text) }

// call is redis.call and redis.pcall.
func (sc *scripts) call(l *lua.LState, raise bool) int {
	args := make([]string, l.GetTop())
	for i := range args {
		switch v := l.Get(i + 1).(type) {
		case lua.LString:
			args[i] = string(v)
		case lua.LNumber:
			args[i] = numberText(float64(v))
		default:
			l.RaiseError("Lua redis lib command arguments must be strings or integers")
		}
	}
	if len(args) == 0 {
		l.RaiseError("Please specify at least one argument for this redis.call() call")
	}
	r := sc.dispatch(args)
	if f, failed := r.(failure); failed && raise {
		t := l.NewTable()
		t.RawSetString("err", lua.LString(f))
		l.Error(t, 1)
	}
	l.Push(toLua(l, r))
	return 1
}

// dispatch carries out one command of a script.
func (sc *scripts) dispatch(args []string) any {
	name := strings.ToUpper(args[0])
	cmd, problem := lookup(name, args)
	switch {
	case problem != "" && strings.HasPrefix(string(problem), "ERR unknown command"):
		return failure("ERR Unknown Redis command called from script")
	case problem != "":
		return failure("ERR Wrong number of args calling Redis command from script")
	case cmd.noScript:
		return failure("ERR This Redis command is not allowed from script")
	case sc.server.refusal == ReadOnly && cmd.write:
		sc.server.refused++
		return failure(ReadOnly)
	case sc.server.refusal == OOM && cmd.denyOOM && !sc.wrote:
		sc.server.refused++
		return failure(OOM)
	}
	sc.wrote = sc.wrote || cmd.write
	return cmd.run(sc.server, sc.client, args[1:])
}

// numberText is how Redis passes a number of Lua to a command.
func numberText(f float64) string {
	if f == float64(int64(f)) {
		return strconv.FormatInt(int64(f), 10)
	}
	return strconv.FormatFloat(f, 'g', 17, 64)
}

// toLua converts a reply for a script.
func toLua(l *lua.LState, r any) lua.LValue {
	switch r := r.(type) {
	case string:
		return lua.LString(r)
	case int64:
		return lua.LNumber(r)
	case nil:
		return lua.LFalse
	case status:
		t := l.NewTable()
		t.RawSetString("ok", lua.LString(r))
		return t
	case failure:
		t := l.NewTable()
		t.RawSetString("err", lua.LString(r))
		return t
	case []any:
		t := l.CreateTable(len(r), 0)
		for _, element := range r {
			t.Append(toLua(l, element))
		}
		return t
	default:
		panic("redismodel: a reply that no script can get")
	}
}

// fromLua converts what a script returns.
func fromLua(v lua.LValue) any {
	switch v := v.(type) {
	case lua.LString:
		return string(v)
	case lua.LNumber:
		return int64(v)
	case lua.LBool:
		if v {
			return int64(1)
		}
		return nil
	case *lua.LTable:
		if text := v.RawGetString("err"); text != lua.LNil {
			return failure(lua.LVAsString(text))
		}
		if text := v.RawGetString("ok"); text != lua.LNil {
			return status(lua.LVAsString(text))
		}
		out := []any{}
		for i := 1; ; i++ {
			element := v.RawGetInt(i)
			if element == lua.LNil {
				return out
			}
			out = append(out, fromLua(element))
		}
	default:
		return nil
	}
}
