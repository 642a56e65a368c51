// Command hello is what the tests of Binary and Overlay build.
package main

import (
	_ "embed"
	"fmt"
)

//go:embed text/name.txt
var name string

func main() { fmt.Print("hello " + name) }
