package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"sluice/gateway/auth"
	"sluice/store/kind"
)

const tokenUsage = `gateway token prints a token that the gateway accepts, signed with GATEWAY_JWT_SECRET. It is for
trying out: in production the application that knows its users makes the tokens.

  gateway token -sub ada [-subscribe 'orders.*,time'] [-publish chat] [-admin] [-for 1h]
`

// makeToken prints a token.
func makeToken(args []string, out io.Writer) error {
	f := flag.NewFlagSet("token", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	subject := f.String("sub", "", "")
	subscribe := f.String("subscribe", "", "")
	publish := f.String("publish", "", "")
	admin := f.Bool("admin", false, "")
	valid := f.Duration("for", time.Hour, "")
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		_, err := fmt.Fprint(out, tokenUsage)
		return err
	} else if err != nil {
		return fmt.Errorf("%w; see gateway token -h", err)
	}
	if f.NArg() > 0 {
		return fmt.Errorf("%q is not expected; see gateway token -h", f.Arg(0))
	}
	if err := kind.CheckUser(*subject); err != nil {
		return fmt.Errorf("-sub: %w", err)
	}
	if *valid < time.Second || *valid > 365*24*time.Hour {
		return errors.New("-for: a time from 1s to 8760h is expected")
	}
	who := auth.Identity{Subject: *subject, Admin: *admin}
	for name, list := range map[string]struct {
		text string
		to   *auth.Patterns
	}{"-subscribe": {*subscribe, &who.Subscribe}, "-publish": {*publish, &who.Publish}} {
		if list.text == "" {
			continue
		}
		var err error
		if *list.to, err = auth.NewPatterns(strings.Split(list.text, ",")); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	cfg, err := loadConfig()
	if err != nil {
		return err
	}
	token, err := auth.NewToken(cfg.Auth, who, *valid)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, token)
	return err
}

const keyUsage = `gateway key makes an API key. It prints the key, for the program that publishes, and the setting by
which the gateway knows it. The setting has only a digest of the key, so the key cannot be shown again. Several keys are
separated by semicolons in GATEWAY_API_KEYS, or stand line by line in the file GATEWAY_API_KEYS_FILE.

  gateway key shop 'orders.*' notifications 'notifications:*'

The key may publish on the channels of its patterns, and read them. Instead of a pattern, /revoke lets it end the sessions of
others, and /admin do everything.
`

// makeKey prints an API key and the setting for it. A shell may evaluate both lines.
func makeKey(args []string, out io.Writer) error {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		_, err := fmt.Fprint(out, keyUsage)
		return err
	}
	key, line, err := auth.NewKey(args[0], args[1:])
	if err != nil {
		return fmt.Errorf("%w; see gateway key -h", err)
	}
	_, err = fmt.Fprintf(out, "KEY=%s\n%s='%s'\n", key, variable("APIKeys"), line)
	return err
}
