package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"sluice/cmd/internal/rig/rigtest"
	"sluice/store/storetest"
)

// TestConsoleInABrowser opens each page of the console in Chromium, against the whole program and a real Redis. No
// page may log an error, throw, or ask for something it does not get.
func TestConsoleInABrowser(t *testing.T) {
	b := startBrowser(t)
	t.Run("home", func(t *testing.T) { testHomePage(t, b) })
	t.Run("notifications", func(t *testing.T) { testNotificationsPage(t, b) })
	t.Run("progress", func(t *testing.T) { testProgressPage(t, b) })
	t.Run("activity", func(t *testing.T) { testActivityPage(t, b) })
	t.Run("a page whose stream is refused comes back", func(t *testing.T) { testPageComesBack(t, b) })
}

func testHomePage(t *testing.T, b *browser) {
	site := startSite(t)
	page := b.open(t, site.url+"/")
	page.waitFor(`pill() === "Live"`)
	page.waitFor(`/^\d\d:\d\d:\d\d$/.test(text("#clock"))`)
	page.waitFor(`parseInt(text("#clock-count")) >= 3`) // the greeting, and the time goes on
	page.waitFor(`all(".commands code").some((code) => code.textContent === "curl -N " + location.origin + "/api/sse/notifications")`)
	page.click(".commands .copy")
	page.waitFor(`["Copied", "Press Ctrl+C"].includes(text(".copy-text"))`) // as the browser allows

	page.click("#listen-button")
	page.waitFor(`text("#log-empty").startsWith("Listening to demo")`)
	site.publish(t, "demo", `<img src=x onerror=alert(1)>`)
	page.waitFor(`text(".log-data") === "<img src=x onerror=alert(1)>"`)
	page.click("#publish button")
	page.waitFor(`all(".log-data").length === 2 && text(".log-data") === "Hello from the console"`)
	page.waitFor(`pill() === "Live"`)
	page.click("#listen-button")
	page.waitFor(`text("#log-empty") === "Not listening any more." && text("#listen-button") === "Listen"`)
	page.expectClean()
}

func testNotificationsPage(t *testing.T, b *browser) {
	site := startSite(t)
	page := b.open(t, site.url+"/notifications")
	page.waitFor(`pill() === "Live" && text("#inbox-empty") === "Nothing here yet."`)

	const title = `<img src=x onerror=alert(1)>`
	site.publish(t, "notifications", `{"type":"warning","title":"`+title+`","message":"<b>bold</b>"}`)
	page.waitFor(`text("#inbox h3") === ` + strconv.Quote(title) + ` && text("#inbox p") === "<b>bold</b>"`)
	page.waitFor(`all("#inbox img, #inbox b").length === 0 && all("#inbox [data-tone=warning]").length === 1`)
	site.publish(t, "notifications", "The backup is done")
	page.waitFor(`text("#inbox li:first-child[data-tone=info] p") === "The backup is done"`)
	page.click("#send [value=success]")
	page.waitFor(`text("#inbox li:first-child[data-tone=success] h3") === "Backup done"`)
	page.waitFor(`text("#bell-count") === "3" && document.title === "(3) Notifications · Sluice" && text("#summary") === "3 unread of 3"`)

	page.click("#inbox li:first-child button")
	page.waitFor(`text("#bell-count") === "2" && all("#inbox li:first-child.is-read").length === 1`)
	page.click("#read-all")
	page.waitFor(`find("#bell-count").hidden && find("#read-all").disabled`)
	page.reload()
	page.waitFor(`pill() === "Live" && all("#inbox li.is-read").length === 3 && all("#inbox li").length === 3`)
	page.waitFor(`find("#bell-count").hidden`)

	page.click("#bell")
	page.waitFor(`find("#panel").hidden && find("#bell").getAttribute("aria-expanded") === "false"`)

	// Times are kept true: make one older, and let the page look again.
	page.do(`const time = find("#inbox time"); time.dataset.ago = Date.now() - 125000; document.dispatchEvent(new Event("visibilitychange"))`)
	page.waitFor(`text("#inbox time") === "2 minutes ago"`)
	page.expectClean()
}

func testProgressPage(t *testing.T, b *browser) {
	site := startSite(t)
	page := b.open(t, site.url+"/progress")
	page.waitFor(`pill() === "No stream"`)

	page.click("#watch button")
	page.waitFor(`pill() === "Live" && text("[data-task=build-7] .chip") === "Waiting"`)
	site.publish(t, "progress:build-7", `{"progress":40,"currentStep":"<i>Compiling</i>","message":"12 of 30"}`)
	page.waitFor(`text("[data-task=build-7][data-status=processing] .task-percent") === "40 %"`)
	page.waitFor(`text("[data-task=build-7] .task-step") === "<i>Compiling</i>" && all(".task i").length === 0`)
	site.publish(t, "progress:build-7", `{"progress":40,"status":"failed","message":"A test failed"}`)
	page.waitFor(`text("[data-task=build-7][data-status=failed] .task-message") === "A test failed"`)
	page.waitFor(`pill() === "No stream"`)

	page.click("#start button")
	page.waitFor(`all("[data-status=processing]").length === 1`)
	page.reload() // in the middle of the task
	page.waitFor(`text(".task h3") === "Nightly import"`)
	// More tasks than a browser has connections to one host.
	for n := 2; n <= 7; n++ {
		page.click("#start button")
		page.waitFor(fmt.Sprintf(`all(".task").length === %d`, n))
	}
	page.waitFor(`all(".task[data-status=completed]").length === 7`)
	page.waitFor(`all(".task-percent").every((percent) => percent.textContent === "100 %")`)
	page.waitFor(`pill() === "No stream"`)
	page.expectClean()
}

func testActivityPage(t *testing.T, b *browser) {
	site := startSite(t)
	page := b.open(t, site.url+"/activity")
	page.waitFor(`pill() === "Live"`)

	site.publish(t, "activity", `{"type":"file_uploaded","userName":"Ada","action":"uploaded a file","details":"<b>plan</b>.pdf"}`)
	page.waitFor(`text("#feed li[data-type=file_uploaded] .soft") === "<b>plan</b>.pdf"`)
	page.click("#simulate")
	page.waitFor(`all("#feed li").length === 2`)
	page.click("#automatic")
	page.waitFor(`all("#feed li").length >= 4 && text("#automatic") === "Stop simulating"`)
	page.click("#automatic")
	page.waitFor(`text("#automatic") === "Simulate automatically"`)

	for n := range 60 {
		site.post(t, "/api/activity", fmt.Sprintf(`{"type":"post_created","userName":"Grace","action":"wrote post %d"}`, n))
	}
	page.waitFor(`text("#feed li p") === "Grace wrote post 59" && all("#feed li").length === 50`)
	page.waitFor(`text("#feed li:last-child p") === "Grace wrote post 10"`)
	page.expectClean()
}

// testPageComesBack has a proxy refuse streams with a 503, after which EventSource gives up for good.
func testPageComesBack(t *testing.T, b *browser) {
	site := startSite(t)
	door := newDoor(t, site.url)
	page := b.open(t, door.url+"/notifications")
	page.waitFor(`pill() === "Live"`)
	site.publish(t, "notifications", "one")
	page.waitFor(`all("#inbox li").length === 1`)

	door.shut()
	page.waitFor(`pill() === "Closed, trying again"`)
	site.publish(t, "notifications", "two")
	door.open()
	page.waitFor(`pill() === "Live" && text("#inbox p") === "two"`)
	page.waitFor(`all("#inbox li").length === 2 && find("#gap").hidden`)

	door.shut()
	page.waitFor(`pill() === "Closed, trying again"`)
	site.redis(t, "FLUSHALL")
	site.publish(t, "notifications", "three")
	door.open()
	page.waitFor(`pill() === "Live" && text("#gap").includes("no longer stored")`)
	page.waitFor(`all("#inbox li").length === 1 && text("#inbox p") === "three"`)
}

// site is the whole program on a Redis of its own.
type site struct {
	url       string
	redisPort string
}

func startSite(t *testing.T) *site {
	t.Helper()
	rigtest.Need(t, "redis-cli")
	server := storetest.Real(t)
	_, port, _ := net.SplitHostPort(server.Addr)
	return &site{url: "http://" + startGateway(t, "redis://"+server.Addr), redisPort: port}
}

// redis runs redis-cli and returns what it prints.
func (s *site) redis(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("redis-cli", append([]string{"-p", s.redisPort}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("redis-cli %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// publish publishes as somebody at a terminal does.
func (s *site) publish(t *testing.T, channel, payload string) {
	t.Helper()
	if receivers := s.redis(t, "PUBLISH", channel, payload); receivers == "0" {
		t.Fatalf("PUBLISH %s: no replica receives it", channel)
	}
}

func (s *site) post(t *testing.T, path, body string) {
	t.Helper()
	answer, err := http.Post(s.url+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusCreated {
		text, _ := io.ReadAll(answer.Body)
		t.Fatalf("POST %s: got %s %s, want 201", path, answer.Status, text)
	}
}

// door is a proxy that can be shut: then it ends the streams that go through it and answers 503.
type door struct {
	url    string
	server *httptest.Server

	mu     sync.Mutex
	isShut bool // guarded by mu
}

func newDoor(t *testing.T, target string) *door {
	t.Helper()
	to, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	d := &door{}
	proxy := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(to) },
		FlushInterval: -1,
		ErrorHandler:  func(http.ResponseWriter, *http.Request, error) {}, // streams that were cut
	}
	d.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		isShut := d.isShut
		d.mu.Unlock()
		if isShut {
			http.Error(w, "shut", http.StatusServiceUnavailable)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		d.server.CloseClientConnections()
		d.server.Close()
	})
	d.url = d.server.URL
	return d
}

func (d *door) shut() {
	d.set(true)
	d.server.CloseClientConnections()
}

func (d *door) open() { d.set(false) }

func (d *door) set(isShut bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.isShut = isShut
}

// browser is a running Chromium.
type browser struct {
	ctx context.Context
}

func startBrowser(t *testing.T) *browser {
	t.Helper()
	path := rigtest.Need(t, "chromium")
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.ExecPath(path), // its user-data-dir is a new one, removed with it
		chromedp.DisableGPU,
		chromedp.WindowSize(1280, 900),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-quic", true),
	)
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // Chromium's sandbox refuses to run as root
	}
	allocator, stopAllocator := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stopAllocator)
	ctx, stop := chromedp.NewContext(allocator)
	t.Cleanup(stop)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start chromium: %v", err)
	}
	return &browser{ctx: ctx}
}

// page is a tab of the browser.
type page struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	requests map[network.RequestID]string // guarded by mu
	problems []string                     // guarded by mu
}

// open opens a new tab.
func (b *browser) open(t *testing.T, address string) *page {
	t.Helper()
	p := &page{t: t, requests: make(map[network.RequestID]string)}
	ctx, cancel := chromedp.NewContext(b.ctx, chromedp.WithListener(p.listen))
	t.Cleanup(cancel)
	p.ctx = ctx
	if err := chromedp.Do(ctx, chromedp.Navigate(address)); err != nil {
		t.Fatalf("open %s: %v", address, err)
	}
	return p
}

// listen notes everything that a page should not do.
func (p *page) listen(event any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	note := func(format string, args ...any) { p.problems = append(p.problems, fmt.Sprintf(format, args...)) }
	switch event := event.(type) {
	case *runtime.EventConsoleAPICalled:
		note("console.%s: %s", event.Type, values(event.Args))
	case *runtime.EventExceptionThrown:
		note("%v", &chromedp.ExceptionError{ExceptionDetails: event.ExceptionDetails})
	case *log.EventEntryAdded:
		note("log: %s: %s %s", event.Entry.Level, event.Entry.Text, event.Entry.URL)
	case *network.EventRequestWillBeSent:
		p.requests[event.RequestID] = event.Request.Method + " " + event.Request.URL
	case *network.EventResponseReceived:
		if event.Response.Status >= 400 {
			note("%s: status %d", p.requests[event.RequestID], event.Response.Status)
		}
	case *network.EventLoadingFailed:
		if !event.Canceled { // canceled: the page closed a stream of its own, or was reloaded
			note("%s: %s", p.requests[event.RequestID], event.ErrorText)
		}
	}
}

// values returns the arguments of a call of console.log and the like.
func values(args []*runtime.RemoteObject) string {
	var all []string
	for _, arg := range args {
		all = append(all, cmp.Or(string(arg.Value), arg.Description))
	}
	return strings.Join(all, " ")
}

// expectClean fails the test if the page did something it should not.
func (p *page) expectClean() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, problem := range p.problems {
		p.t.Errorf("the page has a problem: %s", problem)
	}
}

// click clicks with the mouse, in the middle of the window: at its top the header may lie over the element.
func (p *page) click(selector string) {
	p.t.Helper()
	p.do(`find(` + strconv.Quote(selector) + `).scrollIntoView({block: "center"})`)
	p.run("click "+selector, chromedp.Click(chromedp.CSS(selector)))
}

func (p *page) reload() {
	p.t.Helper()
	p.run("reload", chromedp.Reload())
}

// do runs statements in the page.
func (p *page) do(statements string) {
	p.t.Helper()
	p.run(statements, chromedp.Evaluate[chromedp.Void](`{`+pageHelpers+statements+`}`))
}

// waitFor waits until a condition holds in the page. chromedp.Poll can't do it: it builds a function from text, which
// the console's Content-Security-Policy forbids.
func (p *page) waitFor(condition string) {
	p.t.Helper()
	instead, err := chromedp.Run(p.ctx, chromedp.Evaluate[string](`new Promise((resolve) => {`+pageHelpers+`
		const deadline = Date.now() + 30000;
		const look = () => {
			if (`+condition+`) {
				resolve("");
			} else if (Date.now() > deadline) {
				resolve(document.body.innerText);
			} else {
				setTimeout(look, 20);
			}
		};
		look();
	})`, chromedp.EvalAwaitPromise))
	if err != nil {
		p.t.Fatalf("wait for %s: %v", condition, err)
	}
	if instead != "" {
		p.t.Fatalf("waited too long for %s; the page says:\n%s", condition, instead)
	}
}

// pageHelpers are for the conditions: all and find elements, the text of one ("" if there is none), the pill's text.
const pageHelpers = `
	const all = (selector) => [...document.querySelectorAll(selector)];
	const find = (selector) => document.querySelector(selector);
	const text = (selector) => find(selector)?.textContent.trim() ?? "";
	const pill = () => text("#connection");
`

func (p *page) run(what string, action chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	if err := chromedp.Do(p.ctx, action); err != nil {
		p.t.Fatalf("%s: %v", what, err)
	}
}
