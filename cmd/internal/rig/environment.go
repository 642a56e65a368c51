package rig

import (
	"os"
	"strings"
)

// Environment returns the environment of this process with settings ("NAME=value") added. It leaves out the variables
// that could make a program behave differently from what its users get: GATEWAY_*, GOGC, GOMEMLIMIT, GOMAXPROCS and
// GODEBUG.
func Environment(settings ...string) []string {
	var env []string
	for _, s := range os.Environ() {
		name, _, _ := strings.Cut(s, "=")
		switch {
		case strings.HasPrefix(name, "GATEWAY_"):
		case name == "GOGC", name == "GOMEMLIMIT", name == "GOMAXPROCS", name == "GODEBUG":
		default:
			env = append(env, s)
		}
	}
	return append(env, settings...)
}
