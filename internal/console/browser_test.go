package console_test

import (
	"context"
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
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// browser is a real one. It fails its test when a page has an error on the
// console, or asks another host for something.
type browser struct {
	context.Context
	t *testing.T
	w *world

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
		chromedp.ExecPath(program), chromedp.UserDataDir(t.TempDir()), chromedp.Flag("ignore-certificate-errors", true),
		chromedp.NoSandbox, chromedp.Flag("lang", "en-GB"), chromedp.WSURLReadTimeout(60*time.Second))
	ctx, end := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(end)
	ctx, end = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(end)
	ctx, end = chromedp.NewContext(ctx)
	t.Cleanup(end)
	b := &browser{Context: ctx, t: t, w: w}
	chromedp.ListenTarget(ctx, b.hear)
	b.do(network.Enable(), log.Enable(), runtime.Enable())
	t.Cleanup(b.fine)
	return b
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
	if err := chromedp.Run(b.Context, chromedp.Poll(expression, nil, chromedp.WithPollingTimeout(20*time.Second))); err != nil {
		var at string
		_ = chromedp.Run(b.Context, chromedp.Location(&at)) // for the message
		b.t.Fatalf("%s is never so at %s: %v", expression, at, err)
	}
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

// shots keeps pictures of a page, wide and narrow, light and dark, in the
// directory of OMCA_TEST_SHOTS. A page must not be wider than the window.
func (b *browser) shots(name string) {
	b.t.Helper()
	for _, width := range []int64{1280, 360} {
		scheme := map[int64]string{1280: "light", 360: "dark"}[width]
		var picture []byte
		var wide int64
		b.do(chromedp.EmulateViewport(width, 800), emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}),
			chromedp.Evaluate("document.documentElement.scrollWidth", &wide), chromedp.FullScreenshot(&picture, 100))
		if wide > width {
			b.t.Errorf("%s: %d pixels wide in a window of %d", name, wide, width)
		}
		if dir := os.Getenv("OMCA_TEST_SHOTS"); dir != "" {
			if err := os.WriteFile(filepath.Join(dir, name+"-"+strconv.FormatInt(width, 10)+".png"), picture, 0o600); err != nil {
				b.t.Error(err)
			}
		}
	}
	b.do(chromedp.EmulateViewport(1280, 800))
}

func TestBrowser(t *testing.T) {
	w := newWorld(t)
	b := w.browser(t)
	b.expect = []string{"the server responded with a status of 401", "the server responded with a status of 404"}
	serial := w.serial(t, "ns2/sec/web2")

	b.open("/certificates?state=all")
	b.sees("Sign in")
	b.shots("login")
	b.signIn("admin", "wrong horse battery")
	b.sees("Name or password is wrong.")
	b.shots("login-wrong")
	b.signIn("admin", password)
	b.sees("CN=web2.clu")
	b.shots("certificates")
	b.do(chromedp.SendKeys("#search", "web2"))
	b.listed("search=web2", 1)
	b.follow("#results tbody a")
	b.sees("Its fingerprint")
	b.shots("certificate")
	b.do(chromedp.Click("a.danger"))
	b.sees("cannot be undone")
	b.shots("revoke")
	b.do(chromedp.Click(`input[value="keyCompromise"]`), chromedp.Click(`input[name="confirm"]`), chromedp.Click("button.danger"))
	b.sees("The certificate is revoked.")
	b.shots("revoked")
	w.api(t, "GET", "/api/certificate/"+serial, nil)
	if got := string(w.api(t, "GET", "/api/certificate/"+serial, nil)); !strings.Contains(got, `"state":"revoked"`) || !strings.Contains(got, "keyCompromise") {
		t.Errorf("after the revocation: %s", got)
	}
	b.open("/")
	b.sees("What expires when")
	b.shots("overview-admin")
	b.open("/nowhere")
	b.sees("There is no page at this address")
	b.shots("error")
	b.do(chromedp.Click(`form[action="/logout"] button`))
	b.sees("Sign in")
	b.open("/")
	b.sees("Sign in")
	b.signIn("boss", password)
	b.sees("Nodes")
	b.shots("overview")
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
