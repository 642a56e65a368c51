package gateway

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"time"

	"github.com/labstack/echo/v4"
)

// consoleFiles is the web console: pages, one stylesheet, plain ES modules and
// icons. There is no build step: pages are put together at start, everything
// else is served as it is.
//
//go:embed console
var consoleFiles embed.FS

// consolePages says which file answers which address. Every other file of the
// console that is not a page or a template is served under /console/.
var consolePages = map[string]string{
	"/":              "index.html",
	"/notifications": "notifications.html",
	"/progress":      "progress.html",
	"/activity":      "activity.html",
}

// consoleLayout and consoleIcons are what every page has around it and in it.
// They are templates for the pages and not served by themselves.
const (
	consoleLayout = "layout.html"
	consoleIcons  = "icons.html"
)

// consoleTypes are the content types by file name extension. They are written
// out since mime.TypeByExtension depends on the files of the machine it runs on.
var consoleTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// consolePolicy is the Content-Security-Policy of the console. Events come from
// anyone who may publish, so the pages show them as text; should one of them
// ever forget to, the policy runs no inline script, loads nothing from elsewhere
// and (trusted types) makes assigning HTML from a string an error.
const consolePolicy = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; " +
	"frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// registerConsole adds the console's pages and assets to e. It panics if the
// embedded files cannot be put together: that is a defect of the build, which
// any test of the console finds, and no condition of the run.
func registerConsole(e *echo.Echo) {
	assets, err := consoleAssets()
	if err != nil {
		panic(err)
	}
	for route, asset := range assets {
		e.Match([]string{http.MethodGet, http.MethodHead}, route, echo.WrapHandler(asset))
	}
}

// consoleAssets returns everything the console serves, by route.
func consoleAssets() (map[string]consoleAsset, error) {
	files, err := fs.Sub(consoleFiles, "console")
	if err != nil {
		return nil, err
	}
	assets := make(map[string]consoleAsset)
	for route, name := range consolePages {
		page, err := renderConsolePage(files, route, name)
		if err != nil {
			return nil, fmt.Errorf("console page %q: %w", name, err)
		}
		assets[route] = newConsoleAsset(name, page)
	}
	names, err := fs.ReadDir(files, ".")
	if err != nil {
		return nil, err
	}
	for _, entry := range names {
		name := entry.Name()
		if path.Ext(name) == ".html" {
			continue
		}
		content, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		if consoleTypes[path.Ext(name)] == "" {
			return nil, fmt.Errorf("console file %q: no content type for it", name)
		}
		assets["/console/"+name] = newConsoleAsset(name, content)
	}
	// Browsers and bookmark services ask for this address without being told to.
	assets["/favicon.ico"] = assets["/console/favicon.svg"]
	return assets, nil
}

// renderConsolePage puts a page into the layout. It happens once, at start.
func renderConsolePage(files fs.FS, route, name string) ([]byte, error) {
	tmpl, err := template.ParseFS(files, consoleLayout, consoleIcons, name)
	if err != nil {
		return nil, err
	}
	var page bytes.Buffer
	// The layout needs the route to mark the page's own link in the navigation.
	err = tmpl.ExecuteTemplate(&page, consoleLayout, struct{ Route string }{route})
	return page.Bytes(), err
}

// consoleAsset is one page or file of the console, ready to be served.
type consoleAsset struct {
	name        string
	content     []byte
	contentType string
	etag        string
}

func newConsoleAsset(name string, content []byte) consoleAsset {
	sum := sha256.Sum256(content)
	return consoleAsset{
		name:        name,
		content:     content,
		contentType: consoleTypes[path.Ext(name)],
		etag:        `"` + hex.EncodeToString(sum[:12]) + `"`,
	}
}

// ServeHTTP answers GET and HEAD. Browsers ask again each time (no-cache) and
// get 304 while the content is the same, so that replicas of two versions
// behind one address never mix in a page for longer than one load.
func (a consoleAsset) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", a.contentType)
	h.Set("Cache-Control", "no-cache")
	h.Set("Etag", a.etag)
	h.Set("Content-Security-Policy", consolePolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	// The zero time means no Last-Modified: the files of a binary have no time
	// of their own, the ETag alone says whether they changed.
	http.ServeContent(w, r, a.name, time.Time{}, bytes.NewReader(a.content))
}
