//go:build !linux

package main

import (
	"fmt"
	"os"
)

// Elsewhere there is no epoll and no /proc to measure with.
func main() {
	fmt.Fprintln(os.Stderr, "loadtest: this command runs on Linux only")
	os.Exit(2)
}
