package rig

import (
	"context"
	"fmt"
	"os/exec"
	"path"
	"path/filepath"
)

// Binary is a program of this module that is to be built. Only Package is required.
type Binary struct {
	Package string // import path, for example "sluice/cmd/gateway"

	// Overlay is the path of a JSON file that replaces source files by others for this build: see -overlay in
	// `go help build`. The function Overlay makes one.
	Overlay string
}

// Build runs `go build`, which must find this module from the working directory. It returns the path of the program,
// a file in dir with the name of the package's folder.
func (b Binary) Build(ctx context.Context, dir string) (string, error) {
	program := filepath.Join(dir, path.Base(b.Package))
	args := []string{"build", "-o", program}
	if b.Overlay != "" {
		args = append(args, "-overlay", b.Overlay)
	}
	out, err := exec.CommandContext(ctx, "go", append(args, b.Package)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build %s: %w\n%s", b.Package, err, out)
	}
	return program, nil
}
