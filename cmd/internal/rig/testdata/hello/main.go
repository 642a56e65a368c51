// Command hello is what the test of Binary builds.
package main

import "fmt"

var greeting = "hello"

func main() { fmt.Println(greeting) }
