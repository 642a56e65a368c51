// Command gateway is Sluice: it accepts events over HTTP and Redis pub/sub, and streams them to browsers.
//
//	gateway              serve (see "gateway help" for the settings)
//	gateway healthcheck  exit 0 if the gateway is ready, 1 if not
//	gateway token        print a token for trying out
//	gateway key          make an API key
//	gateway version
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// version is set by the linker: -ldflags "-X main.version=1.2.3".
var version = "dev"

func main() {
	tuneGC()
	// The terminal that is closed sends SIGHUP. Orchestrators may send SIGTERM again while streams are being drained.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, func() { signal.Reset(os.Interrupt) }) // so that a second Ctrl-C ends the process at once
	err := command(ctx, os.Args[1:], os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "gateway:", err)
		os.Exit(1) //nolint:gocritic // the process ends, so nobody misses stop
	}
}

// command runs what the command line asks for.
func command(ctx context.Context, args []string, out io.Writer) error {
	name := ""
	if len(args) > 0 {
		name = args[0]
	}
	if len(args) > 1 && name != "token" && name != "key" {
		return errors.New("too many arguments; see gateway help")
	}
	switch name {
	case "token":
		return makeToken(args[1:], out)
	case "key":
		return makeKey(args[1:], out)
	case "help", "-h", "-help", "--help":
		return printHelp(out)
	case "version", "-version", "--version":
		_, err := fmt.Fprintln(out, "sluice", version)
		return err
	}
	cfg, err := loadConfig()
	if err != nil {
		return err
	}
	switch name {
	case "":
		return run(ctx, cfg, out)
	case "healthcheck":
		return healthcheck(ctx, cfg)
	default:
		return fmt.Errorf("unknown command %q; see gateway help", name)
	}
}
