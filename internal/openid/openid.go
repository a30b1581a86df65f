package openid

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"omca/internal/background"
	"omca/internal/hint"
	"omca/internal/outbound"
	"omca/usr"
)

// ErrUnavailable means that the keys of the issuer are not known at the moment, so that nobody can say whether a token is good.
var ErrUnavailable = errors.New("the OpenID issuer cannot be reached")

// Config is what stays the same as long as the verifier lives.
type Config struct {
	Now     func() time.Time   // required
	Log     *slog.Logger       // required
	Network *outbound.Network  // nil: that of the system
	Rand    func() float64     // jitter, in [0,1); nil: math/rand/v2
	Panics  *background.Panics // of attempts, which fail with them; nil: they end the process

	// Foreign says of a public key whether it may be the issuer's: ours are not, or a token that was taken back here could come in again as
	// one of the issuer. Nil: every key may.
	Foreign func(key any) bool
}

// Settings say whose tokens are taken. Without an issuer nobody's are.
type Settings struct {
	Issuer     string // URL, as its tokens have it, to the letter
	ClientID   string // that a token must be for
	GrantClaim string // name of the claim with the grants; entitlements is read too
}

// checked says what is wrong with the settings of an issuer.
func (s Settings) checked() error {
	if err := CheckAddress(s.Issuer); err != nil {
		return fmt.Errorf("issuer: %w", err)
	}
	switch {
	case s.ClientID == "":
		return fmt.Errorf("%w client id: it is empty, and tokens for anybody would be taken", usr.ErrInvalid)
	case s.GrantClaim == "":
		return fmt.Errorf("%w grant claim: it is empty", usr.ErrInvalid)
	}
	return nil
}

// CheckAddress says what is wrong with the address of an issuer, or of one of its endpoints: usr.ErrInvalid.
func CheckAddress(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("%w address %.128q: want https, a host and perhaps a path", usr.ErrInvalid, address)
	case !sheltered(u):
		return hint.With(fmt.Errorf("%w address %.128q: the scheme is %q, and the host is not this machine", usr.ErrInvalid, address, u.Scheme), "name it by https")
	}
	return nil
}

// sheltered tells whether nobody between here and u can change what u says: https, or plain http that does not leave the machine.
func sheltered(u *url.URL) bool {
	if u.Scheme == "https" {
		return true
	}
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback())
}

// Verifier takes the tokens of the issuer that is configured. Any number of goroutines may use it.
type Verifier struct {
	cfg  Config
	wake chan struct{}

	mu      sync.Mutex // guards what follows and all providers, for moments only
	current *provider  // nil: there is no issuer
	closed  bool
	counts  Counts
	work    sync.WaitGroup // attempts under way; added to under mu while not closed
}

// Counts are the requests that were made to issuers since the start.
type Counts struct {
	Attempts uint64 // to learn the keys of the issuer; each is one request or two
	Failures uint64 // of those
}

// New returns a verifier without an issuer. Errors: a Config that cannot work.
func New(c Config) (*Verifier, error) {
	if c.Now == nil || c.Log == nil {
		return nil, errors.New("openid: a Config lacks one of Now and Log")
	}
	if c.Rand == nil {
		c.Rand = rand.Float64
	}
	if c.Foreign == nil {
		c.Foreign = func(any) bool { return true }
	}
	if c.Network == nil {
		c.Network = new(outbound.Network)
	}
	return &Verifier{cfg: c, wake: make(chan struct{}, 1)}, nil
}

// Configure makes s whose tokens are taken, from now on: those of another issuer before it, or for another client, are refused when it
// returns. It waits for nothing. Settings that cannot work are usr.ErrInvalid, and leave nobody whose tokens are taken.
func (v *Verifier) Configure(s Settings) error {
	var next *provider
	var err error
	if s.Issuer != "" {
		if err = s.checked(); err == nil {
			next = newProvider(v, s)
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.closed, v.current != nil && next != nil && v.current.Settings == next.Settings:
		return err
	case v.current != nil:
		v.current.cancel()
	}
	v.current = next
	v.rouse()
	return err
}

// Close ends what is under way, and waits for it. No token is taken afterwards.
func (v *Verifier) Close() {
	v.mu.Lock()
	if v.current != nil {
		v.current.cancel()
	}
	v.current, v.closed = nil, true
	v.mu.Unlock()
	v.work.Wait()
}

// rouse makes Run look again at what is due.
func (v *Verifier) rouse() {
	select {
	case v.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// Run keeps the keys of the issuer fresh until ctx is done. Without it they are fetched when a token asks for them.
func (v *Verifier) Run(ctx context.Context) {
	for {
		wait := v.due()
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-v.wake: // by Configure, and by each attempt that ends
			timer.Stop()
		case <-timer.C:
		}
	}
}

// due begins the attempt that is due, and returns how long to wait for the next.
func (v *Verifier) due() time.Duration {
	const longest = time.Minute // the wall clock may be set meanwhile
	v.mu.Lock()
	defer v.mu.Unlock()
	p := v.current
	if p == nil || p.running != nil {
		return longest
	}
	now := v.cfg.Now()
	if p.next.After(now) {
		return min(longest, p.next.Sub(now))
	}
	p.start()
	return longest
}

// Status says how the issuer is doing.
type Status struct {
	Configured bool
	Issuer     string
	ClientID   string
	Usable     bool      // its keys are known, so that tokens can be verified
	Reachable  bool      // the last attempt to learn its keys succeeded
	Since      time.Time // of Reachable; zero before the first attempt ended
	FetchedAt  time.Time // when the keys came last; zero for never
	Keys       int
	LastError  string // of the last attempt; "" when that succeeded
	NextTry    time.Time
}

// Status returns how the issuer is doing.
func (v *Verifier) Status() Status {
	v.mu.Lock()
	defer v.mu.Unlock()
	p := v.current
	if p == nil {
		return Status{}
	}
	return Status{
		Configured: true, Issuer: p.Issuer, ClientID: p.ClientID,
		Usable: p.usable(v.cfg.Now()), Reachable: p.reachable, Since: p.since.UTC(), FetchedAt: p.fetched.UTC(),
		Keys: len(p.keys), LastError: p.trouble, NextTry: p.next.UTC(),
	}
}

// Counts returns how often issuers were asked.
func (v *Verifier) Counts() Counts {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.counts
}

// Printable returns text that came from elsewhere as one line that a log and a terminal can take.
func Printable(text string) string {
	const line = 300
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 {
			return '.'
		}
		return r
	}, text)
	if len(text) > line {
		text = text[:line] + "…"
	}
	return text
}
