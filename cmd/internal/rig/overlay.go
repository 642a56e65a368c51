package rig

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Change replaces a text in a source file for one build, for example to plant a mistake that a checker must find.
type Change struct {
	File string // path from the root of the module, with slashes
	Old  string // stands in the file exactly once
	New  string // stands in its place
}

// Overlay makes what `go build -overlay` needs for a build with changes, and returns the path for Binary.Overlay. The
// sources stay as they are. They are those of the module in the folder root, an absolute path; the changed copies are
// written to dir. Embedded files can be changed too. Several changes of one file are made in their order.
//
// An Old that is not found exactly once is an error: the code has moved, and the change must follow.
func Overlay(root, dir string, changes []Change) (path string, err error) {
	texts, err := changed(root, changes)
	if err != nil {
		return "", err
	}
	list := struct{ Replace map[string]string }{make(map[string]string)}
	for file, text := range texts {
		copied := filepath.Join(dir, strings.ReplaceAll(file, "/", "_"))
		if err := os.WriteFile(copied, []byte(text), 0o600); err != nil {
			return "", err
		}
		list.Replace[filepath.Join(root, filepath.FromSlash(file))] = copied
	}
	content, err := json.Marshal(list)
	if err != nil {
		return "", err
	}
	path = filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, content, 0o600)
}

// changed returns the texts of the files with the changes, by the path that a Change has.
func changed(root string, changes []Change) (map[string]string, error) {
	texts := make(map[string]string)
	for _, c := range changes {
		text, read := texts[c.File]
		if !read {
			original, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(c.File)))
			if err != nil {
				return nil, err
			}
			text = string(original)
		}
		if n := strings.Count(text, c.Old); n != 1 {
			return nil, fmt.Errorf("%s has %q %d times, not once: the code has moved, and the change must follow", c.File, c.Old, n)
		}
		texts[c.File] = strings.Replace(text, c.Old, c.New, 1)
	}
	return texts, nil
}
