// Package console is the web console: pages, one stylesheet, plain ES modules and icons, embedded in the binary.
//
// There is no build step. Pages are put together from templates once, at the start; every other file is served as it is.
// The pages know the gateway's HTTP interface and nothing of its insides.
package console

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
)

//go:embed *.html *.css *.js *.svg
var files embed.FS

// pages says which file answers which address. Every file that is neither a page nor a template is served under
// /console/.
var pages = map[string]string{
	"/":              "index.html",
	"/notifications": "notifications.html",
	"/progress":      "progress.html",
	"/activity":      "activity.html",
}

// The templates around and inside every page. They are not served by themselves.
const (
	layoutFile = "layout.html"
	iconsFile  = "icons.html"
)

// contentTypes are the content types by file name extension. They are written out because the answers of
// mime.TypeByExtension depend on the files of the machine it runs on.
var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// policy is the Content-Security-Policy of the console. Events come from anyone who may publish, so the pages show them as
// text. If a page ever forgets that, the policy still runs no inline script, loads nothing from another origin, and
// (trusted types) turns an assignment of HTML from a string into an error.
const policy = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; " +
	"frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// Handlers returns everything that the console serves, by address. Each handler answers GET and HEAD and is safe for
// concurrent use. An error means that the embedded files cannot be put together: the build is broken.
func Handlers() (map[string]http.Handler, error) {
	assets, err := assets()
	if err != nil {
		return nil, err
	}
	handlers := make(map[string]http.Handler, len(assets))
	for route, a := range assets {
		handlers[route] = a
	}
	return handlers, nil
}

// assets puts the pages together and returns all files that are served, by address.
func assets() (map[string]asset, error) {
	assets := make(map[string]asset)
	for route, name := range pages {
		page, err := renderPage(route, name)
		if err != nil {
			return nil, fmt.Errorf("console page %q: %w", name, err)
		}
		assets[route] = newAsset(name, page)
	}
	names, err := fs.ReadDir(files, ".")
	if err != nil {
		return nil, err
	}
	for _, entry := range names {
		name := entry.Name()
		if path.Ext(name) == ".html" {
			continue // a page or a template
		}
		content, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		if contentTypes[path.Ext(name)] == "" {
			return nil, fmt.Errorf("console file %q: no content type for it", name)
		}
		assets["/console/"+name] = newAsset(name, content)
	}
	// Browsers and bookmark services ask for this address without being told to.
	assets["/favicon.ico"] = assets["/console/favicon.svg"]
	return assets, nil
}

// renderPage puts a page into the layout. The layout marks the page's own link in the navigation, hence the route.
func renderPage(route, name string) ([]byte, error) {
	tmpl, err := template.ParseFS(files, layoutFile, iconsFile, name)
	if err != nil {
		return nil, err
	}
	var page bytes.Buffer
	err = tmpl.ExecuteTemplate(&page, layoutFile, struct{ Route string }{route})
	return page.Bytes(), err
}

// asset is one page or file of the console, ready to be served.
type asset struct {
	name        string
	content     []byte
	contentType string
	etag        string
}

func newAsset(name string, content []byte) asset {
	sum := sha256.Sum256(content)
	return asset{
		name:        name,
		content:     content,
		contentType: contentTypes[path.Ext(name)],
		etag:        `"` + hex.EncodeToString(sum[:12]) + `"`,
	}
}

// ServeHTTP answers GET and HEAD. Browsers ask again each time (no-cache) and get 304 while the content is the same. So a
// page never mixes files of two versions for longer than one load, while replicas are replaced one by one.
func (a asset) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", a.contentType)
	h.Set("Cache-Control", "no-cache")
	h.Set("Etag", a.etag)
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	// The zero time means no Last-Modified. Files in a binary have no time of their own; the ETag says whether they changed.
	http.ServeContent(w, r, a.name, time.Time{}, bytes.NewReader(a.content))
}
