package writer

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"strings"
	"testing"
)

// A time.Time from time.Now carries a monotonic reading, and loses it when it is turned into a number. Times that are
// compared as numbers follow the wall clock: when an operator sets it back an hour, heartbeats stop for an hour.
func TestSettingTheClockChangesNothingBecauseNoTimeBecomesANumber(t *testing.T) {
	wall := []string{"Unix", "UnixMilli", "UnixMicro", "UnixNano", "Round", "Truncate", "UTC", "Local", "In", "AppendFormat"}
	names, err := fs.Glob(os.DirFS("."), "*.go")
	if err != nil {
		t.Fatal(err)
	}
	files := 0
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		files++
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok {
				for _, w := range wall {
					if sel.Sel.Name == w {
						t.Errorf("%v: %s drops the monotonic reading of a time", set.Position(sel.Pos()), w)
					}
				}
			}
			return true
		})
	}
	if files == 0 {
		t.Error("no file was read")
	}
}
