// Command guest is what cmd/sim builds for wasip1 and runs once per world: it lives through the world of one seed and
// prints what came of it as JSON on standard output, and a readable log on standard error.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"sluice/cmd/sim/internal/world"
)

func main() {
	debug.SetGCPercent(400)
	seed := flag.Uint64("seed", 1, "of the world")
	drop := flag.String("drop", "", "actions of the plan to leave out, by number, separated by commas")
	flag.Parse()
	p := world.NewPlan(*seed)
	if *drop != "" {
		out := map[int]bool{}
		for text := range strings.SplitSeq(*drop, ",") {
			n, err := strconv.Atoi(text)
			if err != nil {
				fmt.Fprintln(os.Stderr, "guest: -drop:", err)
				os.Exit(2)
			}
			out[n] = true
		}
		p = p.Without(out)
	}
	if err := json.NewEncoder(os.Stdout).Encode(world.Run(p, os.Stderr)); err != nil {
		fmt.Fprintln(os.Stderr, "guest:", err)
		os.Exit(2)
	}
}
