package console_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"omca/internal/interop/lab"
)

// browser is a real one. It fails its test when a page has an error on the
// console, or asks another host for something.
type browser struct {
	context.Context
	t *testing.T
	w *world

	script string // axe-core; "" for none

	mu     sync.Mutex
	wrong  []string
	expect []string // what an error may say: the browser notes 4xx as errors
}

func (w *world) browser(t *testing.T) *browser {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		if slices.Contains(strings.Split(os.Getenv("OMCA_TEST_REQUIRE"), ","), "chromium") {
			t.Fatalf("OMCA_TEST_REQUIRE names chromium: %v", err)
		}
		t.Skip("chromium is not here")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:len(chromedp.DefaultExecAllocatorOptions):len(chromedp.DefaultExecAllocatorOptions)],
		chromedp.ExecPath(program), chromedp.UserDataDir(profileDir(t)), chromedp.Flag("ignore-certificate-errors", true),
		chromedp.NoSandbox, chromedp.Flag("lang", "en-GB"), chromedp.WSURLReadTimeout(60*time.Second))
	ctx, end := context.WithTimeout(t.Context(), 8*time.Minute)
	t.Cleanup(end)
	ctx, end = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(end)
	ctx, end = chromedp.NewContext(ctx)
	t.Cleanup(end)
	b := &browser{Context: ctx, t: t, w: w, script: axeScript(t)}
	chromedp.ListenTarget(ctx, b.hear)
	b.do(network.Enable(), log.Enable(), runtime.Enable())
	t.Cleanup(b.fine)
	return b
}

// profileDir returns a directory for what a browser writes. Its processes go one
// after another when the first is ended, and the last may still write to it.
func profileDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "omca-browser")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lab.Until(t, dir+" is removed", func() bool { return os.RemoveAll(dir) == nil }) })
	return dir
}

// hear notes what should not be.
func (b *browser) hear(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		b.wrong = append(b.wrong, e.ExceptionDetails.Error())
	case *runtime.EventConsoleAPICalled:
		b.wrong = append(b.wrong, "console: "+string(e.Type))
	case *log.EventEntryAdded:
		b.wrong = append(b.wrong, e.Entry.Text)
	case *network.EventRequestWillBeSent:
		if at, err := url.Parse(e.Request.URL); err != nil || at.Host != b.w.address && at.Scheme == "https" || at.Scheme == "http" {
			b.wrong = append(b.wrong, "asked "+e.Request.URL)
		}
	}
}

func (b *browser) fine() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, text := range b.wrong {
		if !slices.ContainsFunc(b.expect, func(e string) bool { return strings.Contains(text, e) }) {
			b.t.Errorf("the browser says: %s", text)
		}
	}
}

func (b *browser) do(actions ...chromedp.Action) {
	b.t.Helper()
	if err := chromedp.Run(b.Context, actions...); err != nil {
		b.t.Fatal(err)
	}
}

func (b *browser) open(path string) {
	b.t.Helper()
	b.do(chromedp.Navigate("https://"+b.w.address+path), chromedp.WaitReady("footer"))
}

// sees waits until a text is on the page.
func (b *browser) sees(text string) {
	b.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	var body string
	for time.Now().Before(deadline) {
		var there bool
		// An error here is a page that is just going: the next one is asked.
		err := chromedp.Run(b.Context, chromedp.Poll("document.readyState === 'complete' && document.body.innerText.includes("+strconv.Quote(text)+")", &there, chromedp.WithPollingTimeout(2*time.Second)))
		if err == nil && there {
			return
		}
		if b.Err() != nil {
			break
		}
		_ = chromedp.Run(b.Context, chromedp.Text("body", &body)) // for the message
	}
	b.t.Fatalf("%q is not on the page: %s", text, body)
}

// until waits until an expression of JavaScript is true.
func (b *browser) until(expression string) {
	b.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for time.Now().Before(deadline) && b.Err() == nil {
		// An error here is a page that is just going: the next one is asked.
		if chromedp.Run(b.Context, chromedp.Poll(expression, nil, chromedp.WithPollingTimeout(5*time.Second))) == nil {
			return
		}
	}
	var at string
	_ = chromedp.Run(b.Context, chromedp.Location(&at)) // for the message
	b.t.Fatalf("%s is never so at %s", expression, at)
}

// listed waits until the list is the one of the address, which has that text in
// it, with so many rows, and nothing is on its way that would replace it again.
func (b *browser) listed(address string, rows int) {
	b.t.Helper()
	b.until(`location.href.includes(` + strconv.Quote(address) + `) && !document.querySelector(".htmx-request, .htmx-swapping, .htmx-settling, .htmx-added") && ` +
		`document.querySelectorAll("#results tbody tr").length === ` + strconv.Itoa(rows))
}

// follow clicks a link or a button, wherever it is by now.
func (b *browser) follow(selector string) {
	b.t.Helper()
	b.until("document.querySelector(" + strconv.Quote(selector) + ") !== null")
	b.do(chromedp.Evaluate("document.querySelector("+strconv.Quote(selector)+").click()", nil))
}

// signIn fills in the form and sends it by the key Enter.
func (b *browser) signIn(name, password string) {
	b.t.Helper()
	b.do(chromedp.SetValue("#name", name), chromedp.SendKeys("#password", password+"\r"))
}

// look is a window and a preference.
type look struct {
	width  int64
	scheme string
}

// shots looks at a page wide and narrow, light and dark: it must not be wider
// than the window, and axe must have nothing serious against it. Pictures of it
// are kept in the directory of OMCA_TEST_SHOTS.
func (b *browser) shots(name string) {
	b.t.Helper()
	dir := os.Getenv("OMCA_TEST_SHOTS")
	looks := []look{{1280, "light"}, {360, "dark"}}
	if dir != "" {
		looks = append(looks, look{1280, "dark"}, look{360, "light"})
	}
	for i, l := range looks {
		var wide int64
		b.do(chromedp.EmulateViewport(l.width, 800), emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: l.scheme}}),
			chromedp.Evaluate("document.documentElement.scrollWidth", &wide))
		if wide > l.width {
			b.t.Errorf("%s: %d pixels wide in a window of %d", name, wide, l.width)
		}
		if i < 2 {
			b.axe(name + ", " + l.scheme)
		}
		if dir == "" {
			continue
		}
		var picture []byte
		b.do(chromedp.FullScreenshot(&picture, 100))
		if err := os.WriteFile(filepath.Join(dir, name+"-"+strconv.FormatInt(l.width, 10)+"-"+l.scheme+".png"), picture, 0o600); err != nil {
			b.t.Error(err)
		}
	}
	b.do(chromedp.EmulateViewport(1280, 800))
}

// axeRun asks axe-core for what is against a page by WCAG 2.1 A and AA and by
// good practice, one line for each thing that is serious.
const axeRun = `(async () => {
  const found = await axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"], resultTypes: ["violations"]});
  return found.violations.filter(v => v.impact === "serious" || v.impact === "critical")
    .map(v => v.id + ": " + v.help + ": " + v.nodes.map(n => n.html + " " + n.failureSummary).slice(0, 3).join(" | ")).join("\n");
})()`

// axe holds the page against axe-core, the file of which OMCA_TEST_AXE names.
func (b *browser) axe(name string) {
	b.t.Helper()
	if b.script == "" {
		return
	}
	var there bool
	b.do(chromedp.Evaluate("typeof axe === 'object'", &there))
	if !there {
		b.do(chromedp.Evaluate(b.script+"; true", nil))
	}
	var found string
	b.do(chromedp.Evaluate(axeRun, &found, func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }))
	if found != "" {
		b.t.Errorf("axe, %s: %s", name, found)
	}
}

// axeScript reads axe-core; "" where it is not and does not have to be.
func axeScript(t *testing.T) string {
	t.Helper()
	file := os.Getenv("OMCA_TEST_AXE")
	if file == "" {
		if slices.Contains(strings.Split(os.Getenv("OMCA_TEST_REQUIRE"), ","), "axe") {
			t.Fatal("OMCA_TEST_REQUIRE names axe, and OMCA_TEST_AXE no file: npm install axe-core, then its axe.min.js")
		}
		t.Log("OMCA_TEST_AXE names no file: what axe-core has against the pages is not looked at")
		return ""
	}
	return string(must(os.ReadFile(file))(t))
}

// TestBrowser goes to every page, and looks at each.
func TestBrowser(t *testing.T) {
	w := newWorld(t)
	b := w.browser(t)
	b.expect = []string{"the server responded with a status of 401", "the server responded with a status of 404", "the server responded with a status of 400"}
	serial := w.serial(t, "ns2/sec/web2")

	b.open("/certificates?state=all")
	b.sees("Sign in")
	b.shots("login")
	b.signIn("admin", "wrong horse battery")
	b.sees("Name or password is wrong.")
	b.shots("login-wrong")
	b.signIn("boss", password)
	b.sees("CN=web2.clu")
	b.shots("certificates")
	b.do(chromedp.SendKeys("#search", "web2"))
	b.listed("search=web2", 1)
	b.follow("#results tbody a")
	b.sees("Its fingerprint")
	b.shots("certificate")
	for _, p := range []struct{ at, sees, name string }{
		{"/certificates/" + serial + "/pkcs12", "Password for the file", "pkcs12"},
		{"/certificates/" + serial + "/revoke", "cannot be undone", "revoke"},
		{"/certificates?search=nowhere", "No certificate fits", "certificates-none"},
		{"/", "no backup was ever made", "overview"},
		{"/hands", "no backup was ever made", "hands"},
		{"/audit", "newest first", "audit"},
		{"/issue", "For a server", "issue"},
		{"/issue?for=user", "add a user", "issue-user"},
		{"/issue?for=request", "Signing request", "issue-request"},
		{"/users", "boss", "users"},
		{"/adduser", "What it may do here", "user-new"},
		{"/users/admin", "Names that it may have signed", "user"},
		{"/users/admin/grants", "One more", "grants"},
		{"/users/boss/password", "Password until now", "password"},
		{"/tokens", "Issue a token", "tokens"},
		{"/tokens/new", "metric-store", "token-new"},
		{"/objects", "ns1/sec/web1", "objects"},
		{"/objects/new", "One a line", "object-new"},
		{"/objects/ns2/sec/web2", "Edit the keywords", "object"},
		{"/edit/ns2/sec/web2", "alt_names", "keywords"},
		{"/delete/ns2/sec/web2", "cannot be undone", "delete"},
		{"/cluster", "cluster.name", "cluster"},
		{"/cluster/edit", "listener.session_max_age", "cluster-edit"},
		{"/nowhere", "There is no page at this address", "error"},
	} {
		b.open(p.at)
		b.sees(p.sees)
		b.shots(p.name)
	}
	// What is wrong stands beside its field, and everything else is kept.
	b.open("/cluster/edit")
	b.do(chromedp.SetValue(`[name="kw.listener.port"]`, "99999"), chromedp.Click("form.keywords button"))
	b.sees("Nothing was changed")
	b.until(`document.getElementById("e.listener.port").innerText.includes("99999") && document.querySelectorAll(".marked").length === 1`)
	b.shots("cluster-edit-wrong")
	b.follow(`form[action="/logout"] button`)
	b.sees("Sign in")
	b.open("/")
	b.sees("Sign in")
}

// TestBrowserIssues is a certificate from the form to its end.
func TestBrowserIssues(t *testing.T) {
	w := newWorld(t)
	b := w.browser(t)
	b.open("/issue")
	b.signIn("admin", password)
	b.sees("For an object that is not there yet")
	b.do(chromedp.SetValue("#path", "ns2/sec/shop"), chromedp.SetValue("#name", "shop.clu"), chromedp.SetValue("#names", "www.clu"), chromedp.SetValue("#validity", "30d"), chromedp.Click("main form button"))
	b.sees("Nothing is signed yet")
	b.sees("DNS:www.clu")
	b.sees("None: this is the first.")
	b.shots("preview")
	if list := string(w.api(t, "GET", "/api/object/path?path=ns2/sec/*", nil)); strings.Contains(list, "shop") {
		t.Errorf("there already: %s", list)
	}
	b.follow(`form[action="/issue"] button`)
	b.sees("The certificate is signed and in place.")
	first := w.serial(t, "ns2/sec/shop")
	b.shots("issued")

	b.open("/issue?path=ns2/sec/shop&rekey=yes")
	b.follow("main form button")
	b.sees("another one")
	b.shots("preview-replaces")
	b.follow(`form[action="/issue"] button`)
	b.sees("signed and in place")
	second := w.serial(t, "ns2/sec/shop")
	if second == first {
		t.Errorf("holds %s, as before", second)
	}
	b.follow("a.danger")
	b.sees("cannot be undone")
	b.do(chromedp.Click(`input[value="keyCompromise"]`), chromedp.Click(`input[name="confirm"]`), chromedp.Click("button.danger"))
	b.sees("The certificate is revoked.")
	b.shots("revoked")
	if got := string(w.api(t, "GET", "/api/certificate/"+second, nil)); !strings.Contains(got, `"state":"revoked"`) || !strings.Contains(got, "keyCompromise") {
		t.Errorf("after the revocation: %s", got)
	}
}

// TestBrowserToken: a token that was issued on a page works by the line that the
// page shows, until it is revoked there.
func TestBrowserToken(t *testing.T) {
	w := newWorld(t)
	b := w.browser(t)
	b.open("/tokens/new")
	b.signIn("guest", password)
	b.sees("For guest.")
	b.do(chromedp.SetValue("#duration", "5m"), chromedp.Click("main form button"))
	b.sees("This is the only time that it is shown.")
	b.shots("token")
	var line, secret string
	b.do(chromedp.Text("#curl", &line), chromedp.Value("#token", &secret))
	call := func() string {
		t.Helper()
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "ca.pem"), w.api(t, "GET", "/ca.pem", nil), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(b.Context, "bash", "-c", line)
		cmd.Dir = dir
		return string(must(cmd.CombinedOutput())(t))
	}
	if got := call(); !strings.Contains(got, `"auth":"jwt"`) || !strings.Contains(got, `"name":"guest"`) {
		t.Errorf("%s", got)
	}
	b.open("/tokens")
	b.sees("valid")
	var html string
	b.do(chromedp.OuterHTML("html", &html))
	if len(secret) < 100 || strings.Contains(html, secret) {
		t.Error("the list has the token, or there was none")
	}
	b.shots("tokens-some")
	b.follow("td form button")
	b.sees("The token is revoked.")
	if got := call(); !strings.Contains(got, "401") {
		t.Errorf("after it was revoked: %s", got)
	}
}

// TestBrowserSessionEnds: a session that began with a certificate is over when
// that is revoked.
func TestBrowserSessionEnds(t *testing.T) {
	w := newWorld(t)
	holder := w.visitor(t)
	holder.client.Transport.(*http.Transport).TLSClientConfig.Certificates = []tls.Certificate{w.certificate(t, "system/usr/admin")}
	holder.submit("/login", url.Values{"with": {"certificate"}}).want(http.StatusSeeOther)
	b := w.browser(t)
	name, secret, _ := strings.Cut(holder.cookie, "=")
	b.open("/login")
	b.do(network.SetCookie(name, secret).WithURL("https://" + w.address + "/").WithSecure(true).WithHTTPOnly(true).WithPath("/"))
	b.open("/users/admin")
	b.sees("this one")
	b.sees("certificate")
	boss := w.as(t, "boss")
	boss.submit("/certificates/"+w.serial(t, "system/usr/admin")+"/revoke", url.Values{"confirm": {"yes"}, "reason": {"keyCompromise"}}).want(http.StatusSeeOther)
	b.open("/users/admin")
	b.sees("Sign in")
}

// TestBrowserRefusesOthers: a page of another origin, on the same host even, can
// neither send a form in the visitor's name nor show a page in a frame.
func TestBrowserRefusesOthers(t *testing.T) {
	w := newWorld(t)
	serial := w.serial(t, "ns2/sec/web2")
	evil := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "text/html")
		if r.URL.Path == "/frame" {
			_, _ = fmt.Fprintf(rw, `<iframe src="https://%s/certificates/%s" width=900 height=500></iframe><footer>framed</footer>`, w.address, serial)
			return
		}
		_, _ = fmt.Fprintf(rw, `<form method=post action="https://%s/certificates/%s/revoke"><input name=confirm value=yes><button>Win</button></form><footer>lured</footer>`, w.address, serial)
	}))
	defer evil.Close()
	b := w.browser(t)
	b.open("/")
	b.signIn("boss", password)
	b.sees("What expires when")
	b.expect = []string{evil.URL, "status of 403", "Refused to display", "Framing", "frame-ancestors", "refused to connect"}
	b.do(chromedp.Navigate(evil.URL+"/lure"), chromedp.WaitReady("footer"), chromedp.Click("button"))
	b.sees("a page of another one")
	b.do(chromedp.Navigate(evil.URL+"/frame"), chromedp.WaitReady("footer"))
	b.until(`document.querySelector("iframe").contentDocument === null`) // not about:blank any more: something was loaded, or refused
	var frames []string
	b.do(chromedp.ActionFunc(func(ctx context.Context) error {
		tree, err := page.GetFrameTree().Do(ctx)
		if err == nil {
			for _, child := range tree.ChildFrames {
				frames = append(frames, child.Frame.URL)
			}
		}
		return err
	}))
	if slices.ContainsFunc(frames, func(at string) bool { return strings.Contains(at, w.address) }) {
		t.Errorf("in a frame: %q", frames)
	}
	if got := string(w.api(t, "GET", "/api/certificate/"+serial, nil)); !strings.Contains(got, `"state":"valid"`) {
		t.Errorf("a page of another origin revoked it: %s", got)
	}
}

// TestBrowserSendsOnce: who clicks twice, while the answer takes its time, has one
// user added, and sees that it is under way.
func TestBrowserSendsOnce(t *testing.T) {
	w := newWorld(t)
	b := w.browser(t)
	b.open("/adduser")
	b.signIn("boss", password)
	b.sees("Add the user")
	b.do(chromedp.Evaluate(`document.addEventListener("submit", e => { window.prevented = e.defaultPrevented; e.preventDefault(); }); document.getElementById("name").value = "twice"; true`, nil))
	b.follow("main form button")
	b.until(`window.prevented === false && document.querySelector("button.waiting") !== null`)
	b.follow("main form button")
	b.until("window.prevented === true")
}

// TestBrowserLockedOut: who guessed too often is told when to try again.
func TestBrowserLockedOut(t *testing.T) {
	w := newWorld(t)
	b := w.browser(t)
	b.expect = []string{"status of 401", "status of 429"}
	w.api(t, "PATCH", "/api/cluster/config?set="+url.QueryEscape("listener.rate_limiter_rate=1/m")+"&set="+url.QueryEscape("listener.rate_limiter_burst=3"), nil)
	for range 3 {
		w.visitor(t).submit("/login", url.Values{"name": {"guest"}, "password": {"wrong horse battery"}}).want(http.StatusUnauthorized)
	}
	b.open("/login")
	b.signIn("guest", password)
	b.sees("Too many attempts.")
	b.sees("You can try again at")
	b.shots("login-locked")
}

// A list that is replaced while a button of the mouse is down does not swallow
// the click.
func TestClickWhileListIsReplaced(t *testing.T) {
	w := newWorld(t)
	b := w.browser(t)
	b.open("/login")
	b.signIn("boss", password)
	b.sees("What expires when")
	b.open("/certificates?search=web1")
	b.listed("search=web1", 1)
	var where []float64
	b.do(chromedp.Evaluate(`(r => [r.x + 5, r.y + r.height / 2])(document.querySelector("#results tbody a").getClientRects()[0])`, &where))
	b.do(chromedp.Evaluate(`window.answers = 0; document.addEventListener("htmx:afterRequest", () => { window.answers++ }); true`, nil),
		chromedp.MouseEvent(input.MousePressed, where[0], where[1], chromedp.ButtonLeft, chromedp.ClickCount(1)),
		chromedp.Evaluate(`htmx.trigger("form.filter", "submit")`, nil))
	b.until("window.answers > 0")
	b.do(chromedp.MouseEvent(input.MouseReleased, where[0], where[1], chromedp.ButtonLeft, chromedp.ClickCount(1)))
	b.sees("Its fingerprint")
}
