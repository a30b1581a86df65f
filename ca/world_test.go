package ca_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"omca/ca"
	"omca/internal/object"
	"omca/internal/registry"
	"omca/internal/seal"
	"omca/internal/store"
	"omca/internal/store/mem"
	"omca/internal/store/storetest"
	"omca/pki"
	"omca/pki/lint"
	"omca/usr"
)

// world is an authority over real objects in a store in memory.
type world struct {
	*ca.Authority
	ocsp    *ca.OCSP
	t       testing.TB
	objects *registry.Store
	log     *bytes.Buffer
	clock   sync.Mutex // guards now, where it is set while something runs
	now     time.Time
	more    []*ca.Authority // over the same objects
}

// start is when every world begins.
func start() time.Time { return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) }

func newWorld(t testing.TB) *world {
	t.Helper()
	w, err := openWorld(t, mem.New(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// openWorld opens an authority on db, which may hold an earlier one's things.
func openWorld(t testing.TB, db store.Store, home string) (*world, error) {
	t.Helper()
	w := &world{t: t, log: new(bytes.Buffer), now: start()}
	key := filepath.Join(home, "seal.key")
	master, err := seal.OpenFileMaster(key)
	if err != nil {
		if master, err = seal.CreateFileMaster(key); err != nil {
			return nil, err
		}
	}
	clock := func() time.Time {
		w.clock.Lock()
		defer w.clock.Unlock()
		return w.now
	}
	log := slog.New(slog.NewTextHandler(w.log, nil))
	w.objects, err = registry.OpenStore(t.Context(), registry.StoreConfig{Store: db, Master: master, Now: clock, Log: log})
	if err != nil {
		return nil, err
	}
	if w.Authority, err = ca.New(ca.Config{Store: w.objects, Linter: lint.New(), Now: clock, Moment: time.Now, Log: log}); err != nil {
		return nil, err
	}
	w.objects.OnChange(func(p object.Path) {
		if p == object.ClusterPath() {
			p = object.Path{}
		}
		w.Changed(p.String())
		for _, a := range w.more {
			a.Changed(p.String())
		}
	})
	w.ocsp = w.NewOCSP(w.stage)
	w.objects.OnRevoke(w.ocsp.Revoked)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.objects.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) && !errors.Is(err, storetest.ErrFault) {
			t.Errorf("the watch ended with %v", err)
		}
	})
	return w, nil
}

// stage stages the responder of a CA, as the daemon does.
func (w *world) stage(ctx context.Context, path, issuer string) (context.Context, error) {
	p, err := object.ParsePath(path)
	if err != nil {
		return nil, err
	}
	var keywords []string
	if issuer != "" {
		keywords = append(keywords, "ca="+issuer)
	}
	c, err := w.apply(object.NewConfig(p), keywords)
	return w.objects.Stage(ctx, p, 0, c), err
}

// bootstrapped is a world with a cluster, a CA and a listener's certificate.
func bootstrapped(t testing.TB) *world {
	t.Helper()
	w := newWorld(t)
	w.bootstrap()
	return w
}

func (w *world) bootstrap() {
	w.t.Helper()
	w.create("cluster", "cluster.name=testers", "cluster.id=0b5d8a1e-3f0c-4f7e-9a55-7d1c2f3e4b6a")
	w.create(ca.PathCA)
	w.mustIssue(ca.PathCA)
	w.create(ca.PathListener, "cn=node1", "alt_names=node1 localhost 127.0.0.1 ::1")
	w.mustIssue(ca.PathListener)
}

// create makes an object with keywords.
func (w *world) create(path string, keywords ...string) {
	w.t.Helper()
	if err := w.tryCreate(path, keywords...); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) tryCreate(path string, keywords ...string) error {
	p, err := object.ParsePath(path)
	if err != nil {
		return err
	}
	c, err := w.apply(object.NewConfig(p), keywords)
	if err != nil {
		return err
	}
	return w.objects.Create(w.t.Context(), p, c)
}

// set changes keywords of an object.
func (w *world) set(path string, keywords ...string) {
	w.t.Helper()
	p, err := object.ParsePath(path)
	if err != nil {
		w.t.Fatal(err)
	}
	o, err := w.objects.Get(w.t.Context(), p)
	if err != nil {
		w.t.Fatal(err)
	}
	c, err := w.apply(o.Config, keywords)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.objects.Configure(w.t.Context(), p, o.Revision, c); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) apply(c object.Config, keywords []string) (object.Config, error) {
	set, err := object.ParseExprs(keywords)
	if err != nil {
		return c, err
	}
	next, _, err := c.Apply(object.Update{Set: set})
	return next, err
}

func (w *world) mustIssue(path string) ca.Issued {
	w.t.Helper()
	issued, err := w.Create(w.t.Context(), caller(w.t, "root", "root"), path, ca.CreateOptions{})
	if err != nil {
		w.t.Fatalf("certificate create on %s: %v", path, err)
	}
	return issued
}

// value reads a key of an object.
func (w *world) value(path, key string) []byte {
	w.t.Helper()
	p, err := object.ParsePath(path)
	if err != nil {
		w.t.Fatal(err)
	}
	v, err := w.objects.Value(w.t.Context(), p, key)
	if err != nil {
		w.t.Fatal(err)
	}
	return v
}

// records lists the inventory.
func (w *world) records(q ca.Query) []ca.Listed {
	w.t.Helper()
	var all []ca.Listed
	for r, err := range w.Records(w.t.Context(), q) {
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

func caller(t testing.TB, name, grants string) usr.Caller {
	t.Helper()
	g, err := usr.ParseGrants(grants)
	if err != nil {
		t.Fatal(err)
	}
	return usr.Caller{Name: name, Method: usr.MethodX509, Grants: g, Address: "192.0.2.1:5"}
}

func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := pki.GenerateKey(pki.ECP256)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// csr makes a request for a common name and alternative names.
func csr(t testing.TB, cn string, names ...string) []byte {
	t.Helper()
	parsed, err := pki.ParseNames(names)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := pki.CreateSigningRequest(newKey(t), pki.Subject{CommonName: cn}, parsed)
	if err != nil {
		t.Fatal(err)
	}
	return pem
}

// verified is the chain of a client certificate as crypto/tls verifies it.
func (w *world) verified(leaf *x509.Certificate) []*x509.Certificate {
	w.t.Helper()
	trusted, err := w.Trust(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	for _, c := range trusted {
		pool.AddCert(c)
	}
	chains, err := leaf.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: w.now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		w.t.Fatal(err)
	}
	return chains[0]
}
