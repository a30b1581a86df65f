package ca_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"omca/ca"
	"omca/pki/lint"
	"omca/usr"
)

// asked is a store that counts how often it is asked what a caller got.
type asked struct {
	ca.Store
	times *atomic.Int64
}

func (s asked) IssuedBy(ctx context.Context, by string, since time.Time) ([]time.Time, error) {
	s.times.Add(1)
	return s.Store.IssuedBy(ctx, by, since)
}

// another is an authority over the same store, as another node has, or a restart.
func (w *world) another(s ca.Store) *ca.Authority {
	w.t.Helper()
	a, err := ca.New(ca.Config{Store: s, Linter: lint.New(), Now: func() time.Time { return w.now }, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		w.t.Fatal(err)
	}
	w.more = append(w.more, a)
	return a
}

// certifies asks for a certificate for a request of its own.
func (w *world) certifies(a *ca.Authority, who usr.Caller, request []byte) error {
	_, err := a.Sign(w.t.Context(), who, ca.SignRequest{CSR: request, Validity: time.Hour})
	return err
}

// exhausted fails unless err says that a caller had all of its certificates, and there
// is room after so long.
func exhausted(t *testing.T, err error, most int, after time.Duration) {
	t.Helper()
	var q *usr.QuotaError
	if !errors.As(err, &q) || !errors.Is(err, usr.ErrQuota) {
		t.Fatalf("not a quota: %v", err)
	}
	if want := fmt.Sprintf("had %d certificates issued within an hour, and cluster.max_certificates is %d for callers without root", most, most); !strings.Contains(err.Error(), want) {
		t.Errorf("%q does not say %q", err, want)
	}
	if q.Keyword != "cluster.max_certificates" || q.After != after {
		t.Errorf("keyword %q, room after %s, want %s", q.Keyword, q.After, after)
	}
}

// TestMaxCertificates: a caller without root gets so many certificates within an hour
// and no more, whatever it asks with, on another node and after a restart too. Other
// callers and root are served.
func TestMaxCertificates(t *testing.T) {
	const most = 20
	w := bootstrapped(t)
	w.set("cluster", fmt.Sprintf("cluster.max_certificates=%d", most))
	for _, name := range []string{"signer", "other"} {
		w.create("system/usr/"+name, "names=*.example.com")
	}
	signer, other, root := caller(t, "signer", "admin:ns1"), caller(t, "other", "guest"), caller(t, "root", "root")
	request := csr(t, "a.example.com")
	second := w.another(w.objects)
	w.create("ns1/sec/web", "cn=web.example.com", "validity=90d")
	for i := range most {
		a := w.Authority
		if i%2 == 1 {
			a = second
		}
		ask := func() error { return w.certifies(a, signer, request) }
		if i == 3 {
			ask = func() error {
				_, err := a.Create(t.Context(), signer, "ns1/sec/web", ca.CreateOptions{})
				return err
			}
		}
		if err := ask(); err != nil {
			t.Fatalf("certificate %d of %d: %v", i+1, most, err)
		}
		w.now = w.now.Add(10 * time.Second)
	}
	// The first one was issued 200 s ago.
	_, created := w.Create(t.Context(), signer, "ns1/sec/web", ca.CreateOptions{})
	for _, err := range []error{w.certifies(w.Authority, signer, request), w.certifies(second, signer, request), w.certifies(w.another(w.objects), signer, request), created} {
		exhausted(t, err, most, time.Hour-200*time.Second)
	}
	if _, err := w.PreviewSign(t.Context(), signer, ca.SignRequest{CSR: request}); err != nil {
		t.Errorf("a preview issues nothing: %v", err)
	}
	for range 2 * most {
		if err := w.certifies(w.Authority, root, request); err != nil {
			t.Fatalf("root: %v", err)
		}
	}
	if err := w.certifies(w.Authority, other, request); err != nil {
		t.Errorf("another caller: %v", err)
	}
	w.set("cluster", "cluster.max_certificates=0")
	if err := w.certifies(w.Authority, signer, request); err != nil {
		t.Errorf("without a bound: %v", err)
	}
	w.set("cluster", fmt.Sprintf("cluster.max_certificates=%d", most+1))
	exhausted(t, w.certifies(w.Authority, signer, request), most+1, time.Hour-200*time.Second)

	w.now = w.now.Add(time.Hour - 200*time.Second + time.Second)
	if err := w.certifies(w.Authority, signer, request); err != nil {
		t.Errorf("an hour after the first: %v", err)
	}
}

// TestMaxCertificatesAtOnce: calls at the same moment get no more than the bound, and no
// less.
func TestMaxCertificatesAtOnce(t *testing.T) {
	const most = 40
	w := bootstrapped(t)
	w.set("cluster", fmt.Sprintf("cluster.max_certificates=%d", most))
	w.create("system/usr/signer", "names=*.example.com")
	signer, request := caller(t, "signer", "guest"), csr(t, "a.example.com")
	var got, refused atomic.Int64
	var calls sync.WaitGroup
	for range 8 {
		calls.Go(func() {
			for range most {
				switch err := w.certifies(w.Authority, signer, request); {
				case err == nil:
					got.Add(1)
				case errors.Is(err, usr.ErrQuota):
					refused.Add(1)
				default:
					t.Error(err)
				}
			}
		})
	}
	calls.Wait()
	if n := w.issuedTo("system/usr/signer"); n != most || got.Load() != most {
		t.Errorf("%d certificates on record, %d were given out, %d refused, want %d", n, got.Load(), refused.Load(), most)
	}
}

// late is a store in which the first commit waits until the store is asked a second time for what was
// issued. It is done before that answer, which does not have it.
type late struct {
	ca.Store
	times                     *atomic.Int64
	commits, asked, committed chan struct{}
	once                      *sync.Once
}

func (s late) Commit(ctx context.Context, c ca.Change) error {
	if len(c.Records) > 0 {
		s.once.Do(func() { close(s.commits) })
		<-s.asked
	}
	return s.Store.Commit(ctx, c)
}

func (s late) IssuedBy(ctx context.Context, by string, since time.Time) ([]time.Time, error) {
	all, err := s.Store.IssuedBy(ctx, by, since)
	if s.times.Add(1) == 2 {
		close(s.asked)
		<-s.committed
	}
	return all, err
}

// TestIssuedWhileCounted: a certificate that is issued while the store is asked counts.
func TestIssuedWhileCounted(t *testing.T) {
	w := bootstrapped(t)
	w.set("cluster", "cluster.max_certificates=1")
	w.create("system/usr/signer", "names=*.example.com")
	signer, request := caller(t, "signer", "guest"), csr(t, "a.example.com")
	s := late{w.objects, new(atomic.Int64), make(chan struct{}), make(chan struct{}), make(chan struct{}), new(sync.Once)}
	a := w.another(s)
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { first <- w.certifies(a, signer, request) }()
	<-s.commits
	go func() { second <- w.certifies(a, signer, request) }()
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	close(s.committed)
	if err := <-second; !errors.Is(err, usr.ErrQuota) {
		t.Errorf("one too many: %v", err)
	}
}

// TestQuotaAsksRarely: the store is asked seldom while a caller is far from the bound,
// and not for what is refused.
func TestQuotaAsksRarely(t *testing.T) {
	const most = 200
	w := bootstrapped(t)
	w.set("cluster", fmt.Sprintf("cluster.max_certificates=%d", most))
	w.create("system/usr/signer", "names=*.example.com")
	var times atomic.Int64
	a := w.another(asked{w.objects, &times})
	signer, request := caller(t, "signer", "guest"), csr(t, "a.example.com")
	for i := range most {
		if err := w.certifies(a, signer, request); err != nil {
			t.Fatal(err)
		}
		if i == most/2 && times.Load() > 4 {
			t.Errorf("the store was asked %d times for half of the bound", times.Load())
		}
	}
	if n := times.Load(); n > 25 {
		t.Errorf("the store was asked %d times up to the bound", n)
	}
	before := times.Load()
	for range 100 {
		if err := w.certifies(a, signer, request); !errors.Is(err, usr.ErrQuota) {
			t.Fatal(err)
		}
	}
	if n := times.Load() - before; n > 1 {
		t.Errorf("the store was asked %d times for what was refused", n)
	}
}

// TestRenewalDoesNotCount: an object's living certificate is renewed once an hour with
// the same names beside the bound.
func TestRenewalDoesNotCount(t *testing.T) {
	w := bootstrapped(t)
	w.set("cluster", "cluster.max_certificates=3")
	w.create("system/usr/boss", "names=*.example.com")
	boss := caller(t, "boss", "admin:ns1")
	create := func(path string) error {
		_, err := w.Create(t.Context(), boss, path, ca.CreateOptions{})
		return err
	}
	for _, name := range []string{"a", "b", "c"} {
		w.create("ns1/sec/"+name, "cn="+name+".example.com", "alt_names=www-"+name+".example.com")
		w.mustIssue("ns1/sec/" + name)
	}
	w.now = w.now.Add(2 * time.Hour)
	w.set("ns1/sec/c", "alt_names=other.example.com")
	for _, path := range []string{"ns1/sec/a", "ns1/sec/b", "ns1/sec/c", "ns1/sec/a", "ns1/sec/b"} { // two renewals, and three that count
		if err := create(path); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	if err := create("ns1/sec/a"); !errors.Is(err, usr.ErrQuota) {
		t.Errorf("a fourth that counts: %v", err)
	}
}

// TestMaxValidity: callers without root ask for no more than the keyword of the cluster
// and their own permit; what is not asked for is cut; the daemon's renewals do not go
// beyond what was granted.
func TestMaxValidity(t *testing.T) {
	const day = 24 * time.Hour
	w := bootstrapped(t)
	w.create("system/usr/signer", "names=*.example.com")
	w.create("system/usr/narrow", "names=*.example.com", "max_validity=30d")
	request := csr(t, "a.example.com")
	sign := func(name string, life time.Duration) (time.Duration, error) {
		grants := "admin:ns1"
		if name == "root" {
			grants = "root"
		}
		issued, err := w.Sign(t.Context(), caller(t, name, grants), ca.SignRequest{CSR: request, Validity: life})
		if err != nil {
			return 0, err
		}
		return issued.Certificate.NotAfter.Sub(w.now).Round(time.Minute), nil
	}
	for _, c := range []struct {
		who        string
		asks, gets time.Duration
		says       string
	}{
		{"signer", 825 * day, 825 * day, ""},
		{"signer", 826 * day, 0, `a certificate of profile "listener" for 826d is asked for, and cluster.max_validity is 825d for callers without root`},
		{"signer", 0, 365 * day, ""},
		{"root", 1000 * day, 1000 * day, ""},
		{"narrow", 30 * day, 30 * day, ""},
		{"narrow", 31 * day, 0, "for 31d is asked for, and max_validity of system/usr/narrow is 30d"},
		{"narrow", 0, 30 * day, ""},
	} {
		got, err := sign(c.who, c.asks)
		if (err == nil) != (c.says == "") || err != nil && (!errors.Is(err, usr.ErrDenied) || !strings.Contains(err.Error(), c.says)) || got != c.gets {
			t.Errorf("%s asks for %s: %s, %v, want %s %q", c.who, c.asks, got, err, c.gets, c.says)
		}
	}
	w.set("cluster", "cluster.max_validity=10d listener=20d usr=0")
	if _, err := sign("signer", 21*day); !errors.Is(err, usr.ErrDenied) || !strings.Contains(err.Error(), "cluster.max_validity is 20d") {
		t.Errorf("the bound of the profile: %v", err)
	}
	w.create("system/usr/alice", "validity=5y")
	if _, err := w.Create(t.Context(), caller(t, "alice", "guest"), "system/usr/alice", ca.CreateOptions{}); err != nil {
		t.Errorf("a profile without a bound: %v", err)
	}

	w.create("ns1/sec/web", "cn=web.example.com", "validity=30d")
	first := w.mustIssue("ns1/sec/web").Certificate
	w.set("ns1/sec/web", "validity=9y")
	w.now = ca.DueAt(first.NotBefore, first.NotAfter)
	if _, err := w.RenewDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := w.mustChainAt("ns1/sec/web")[0].NotAfter.Sub(w.now).Round(day); got != 30*day {
		t.Errorf("renewed for %s, and root granted 30d", got)
	}
}
