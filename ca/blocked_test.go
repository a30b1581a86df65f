package ca_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"omca/ca"
	"omca/crl"
	"omca/internal/object"
	"omca/internal/registry"
	"omca/internal/seal"
	"omca/internal/store"
	"omca/internal/store/mem"
	"omca/pki"
	"omca/pki/flocker/flockertest"
)

// over makes a request for a common name over a key.
func over(t testing.TB, key crypto.Signer, cn string) []byte {
	t.Helper()
	text, err := pki.CreateSigningRequest(key, pki.Subject{CommonName: cn}, pki.Names{})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// lose has a certificate signed over the key, and revokes it for a reason.
func (w *world) lose(key crypto.Signer, reason crl.Reason) {
	w.t.Helper()
	issued, err := w.Sign(w.t.Context(), caller(w.t, "root", "root"), ca.SignRequest{CSR: over(w.t, key, "lost.example.com"), Profile: ca.ProfileListener})
	if err != nil {
		w.t.Fatal(err)
	}
	w.revoke(pki.SerialOf(issued.Certificate), reason)
}

// key is the private key that an object has.
func (w *world) key(path string) crypto.Signer {
	w.t.Helper()
	key, err := pki.ParsePrivateKey(w.value(path, ca.KeyPrivate), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return key
}

// imports imports values one after the other, and returns the first error.
func (w *world) imports(path string, values ...value) error {
	for _, v := range values {
		if _, err := w.Import(w.t.Context(), caller(w.t, "root", "root"), path, v.name, v.text); err != nil {
			return err
		}
	}
	return nil
}

// imported makes an object that holds a certificate of another PKI, with its key.
func (w *world) imported(path string, key crypto.Signer) {
	w.t.Helper()
	w.create(path, "cn=vip.example.com")
	c := newCompany(w.t)
	if err := w.imports(path, keyOf(w.t, key), chainOf(c.leaf(key, nil), c.sub, c.root)); err != nil {
		w.t.Fatal(err)
	}
}

// A way leads to a certificate over a key. What it needs beforehand is made by prepare,
// which returns the key and the last step.
type way struct {
	name    string
	prepare func(w *world) (key crypto.Signer, last func() error)
}

// signed is the way by which a request is signed.
func signed(name, profile, cn string) way {
	return way{name, func(w *world) (crypto.Signer, func() error) {
		key := newKey(w.t)
		w.create("system/usr/alice")
		return key, func() error {
			_, err := w.Sign(w.t.Context(), caller(w.t, "root", "root"), ca.SignRequest{CSR: over(w.t, key, cn), Profile: profile})
			return err
		}
	}}
}

// waysBySigning lead to a certificate of this cluster.
func waysBySigning() []way {
	return []way{
		signed("sign a server's request", ca.ProfileListener, "web.example.com"),
		signed("sign a user's request", ca.ProfileUser, "alice"),
		signed("sign a node's request", ca.ProfileNode, "node7"),
		{"preview of signing", func(w *world) (crypto.Signer, func() error) {
			key := newKey(w.t)
			return key, func() error {
				_, err := w.PreviewSign(w.t.Context(), caller(w.t, "root", "root"), ca.SignRequest{CSR: over(w.t, key, "web.example.com"), Profile: ca.ProfileListener})
				return err
			}
		}},
		{"sign a member's request", func(w *world) (crypto.Signer, func() error) {
			w.create(ca.PathPeers, "profile=ca", "cn=testers peers")
			w.mustIssue(ca.PathPeers)
			w.create(ca.PathNode+"n2", "profile=node", "cn=n2", "ca="+ca.PathPeers)
			key := newKey(w.t)
			return key, func() error {
				_, err := w.SignNode(w.t.Context(), caller(w.t, "root", "root"), ca.PathNode+"n2", over(w.t, key, "n2"))
				return err
			}
		}},
		{"a request for another PKI", func(w *world) (crypto.Signer, func() error) {
			w.create("ns1/sec/web", "cn=web.example.com")
			w.mustIssue("ns1/sec/web")
			return w.key("ns1/sec/web"), func() error {
				_, err := w.SigningRequest(w.t.Context(), caller(w.t, "root", "root"), "ns1/sec/web")
				return err
			}
		}},
		{"renew a CA over its key", func(w *world) (crypto.Signer, func() error) {
			w.create("system/sec/ca-sub", "cn=Sub CA", "ca="+ca.PathCA)
			w.mustIssue("system/sec/ca-sub")
			return w.key("system/sec/ca-sub"), func() error {
				_, err := w.Create(w.t.Context(), caller(w.t, "root", "root"), "system/sec/ca-sub", ca.CreateOptions{})
				return err
			}
		}},
		{"sign by a CA with the key", func(w *world) (crypto.Signer, func() error) {
			w.create("system/sec/ca-sub", "cn=Sub CA", "ca="+ca.PathCA)
			w.mustIssue("system/sec/ca-sub")
			w.create("system/usr/alice", "ca=system/sec/ca-sub")
			return w.key("system/sec/ca-sub"), func() error {
				_, err := w.Create(w.t.Context(), caller(w.t, "root", "root"), "system/usr/alice", ca.CreateOptions{})
				return err
			}
		}},
	}
}

// waysByImport bring a certificate of another PKI.
func waysByImport() []way {
	served := func(name string, kind pki.KeyType, values func(c *company, key crypto.Signer) []value) way {
		return way{name, func(w *world) (crypto.Signer, func() error) {
			c, key := newCompany(w.t), generated(w.t, kind)
			w.create("ns1/sec/vip", "cn=vip.example.com")
			return key, func() error { return w.imports("ns1/sec/vip", values(c, key)...) }
		}}
	}
	encoded := func(name string, kind pki.KeyType, encode func(crypto.Signer) (string, []byte, error)) way {
		return served("import a key in "+name, kind, func(c *company, key crypto.Signer) []value {
			what, der, err := encode(key)
			if err != nil {
				c.t.Fatal(err)
			}
			return []value{chainOf(c.leaf(key, nil), c.sub), {ca.KeyPrivate, block(what, der)}}
		})
	}
	pkcs8 := func(key crypto.Signer) (string, []byte, error) {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		return "PRIVATE KEY", der, err
	}
	return []way{
		served("import, chain last", pki.ECP256, func(c *company, key crypto.Signer) []value {
			return []value{keyOf(c.t, key), chainOf(c.leaf(key, nil), c.sub)}
		}),
		served("import in three parts", pki.ECP256, func(c *company, key crypto.Signer) []value {
			leaf := c.leaf(key, nil)
			return []value{{ca.KeyCertificate, pki.EncodeCertificates(leaf)}, keyOf(c.t, key), chainOf(leaf, c.sub)}
		}),
		encoded("PKCS #1", pki.RSA2048, func(key crypto.Signer) (string, []byte, error) {
			return "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key.(*rsa.PrivateKey)), nil
		}),
		encoded("PKCS #8, RSA", pki.RSA2048, pkcs8),
		encoded("SEC 1", pki.ECP384, func(key crypto.Signer) (string, []byte, error) {
			der, err := x509.MarshalECPrivateKey(key.(*ecdsa.PrivateKey))
			return "EC PRIVATE KEY", der, err
		}),
		encoded("PKCS #8, EC", pki.ECP256, pkcs8),
		encoded("PKCS #8, Ed25519", pki.Ed25519, pkcs8),
		{"install what another PKI signed for a request", func(w *world) (crypto.Signer, func() error) {
			w.create("ns1/sec/vip", "cn=vip.example.com")
			if _, err := w.SigningRequest(w.t.Context(), caller(w.t, "root", "root"), "ns1/sec/vip"); err != nil {
				w.t.Fatal(err)
			}
			c, key := newCompany(w.t), w.key("ns1/sec/vip")
			return key, func() error { return w.imports("ns1/sec/vip", chainOf(c.leaf(key, nil), c.sub)) }
		}},
		{"import another certificate over the key", func(w *world) (crypto.Signer, func() error) {
			key, c := newKey(w.t), newCompany(w.t)
			w.imported("ns1/sec/vip", key)
			return key, func() error { return w.imports("ns1/sec/vip", chainOf(c.leaf(key, nil), c.sub)) }
		}},
		{"import a CA with its key", func(w *world) (crypto.Signer, func() error) {
			c := newCompany(w.t)
			w.create("system/sec/ca-corp")
			return c.rootKey, func() error { return w.imports("system/sec/ca-corp", keyOf(w.t, c.rootKey), chainOf(c.root)) }
		}},
		{"import a CA whose key is elsewhere", func(w *world) (crypto.Signer, func() error) {
			c := newCompany(w.t)
			w.create("system/sec/ca-corp")
			return c.rootKey, func() error { return w.imports("system/sec/ca-corp", chainOf(c.root)) }
		}},
		{"roll a CA back", func(w *world) (crypto.Signer, func() error) {
			key := w.key(ca.PathCA)
			if _, err := w.Create(w.t.Context(), caller(w.t, "root", "root"), ca.PathCA, ca.CreateOptions{Rekey: true}); err != nil {
				w.t.Fatal(err)
			}
			return key, func() error {
				_, err := w.Rollback(w.t.Context(), caller(w.t, "root", "root"), ca.PathCA, 0)
				return err
			}
		}},
	}
}

// waysByAdoption take over a Flocker cluster. The key is that of its CA, of a user or of a node.
func waysByAdoption() []way {
	adopted := func(name string, key func(o *offline) crypto.Signer) way {
		return way{"adopt " + name, func(w *world) (crypto.Signer, func() error) {
			o := newOffline(w.t.(*testing.T))
			lost := key(o)
			return lost, func() error {
				_, err := w.Adopt(w.t.Context(), caller(w.t, "root", "root"), w.adoption(o))
				return err
			}
		}}
	}
	one := func(o *offline, h flockertest.Holder) crypto.Signer {
		o.add("one.crt", h)
		return h.Key
	}
	return []way{
		adopted("a CA", func(o *offline) crypto.Signer { o.add("bob.crt", o.User("bob")); return o.Key }),
		adopted("a user", func(o *offline) crypto.Signer { return one(o, o.User("bob")) }),
		adopted("a node", func(o *offline) crypto.Signer { o.add("bob.crt", o.User("bob")); return one(o, o.Node(flockerNode)) }),
	}
}

func ways() []way { return append(append(waysBySigning(), waysByImport()...), waysByAdoption()...) }

// TestBlocked: a key that was revoked as compromised gets to a certificate by no way, and one that was revoked for another reason by each.
func TestBlocked(t *testing.T) {
	for _, way := range ways() {
		t.Run(way.name, func(t *testing.T) {
			for reason, blocks := range map[crl.Reason]bool{crl.KeyCompromise: true, crl.Superseded: false} {
				w := bootstrapped(t)
				key, last := way.prepare(w)
				w.lose(key, reason)
				before := w.state()
				err := last()
				if blocks && !isBlocked(err) || !blocks && err != nil {
					t.Errorf("%s: %v", reason, err)
				}
				if after := w.state(); blocks && after != before {
					t.Errorf("%s: refused, and not as it was:\n%s\nbefore:\n%s", reason, after, before)
				}
			}
		})
	}
}

// TestReasonsThatBlock: a key is blocked when others may have it, and for no other reason.
func TestReasonsThatBlock(t *testing.T) {
	w := bootstrapped(t)
	for reason, blocks := range map[crl.Reason]bool{
		crl.KeyCompromise: true, crl.CACompromise: true,
		crl.Unspecified: false, crl.Superseded: false, crl.AffiliationChanged: false, crl.CessationOfOperation: false, crl.PrivilegeWithdrawn: false, crl.AACompromise: false,
	} {
		key := newKey(t)
		w.lose(key, reason)
		_, err := w.Sign(t.Context(), caller(t, "root", "root"), ca.SignRequest{CSR: over(t, key, "web.example.com"), Profile: ca.ProfileListener})
		if blocks && !isBlocked(err) || !blocks && err != nil {
			t.Errorf("%s: %v", reason, err)
		}
	}
}

// state is the inventory, and what each object holds.
func (w *world) state() string {
	w.t.Helper()
	var text strings.Builder
	for _, r := range w.records(ca.Query{}) {
		text.WriteString(string(r.Serial()) + " of " + r.Owner + "\n")
	}
	sel, err := object.ParseSelector("**")
	if err != nil {
		w.t.Fatal(err)
	}
	paths, err := w.objects.List(w.t.Context(), sel)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, p := range paths {
		if h, err := w.objects.Holder(w.t.Context(), p.String()); err == nil && h.Chain != nil {
			text.WriteString(p.String() + " " + mustSerial(w.t, h.Chain) + "\n")
		}
	}
	return text.String()
}

func mustSerial(t testing.TB, chain []byte) string {
	t.Helper()
	certs, err := pki.ParseCertificates(chain)
	if err != nil {
		t.Fatal(err)
	}
	return string(pki.SerialOf(certs[0]))
}

// TestBlockedIsRekeyed: where the key is this cluster's to make, a certificate is made over a new one, once, and the answer says so.
func TestBlockedIsRekeyed(t *testing.T) {
	for name, tt := range map[string]struct {
		path     string
		keywords []string
		foreign  bool // the object holds a certificate of another PKI
		opt      ca.CreateOptions
		told     bool // that there had to be another key
	}{
		"a server":            {"ns1/sec/web", []string{"cn=web.example.com"}, false, ca.CreateOptions{}, true},
		"a user":              {"system/usr/bob", nil, false, ca.CreateOptions{}, true},
		"a node":              {"system/sec/n7", []string{"profile=node", "cn=n7"}, false, ca.CreateOptions{}, true},
		"an imported key":     {"ns1/sec/vip", nil, true, ca.CreateOptions{ReplaceExternal: true}, true},
		"rekey":               {"ns1/sec/web", []string{"cn=web.example.com"}, false, ca.CreateOptions{Rekey: true}, false},
		"rekey of an import":  {"ns1/sec/vip", nil, true, ca.CreateOptions{Rekey: true, ReplaceExternal: true}, false},
		"the listener":        {ca.PathListener, nil, false, ca.CreateOptions{}, true},
		"a subordinate rekey": {"system/sec/ca-sub", []string{"cn=Sub CA", "ca=" + ca.PathCA}, false, ca.CreateOptions{Rekey: true}, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := bootstrapped(t)
			root := caller(t, "root", "root")
			switch {
			case tt.foreign:
				w.imported(tt.path, newKey(t))
			case tt.path != ca.PathListener:
				w.create(tt.path, tt.keywords...)
				w.mustIssue(tt.path)
			}
			lost := w.key(tt.path)
			w.lose(lost, crl.KeyCompromise)
			if p, err := w.Preview(t.Context(), root, tt.path, tt.opt); err != nil || !p.KeyMade || pki.SameKey(p.Certificate.PublicKey, lost.Public()) {
				t.Errorf("preview: %+v, %v", p, err)
			}
			issued, err := w.Create(t.Context(), root, tt.path, tt.opt)
			if err != nil || issued.Rekeyed != tt.told {
				t.Fatalf("told of a new key: %v, %v", issued.Rekeyed, err)
			}
			next := w.key(tt.path)
			if pki.SameKey(issued.Certificate.PublicKey, lost.Public()) || !pki.SameKey(issued.Certificate.PublicKey, next.Public()) {
				t.Error("not over a new key, or the object has another")
			}
			again, err := w.Create(t.Context(), root, tt.path, ca.CreateOptions{})
			if err != nil || again.Rekeyed || !pki.SameKey(again.Certificate.PublicKey, next.Public()) {
				t.Errorf("once more: told of a new key %v, %v", again.Rekeyed, err)
			}
		})
	}
}

// TestBlockedIsNotRenewed: what renews itself does not, when its own certificate was revoked, and when another one over its key was.
func TestBlockedIsNotRenewed(t *testing.T) {
	for _, own := range []bool{true, false} {
		w := bootstrapped(t)
		w.create("ns1/sec/web", "cn=web.example.com", "validity=30d")
		first := w.mustIssue("ns1/sec/web").Certificate
		if own {
			w.revoke(pki.SerialOf(first), crl.KeyCompromise)
		} else {
			w.lose(w.key("ns1/sec/web"), crl.KeyCompromise)
		}
		w.now = ca.DueAt(first.NotBefore, first.NotAfter).Add(time.Hour)
		before := w.state()
		_, err := w.RenewDue(t.Context())
		if own && err != nil || !own && !isBlocked(err) {
			t.Errorf("own certificate %v: %v", own, err)
		}
		if after := w.state(); after != before {
			t.Errorf("own certificate %v: it renewed itself:\n%s\nbefore:\n%s", own, after, before)
		}
	}
}

// interrupted is a store in which something happens right before the next commit.
type interrupted struct {
	store.Store
	mu    sync.Mutex
	first func()
}

// Commit is store.Store.Commit.
func (s *interrupted) Commit(ctx context.Context, tx store.Tx) (int64, error) {
	s.mu.Lock()
	first := s.first
	s.first = nil
	s.mu.Unlock()
	if first != nil {
		first()
	}
	return s.Store.Commit(ctx, tx)
}

func (s *interrupted) before(first func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.first = first
}

// pending reports whether there was no commit since before.
func (s *interrupted) pending() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.first != nil
}

// TestBlockedMeanwhile: a revocation that is committed after the key was looked at, and before the certificate is, blocks it too.
func TestBlockedMeanwhile(t *testing.T) {
	for _, way := range ways() {
		t.Run(way.name, func(t *testing.T) {
			db := &interrupted{Store: mem.New()}
			w, err := openWorld(t, db, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			w.bootstrap()
			key, last := way.prepare(w)
			issued, err := w.Sign(t.Context(), caller(t, "root", "root"), ca.SignRequest{CSR: over(t, key, "lost.example.com"), Profile: ca.ProfileListener})
			if err != nil {
				t.Fatal(err)
			}
			before := w.over(key)
			db.before(func() { w.revoke(pki.SerialOf(issued.Certificate), crl.KeyCompromise) })
			err = last()
			if db.pending() { // it asks for nothing to be kept: a preview, and a request
				if err != nil || way.name != "preview of signing" && way.name != "a request for another PKI" {
					t.Errorf("without a commit: %v", err)
				}
				return
			}
			if !isBlocked(err) {
				t.Error(err)
			}
			if after := w.over(key); !maps.Equal(after, before) {
				t.Errorf("over the key there are %v, and were %v", after, before)
			}
		})
	}
}

// over are the certificates over a key that are on record, or in an object.
func (w *world) over(key crypto.Signer) map[pki.Serial]bool {
	w.t.Helper()
	found := make(map[pki.Serial]bool)
	for _, r := range w.records(ca.Query{}) {
		if pki.SameKey(r.Certificate.PublicKey, key.Public()) {
			found[r.Serial()] = true
		}
	}
	paths, err := w.objects.Holders(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, path := range paths {
		chain, _, err := w.Serving(w.t.Context(), path)
		if errors.Is(err, ca.ErrConflict) {
			continue // its key is elsewhere
		}
		if err != nil {
			w.t.Fatal(err)
		}
		if pki.SameKey(chain[0].PublicKey, key.Public()) {
			found[pki.SerialOf(chain[0])] = true
		}
	}
	return found
}

// TestBlockedAfterARestore: a backup from before the revocation does not bring the key back where the home that it replaces is known. A
// restart brings nothing back.
func TestBlockedAfterARestore(t *testing.T) {
	db, home := mem.New(), t.TempDir()
	w, err := openWorld(t, db, home)
	if err != nil {
		t.Fatal(err)
	}
	w.bootstrap()
	key := newKey(t)
	var backup bytes.Buffer
	if err := w.objects.Backup(t.Context(), &backup); err != nil {
		t.Fatal(err)
	}
	w.lose(key, crl.KeyCompromise)
	request := ca.SignRequest{CSR: over(t, key, "web.example.com"), Profile: ca.ProfileListener}
	restored := func(known registry.Reader) store.Store {
		master, err := seal.OpenFileMaster(home + "/seal.key")
		if err != nil {
			t.Fatal(err)
		}
		into := mem.New()
		if _, err := registry.Restore(t.Context(), registry.RestoreConfig{Into: into, Master: master, Known: known, Now: time.Now}, bytes.NewReader(backup.Bytes())); err != nil {
			t.Fatal(err)
		}
		return into
	}
	for what, from := range map[string]store.Store{"a restart": db, "a restore that knows": restored(db), "a restore": restored(nil)} {
		next, err := openWorld(t, from, home)
		if err != nil {
			t.Fatal(err)
		}
		_, err = next.Sign(t.Context(), caller(t, "root", "root"), request)
		if isBlocked(err) != (what != "a restore") || err != nil && !isBlocked(err) {
			t.Errorf("after %s: %v", what, err)
		}
	}
}
