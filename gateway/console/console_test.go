package console

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
)

// newConsole serves the console alone, without the gateway around it.
func newConsole(t *testing.T) http.Handler {
	t.Helper()
	handlers, err := Handlers()
	if err != nil {
		t.Fatal(err)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h := handlers[r.URL.Path]; h != nil {
			h.ServeHTTP(w, r)
			return
		}
		http.NotFound(w, r)
	})
}

func ask(t *testing.T, h http.Handler, method, target string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestConsoleServesItsPagesAndAssets(t *testing.T) {
	console := newConsole(t)
	for target, contentType := range map[string]string{
		"/":                      "text/html; charset=utf-8",
		"/notifications":         "text/html; charset=utf-8",
		"/progress":              "text/html; charset=utf-8",
		"/activity":              "text/html; charset=utf-8",
		"/console/console.css":   "text/css; charset=utf-8",
		"/console/stream.js":     "text/javascript; charset=utf-8",
		"/console/favicon.svg":   "image/svg+xml",
		"/favicon.ico":           "image/svg+xml",
		"/console/home.js?v=any": "text/javascript; charset=utf-8",
	} {
		t.Run(target, func(t *testing.T) {
			got := ask(t, console, http.MethodGet, target)
			if got.Code != http.StatusOK || got.Body.Len() == 0 {
				t.Fatalf("got status %d and %d bytes, want 200 and content", got.Code, got.Body.Len())
			}
			for name, want := range map[string]string{
				"Content-Type":            contentType,
				"Cache-Control":           "no-cache",
				"X-Content-Type-Options":  "nosniff",
				"Referrer-Policy":         "same-origin",
				"Content-Security-Policy": policy,
			} {
				if value := got.Header().Get(name); value != want {
					t.Errorf("%s: got %q, want %q", name, value, want)
				}
			}
		})
	}
}

func TestConsoleAssetIsNotSentAgainWhileItIsTheSame(t *testing.T) {
	console := newConsole(t)
	first := ask(t, console, http.MethodGet, "/notifications")
	etag := first.Header().Get("Etag")
	if etag == "" {
		t.Fatal("no ETag")
	}
	if other := ask(t, console, http.MethodGet, "/progress").Header().Get("Etag"); other == etag {
		t.Errorf("two pages share the ETag %s", etag)
	}
	for name, c := range map[string]struct {
		sent   string
		status int
	}{
		"the same":       {etag, http.StatusNotModified},
		"one of several": {`"old", ` + etag, http.StatusNotModified},
		"another":        {`"old"`, http.StatusOK},
	} {
		t.Run(name, func(t *testing.T) {
			got := ask(t, console, http.MethodGet, "/notifications", "If-None-Match", c.sent)
			if got.Code != c.status {
				t.Fatalf("got status %d, want %d", got.Code, c.status)
			}
			if got.Code == http.StatusNotModified && got.Body.Len() > 0 {
				t.Errorf("got %d bytes with 304", got.Body.Len())
			}
			if got.Header().Get("Etag") != etag {
				t.Errorf("got ETag %q, want %q", got.Header().Get("Etag"), etag)
			}
		})
	}
}

func TestConsoleAnswersHEADLikeGETWithoutTheBody(t *testing.T) {
	console := newConsole(t)
	for _, target := range []string{"/", "/console/console.css"} {
		get, head := ask(t, console, http.MethodGet, target), ask(t, console, http.MethodHead, target)
		if head.Code != http.StatusOK || head.Body.Len() != 0 {
			t.Errorf("HEAD %s: got status %d and %d bytes, want 200 and none", target, head.Code, head.Body.Len())
		}
		for name := range get.Header() {
			if got, want := head.Header().Get(name), get.Header().Get(name); got != want {
				t.Errorf("HEAD %s: %s: got %q, want %q", target, name, got, want)
			}
		}
	}
}

func TestConsoleServesNeitherTemplatesNorUnknownFiles(t *testing.T) {
	console := newConsole(t)
	for _, target := range []string{
		"/console/", "/console/layout.html", "/console/icons.html", "/console/index.html", "/console/none.js", "/index.html",
	} {
		if got := ask(t, console, http.MethodGet, target); got.Code != http.StatusNotFound {
			t.Errorf("GET %s: got status %d, want 404", target, got.Code)
		}
	}
}

func TestConsolePageMarksItselfInTheNavigation(t *testing.T) {
	console := newConsole(t)
	for route := range pages {
		page := ask(t, console, http.MethodGet, route).Body.String()
		if n := strings.Count(page, "aria-current="); n != 1 {
			t.Errorf("GET %s: %d links are marked as the current page, want 1", route, n)
		}
		if !strings.Contains(page, `<a href="`+route+`" aria-current="page">`) {
			t.Errorf("GET %s: the page's own link is not marked as the current page", route)
		}
	}
}

var (
	// inlineCode finds what the Content-Security-Policy forbids: handlers, styles and scripts inside a page.
	inlineCode = regexp.MustCompile(`(?i)\s(on[a-z]+|style)\s*=|<style|javascript:|<script(?:\s+type="module")?\s*>`)
	// elsewhere finds the address of another host.
	elsewhere = regexp.MustCompile(`(?i)(?:https?:)?//[a-z0-9]`)
	// loads finds the ways in which a stylesheet loads something.
	loads = regexp.MustCompile(`(?i)url\(|@import`)
	// reference finds the addresses in a page.
	reference = regexp.MustCompile(`\s(?:href|src)="([^"]*)"`)
	// htmlSink finds the ways in which a script turns text into HTML or code.
	htmlSink = regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|setHTMLUnsafe|document\.write|DOMParser|\beval\(|new Function|srcdoc`)
	// imported finds the modules that a module imports.
	imported = regexp.MustCompile(`(?m)^import .* from "([^"]+)";$`)
)

func TestConsolePagesHaveNoInlineCodeAndNoDeadReference(t *testing.T) {
	assets, err := assets()
	if err != nil {
		t.Fatal(err)
	}
	for route := range pages {
		page := string(assets[route].content)
		if found := inlineCode.FindString(page); found != "" {
			t.Errorf("page %s has inline code: %q", route, found)
		}
		for _, match := range reference.FindAllStringSubmatch(page, -1) {
			target := match[1]
			if id, ok := strings.CutPrefix(target, "#"); ok {
				if !strings.Contains(page, ` id="`+id+`"`) {
					t.Errorf("page %s refers to %q, and has no such element", route, target)
				}
			} else if _, ok := assets[target]; !ok {
				t.Errorf("page %s refers to %q, which the console does not serve", route, target)
			}
		}
	}
}

func TestConsoleNeedsNothingFromElsewhere(t *testing.T) {
	assets, err := assets()
	if err != nil {
		t.Fatal(err)
	}
	used := make(map[string]bool)
	for route, asset := range assets {
		content := strings.ReplaceAll(string(asset.content), "http://www.w3.org/2000/svg", "") // a name, not an address
		if found := elsewhere.FindString(content); found != "" {
			t.Errorf("%s refers to another host: %q", route, found)
		}
		switch path.Ext(route) {
		case ".css":
			if found := loads.FindString(content); found != "" {
				t.Errorf("%s loads something: %q", route, found)
			}
		case ".js":
			if found := htmlSink.FindString(content); found != "" {
				t.Errorf("%s turns text into HTML or code: %q", route, found)
			}
			for _, match := range imported.FindAllStringSubmatch(content, -1) {
				target := path.Join("/console", match[1])
				if _, ok := assets[target]; !ok || !strings.HasPrefix(match[1], "./") {
					t.Errorf("%s imports %q, which the console does not serve", route, match[1])
				}
				used[target] = true
			}
		case "": // a page
			for _, match := range reference.FindAllStringSubmatch(content, -1) {
				used[match[1]] = true
			}
		}
	}
	for route := range assets {
		if path.Ext(route) == ".js" && !used[route] {
			t.Errorf("%s is used by no page", route)
		}
	}
}

func TestConsoleFilesAreAllServedOrPartOfAPage(t *testing.T) {
	assets, err := assets()
	if err != nil {
		t.Fatal(err)
	}
	parts := map[string]bool{layoutFile: true, iconsFile: true, "console.go": true, "console_test.go": true}
	for _, name := range pages {
		parts[name] = true
	}
	files, err := fs.Glob(os.DirFS("."), "*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name := path.Base(file)
		if _, served := assets["/console/"+name]; !served && !parts[name] {
			t.Errorf("%s is neither served nor part of a page", file)
		}
	}
}
