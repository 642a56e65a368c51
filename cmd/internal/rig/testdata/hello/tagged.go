//go:build tagged

package main

func init() { greeting += " tagged" }
