package rig

import (
	"errors"
	"fmt"
	"os/exec"
)

// ErrMissing is in the error for a program that is not installed.
var ErrMissing = errors.New("is not installed")

// Find returns the path of a program. It also looks in the folders where Debian installs servers, which are not in
// every PATH. The error wraps ErrMissing.
func Find(program string) (string, error) {
	for _, name := range []string{program, "/usr/sbin/" + program, "/usr/local/sbin/" + program} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s %w", program, ErrMissing)
}
