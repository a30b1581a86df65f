package omca

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"omca/ca"
	"omca/internal/home"
	"omca/internal/object"
	"omca/internal/registry"
	"omca/internal/store"
	"omca/internal/store/mem"
	"omca/pki"
)

// outliving is a store in memory that outlives the servers upon it, and notes the
// serial numbers of what is recorded.
type outliving struct {
	*mem.Store
	mu      sync.Mutex
	issued  []pki.Serial
	commits int
}

func newOutliving() *outliving { return &outliving{Store: mem.New()} }

// Commit is store.Store.Commit.
func (o *outliving) Commit(ctx context.Context, tx store.Tx) (int64, error) {
	rev, err := o.Store.Commit(ctx, tx)
	if err != nil {
		return rev, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.commits++
	for _, p := range tx.Puts {
		if serial, ok := strings.CutPrefix(p.Key, "serial/"); ok {
			o.issued = append(o.issued, pki.Serial(serial))
		}
	}
	return rev, nil
}

// taken returns what was recorded since the last call.
func (o *outliving) taken() []pki.Serial {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := o.issued
	o.issued = nil
	return all
}

// count returns how many commits there were.
func (o *outliving) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.commits
}

// Close leaves the store open: the next server goes on with it.
func (o *outliving) Close() error { return nil }

// A caCert is the certificate of a CA, which the world keeps whatever omca does.
type caCert struct {
	cert  *x509.Certificate
	id    caID
	above caID
}

// A foreign is a CA that was made elsewhere, with its key.
type foreign struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// A savedWorld is a backup, and what was true when it was made.
type savedWorld struct {
	text     []byte
	model    model
	numbered map[caID]bool // CAs that had lists
	spent    bool
}

// modelWorld is a server, the world that it is in, and the model.
type modelWorld struct {
	ctx  context.Context
	home string
	mark string // of the store that there is now
	db   *outliving
	s    *Server
	at   time.Time    // the true time
	time atomic.Int64 // what the server's clock shows, in nanoseconds since 1970
	m    model

	lives       int // of all users ever
	authorities []caCert
	foreigners  []foreign
	imported    map[pki.KeyHash]bool // keys that were made elsewhere
	everRevoked map[pki.Serial]bool
	lists       map[caID]*seen
	backups     []savedWorld
	requests    map[string][]crypto.Signer // keys of users for signing requests
	trust       []*x509.Certificate        // what client certificates may chain to now
	asked       map[pki.Serial][]byte      // OCSP requests
	log         []string

	published int       // commits when there was nothing left to publish; -1 for a new server
	asOf      time.Time // by the clock of the server, when that was so
}

func (w *modelWorld) now() time.Time { return time.Unix(0, w.time.Load()).UTC() }

func (w *modelWorld) note(format string, args ...any) {
	w.log = append(w.log, fmt.Sprintf(format, args...))
}

// start opens a server upon the store.
func (w *modelWorld) start() error {
	var err error
	w.s, err = begin(w.ctx, Config{
		Home: w.home, Mark: w.home + "." + w.mark, NodeName: "node1", ClusterName: "clu", Now: w.now, Log: slog.New(slog.DiscardHandler),
	}, opened{Store: w.db})
	if err != nil {
		return fmt.Errorf("the start failed: %w", err)
	}
	w.trust, w.published = nil, -1
	return nil
}

// newModelWorld makes the world that all sequences begin in: a few users, CAs on three
// levels, and CAs of others in wait.
func newModelWorld(t *testing.T) *modelWorld {
	t.Helper()
	w := &modelWorld{
		ctx: t.Context(), home: t.TempDir() + "/home", mark: object.NewUUID(), db: newOutliving(), at: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC),
		m:        model{users: make(map[string]person), keys: make(map[caID]bool), blocked: make(map[pki.KeyHash]bool)},
		imported: make(map[pki.KeyHash]bool), everRevoked: make(map[pki.Serial]bool), lists: make(map[caID]*seen),
		requests: make(map[string][]crypto.Signer), asked: make(map[pki.Serial][]byte),
	}
	w.time.Store(w.at.UnixNano())
	if err := home.Make(w.home); err != nil {
		t.Fatal(err)
	}
	if err := w.start(); err != nil {
		t.Fatal(err)
	}
	w.meetForeigners(t)
	for _, name := range modelUsers() {
		for range 2 {
			key, err := pki.GenerateKey(pki.ECP256)
			if err != nil {
				t.Fatal(err)
			}
			w.requests[name] = append(w.requests[name], key)
		}
	}
	for _, s := range []step{{"ca", 0, 0, 0, 0}, {"ca", 0, 1, 0, 0}, {"ca", 0, 2, 0, 0}, {"user", 0, 0, 0, 0}, {"user", 0, 1, 1, 1}, {"user", 0, 2, 2, 2}, {"sec", 0, 0, 0, 0}} {
		if err := w.do(s); err != nil {
			t.Fatalf("%v\n%s", err, strings.Join(w.log, "\n"))
		}
	}
	if err := w.hold(0); err != nil {
		t.Fatalf("%v\n%s", err, strings.Join(w.log, "\n"))
	}
	return w
}

// fork returns another world that is like w.
func (w *modelWorld) fork() (*modelWorld, error) {
	next := &modelWorld{
		ctx: w.ctx, home: w.home, mark: object.NewUUID(), db: newOutliving(), at: w.at, m: w.m.clone(), lives: w.lives,
		authorities: slices.Clone(w.authorities), foreigners: w.foreigners, imported: w.imported,
		everRevoked: maps.Clone(w.everRevoked), lists: make(map[caID]*seen), requests: w.requests, asked: maps.Clone(w.asked),
	}
	next.time.Store(w.time.Load())
	for id, s := range w.lists {
		next.lists[id] = s.clone()
	}
	if _, err := copyStore(w.ctx, w.db.Store, next.db.Store); err != nil {
		return nil, err
	}
	return next, next.start()
}

// meetForeigners makes CAs elsewhere: one with a key identifier, one without, one with
// the name of the first and one with its key identifier. Each has signed for a user.
func (w *modelWorld) meetForeigners(t *testing.T) {
	t.Helper()
	make := func(cn string, keyID []byte) foreign {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := signForeign(nil, key, key, x509.Certificate{
			Subject: pkix.Name{CommonName: cn}, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: keyID,
			// Not by IsCA: that would make up a key identifier.
			ExtraExtensions: []pkix.Extension{{Id: []int{2, 5, 29, 19}, Critical: true, Value: []byte{0x30, 3, 1, 1, 0xff}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		f := foreign{cert, key}
		w.foreigners = append(w.foreigners, f)
		id := idOf(cert)
		w.authorities = append(w.authorities, caCert{cert, id, id})
		w.imported[pki.KeyHashOf(cert)] = true
		leaf, err := signForeign(cert, key, key, x509.Certificate{
			Subject: pkix.Name{CommonName: "bob"}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		})
		if err != nil {
			t.Fatal(err)
		}
		bob := newSigned(leaf, id)
		bob.user, bob.foreign = "bob", true
		w.m.certs = append(w.m.certs, bob)
		return f
	}
	make("Corp CA", []byte("corp"))
	make("Bare CA", nil)
	make("Corp CA", []byte("twin"))
	make("Other CA", []byte("corp"))
}

// signForeign signs as another PKI does: nil for itself.
func signForeign(issuer *x509.Certificate, signer, subject *ecdsa.PrivateKey, template x509.Certificate) (*x509.Certificate, error) {
	serial, err := pki.NewSerial(time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial.Int()
	template.NotBefore, template.NotAfter = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2045, 1, 1, 0, 0, 0, 0, time.UTC)
	if issuer == nil {
		issuer = &template
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, issuer, subject.Public(), signer)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// A caller is one who asks for something, and what the model says that they may.
type caller struct {
	name  string
	right right

	user    string // as whom they call in person
	subject string // whose token they have
	with    func(*http.Request) *http.Request
}

// may reports whether the caller has a right, or is that user.
func (c caller) may(need right, self string) bool {
	return need != right{} && c.right.covers(need) || self != "" && c.user == self
}

// caller picks one: mostly the machine's root, or else a certificate or a token,
// whatever became of it.
func (w *modelWorld) caller(n int) caller {
	root := caller{name: "root", right: right{role: "root"}, with: func(r *http.Request) *http.Request {
		return r.WithContext(context.WithValue(r.Context(), localKey{}, "test"))
	}}
	pick := n / 4
	switch {
	case n%4 == 1 && len(w.m.certs) > 0:
		return w.byCert(pick % len(w.m.certs))
	case n%4 == 2 && len(w.m.tokens) > 0:
		return w.byToken(pick % len(w.m.tokens))
	}
	return root
}

// byCert is the caller with the certificate i, over a connection that was opened when
// it was still good. One that chains to nothing cannot connect, and shows nothing.
func (w *modelWorld) byCert(i int) caller {
	chains := w.chains(i)
	c := caller{name: w.describe(i), with: func(r *http.Request) *http.Request {
		if len(chains) == 0 {
			return r
		}
		r.TLS = &tls.ConnectionState{PeerCertificates: chains[0][:1], VerifiedChains: chains}
		return r.WithContext(context.WithValue(r.Context(), memoKey{}, new(memo)))
	}}
	v, given := w.m.ofCert(i, w.clean(chains), w.made(w.m.certs[i].issuer))
	if v != refused {
		c.user, c.right = w.m.certs[i].user, given
	}
	return c
}

// byToken is the caller with the token i.
func (w *modelWorld) byToken(i int) caller {
	c := caller{name: w.describeToken(i), with: func(r *http.Request) *http.Request {
		r.Header.Set("Authorization", "Bearer "+w.m.tokens[i].text)
		return r
	}}
	v, given := w.m.ofToken(i, w.now())
	if v != refused {
		c.subject, c.right = w.m.tokens[i].user, given // a token is never the user itself
	}
	return c
}

// call makes a request.
func (w *modelWorld) call(c caller, method, target string, body any) (status int, text []byte, err error) {
	raw, ok := body.(string)
	if !ok && body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		raw = string(b)
	}
	r := httptest.NewRequest(method, target, strings.NewReader(raw)).WithContext(w.ctx)
	r.RemoteAddr = "192.0.2.1:5"
	switch {
	case strings.Contains(target, "/data/key"):
		r.Header.Set("Content-Type", "application/octet-stream")
	case target == "/ocsp":
		r.Header.Set("Content-Type", "application/ocsp-request")
	default:
		r.Header.Set("Content-Type", "application/json")
	}
	answer := httptest.NewRecorder()
	w.s.handler.ServeHTTP(answer, c.with(r))
	if answer.Code == http.StatusInternalServerError {
		return answer.Code, nil, fmt.Errorf("the server failed: %s %s: %s", method, target, answer.Body)
	}
	return answer.Code, answer.Body.Bytes(), nil
}

// asks is call for what needs a right, or to be that user: done without, it is one
// that was not given.
func (w *modelWorld) asks(c caller, need right, self, method, target string, body any) (done bool, text []byte, err error) {
	status, text, err := w.call(c, method, target, body)
	if err != nil {
		return false, nil, err
	}
	w.note("  %s %s by %s: %d", method, target, c.name, status)
	if done = status/100 == 2; done && !c.may(need, self) {
		return done, nil, fmt.Errorf("rights that were not given: %s has %q and did %s %s, which needs %q", c.name, c.right, method, target, need)
	}
	return done, text, nil
}

// absorb takes what was signed since into the model.
func (w *modelWorld) absorb() error {
	for _, serial := range w.db.taken() {
		r, err := w.s.authority.Record(w.ctx, serial)
		if errors.Is(err, ca.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		issuer, err := w.signer(r.Certificate)
		if err != nil {
			return err
		}
		c := newSigned(r.Certificate, issuer)
		c.owner, c.profile = r.Owner, r.Profile
		if w.m.blocked[c.key] {
			return fmt.Errorf("a key that was revoked as compromised is certified again: %s of %s", serial, r.Owner)
		}
		if r.Profile == ca.ProfileUser {
			c.user = r.Certificate.Subject.CommonName
			c.life = w.m.users[c.user].life
		}
		if r.Profile == ca.ProfileCA {
			id := idOf(c.cert)
			w.authorities = append(w.authorities, caCert{c.cert, id, issuer})
			w.m.keys[id] = true
		}
		w.m.certs = append(w.m.certs, c)
		w.note("  signed %s", w.describe(len(w.m.certs)-1))
	}
	return nil
}

// signer returns the CA that signed a certificate, which may be itself.
func (w *modelWorld) signer(cert *x509.Certificate) (caID, error) {
	for _, by := range append([]caCert{{cert: cert, id: idOf(cert)}}, w.authorities...) {
		if bytes.Equal(by.cert.RawSubject, cert.RawIssuer) && by.cert.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature) == nil {
			return by.id, nil
		}
	}
	return caID{}, fmt.Errorf("no CA ever has signed %s", pki.SerialOf(cert))
}

// describe names a certificate for people.
func (w *modelWorld) describe(i int) string {
	c := w.m.certs[i]
	state := ""
	for word, is := range map[string]bool{" revoked": c.revoked, " lost": c.lost, " foreign": c.foreign} {
		if is {
			state += word
		}
	}
	return fmt.Sprintf("certificate %d of %q (%s of %s, life %d,%s until %s, by %s)", i, c.cert.Subject.CommonName, c.profile, c.owner, c.life, state, c.cert.NotAfter.Format("2006-01-02"), c.issuer.Short())
}

func (w *modelWorld) describeToken(i int) string {
	g := w.m.tokens[i]
	return fmt.Sprintf("token %d of %q (life %d, %q, dead %t, lost %t)", i, g.user, g.life, g.right, g.dead, g.lost)
}

// made reports whether the key of a CA was made here.
func (w *modelWorld) made(id caID) bool {
	i := slices.IndexFunc(w.authorities, func(c caCert) bool { return c.id == id })
	return i >= 0 && !w.imported[pki.KeyHashOf(w.authorities[i].cert)]
}

// chains are all that a client with the certificate i can come up with, with any CA
// certificate that there ever was, to what is trusted now by the clock of the server.
func (w *modelWorld) chains(i int) [][]*x509.Certificate {
	if w.trust == nil {
		w.trust, _ = w.s.authority.Trust(w.ctx) // a CA that cannot be read is not trusted
	}
	c := w.m.certs[i]
	if c.root {
		return nil
	}
	return w.extend([]*x509.Certificate{c.cert}, c.issuer)
}

func (w *modelWorld) extend(chain []*x509.Certificate, above caID) (all [][]*x509.Certificate) {
	now := w.now()
	if c := chain[len(chain)-1]; now.Before(c.NotBefore) || now.After(c.NotAfter) {
		return nil
	}
	for _, one := range w.authorities {
		if one.id != above || slices.ContainsFunc(chain, one.cert.Equal) || now.Before(one.cert.NotBefore) || now.After(one.cert.NotAfter) {
			continue
		}
		longer := append(slices.Clip(chain), one.cert)
		if slices.ContainsFunc(w.trust, one.cert.Equal) {
			all = append(all, longer)
		}
		if one.above != one.id {
			all = append(all, w.extend(longer, one.above)...)
		}
	}
	return all
}

// clean is what one of the chains may expect of revocations: accepted when nothing of it, and
// nothing above its anchor, is revoked. It is either for an anchor whose issuer has several
// certificates, some of which are revoked.
func (w *modelWorld) clean(chains [][]*x509.Certificate) verdict {
	var all []verdict
	for _, chain := range chains {
		v := w.upward(chain[len(chain)-1])
		if slices.ContainsFunc(chain, w.bad) {
			v = refused
		}
		all = append(all, v)
	}
	for _, v := range []verdict{accepted, either} {
		if slices.Contains(all, v) {
			return v
		}
	}
	return refused
}

// bad reports whether a certificate is revoked, or is over a key that is blocked.
func (w *modelWorld) bad(cert *x509.Certificate) bool {
	return w.m.blocked[pki.KeyHashOf(cert)] || slices.ContainsFunc(w.m.certs, func(c signed) bool { return c.revoked && c.cert.Equal(cert) })
}

// upward is what a trust anchor may expect of what is above it.
func (w *modelWorld) upward(anchor *x509.Certificate) verdict {
	at := slices.IndexFunc(w.authorities, func(one caCert) bool { return one.cert.Equal(anchor) })
	if at < 0 || w.authorities[at].above == w.authorities[at].id {
		return accepted
	}
	var all []verdict
	for _, one := range w.authorities {
		if one.id != w.authorities[at].above {
			continue
		}
		v := w.upward(one.cert)
		if w.bad(one.cert) {
			v = refused
		}
		all = append(all, v)
	}
	differ := func(v verdict) bool { return v != all[0] }
	switch {
	case len(all) == 0:
		return accepted
	case slices.ContainsFunc(all, differ):
		return either
	}
	return all[0]
}

// holdOCSP checks what is answered about the certificate i.
func (w *modelWorld) holdOCSP(i int) error {
	c := &w.m.certs[i]
	if c.foreign || c.profile == ca.ProfileOCSP || c.root || !living(c.cert, w.at) {
		return nil
	}
	issuer := w.authorities[slices.IndexFunc(w.authorities, func(one caCert) bool { return one.id == c.issuer })].cert
	request := w.asked[pki.SerialOf(c.cert)]
	if request == nil {
		var err error
		if request, err = ocsp.CreateRequest(c.cert, issuer, nil); err != nil {
			return err
		}
		w.asked[pki.SerialOf(c.cert)] = request
	}
	_, text, err := w.call(caller{with: func(r *http.Request) *http.Request { return r }}, "POST", "/ocsp", string(request))
	if err != nil {
		return err
	}
	answer, err := ocsp.ParseResponse(text, nil)
	if err == nil && answer.Status == ocsp.Good && c.revoked {
		return fmt.Errorf("revoked never becomes good: OCSP says good of %s", w.describe(i))
	}
	// By the true clock, and with the key here, there is an answer. A CA that was renewed
	// by a clock that was ahead is not valid yet.
	early := func(one caCert) bool { return one.id == c.issuer && w.now().Before(one.cert.NotBefore) }
	if !w.m.keys[c.issuer] || !w.now().Equal(w.at) || c.lost && !c.revoked || slices.ContainsFunc(w.authorities, early) {
		return nil
	}
	if want := map[bool]int{true: ocsp.Revoked, false: ocsp.Good}[c.revoked]; err != nil || answer.Status != want {
		return fmt.Errorf("OCSP about %s: %+v, %w, expected status %d", w.describe(i), answer, err, want)
	}
	return nil
}

// holdCaller checks what a caller is taken for.
func (w *modelWorld) holdCaller(c caller, v verdict, want right) error {
	status, text, err := w.call(c, "GET", "/whoami", nil)
	if err != nil {
		return err
	}
	if status == http.StatusUnauthorized {
		if v == accepted {
			return fmt.Errorf("not revoked, and refused: %s", c.name)
		}
		return nil
	}
	var who struct {
		RawGrant string `json:"raw_grant"`
	}
	if err := json.Unmarshal(text, &who); err != nil || status != http.StatusOK {
		return fmt.Errorf("whoami by %s: %d %s", c.name, status, text)
	}
	if v == refused {
		return fmt.Errorf("rights that were not given: %s is let in, with %q", c.name, who.RawGrant)
	}
	if who.RawGrant != want.String() {
		return fmt.Errorf("rights that were not given: %s has %q, expected %q", c.name, who.RawGrant, want)
	}
	return nil
}

// hold checks all that has to hold, OCSP for the certificates of a CA or two: each has
// a responder of its own.
func (w *modelWorld) hold(n int) error {
	if err := errors.Join(w.lookAtLists(w.ctx), w.holdLists(), w.holdHandshakes()); err != nil {
		return err
	}
	for _, one := range w.authorities {
		if s := w.lists[one.id]; s != nil && s.der != nil && s.list.CheckSignatureFrom(one.cert) != nil {
			return fmt.Errorf("list number %s of %q is not signed by it", s.number, one.cert.Subject)
		}
	}
	first, second := pick(w.authorities, n).id, pick(w.authorities, n/2).id
	for i, c := range w.m.certs {
		if err := w.holdCert(i); err != nil {
			return err
		}
		if c.issuer != first && c.issuer != second {
			continue
		}
		if err := w.holdOCSP(i); err != nil {
			return err
		}
	}
	for i := range w.m.tokens {
		if err := w.holdToken(i); err != nil {
			return err
		}
	}
	return w.absorb() // responders
}

// holdSome checks what costs little, and one of each of the rest.
func (w *modelWorld) holdSome(n int) error {
	i := n % len(w.m.certs)
	if err := errors.Join(w.holdHandshakes(), w.holdCert(i)); err != nil {
		return err
	}
	if n%8 == 0 {
		if err := w.holdOCSP(i); err != nil {
			return err
		}
	}
	if len(w.m.tokens) > 0 {
		return w.holdToken(n % len(w.m.tokens))
	}
	return nil
}

// holdCert checks whom the certificate i speaks for.
func (w *modelWorld) holdCert(i int) error {
	chains := w.chains(i)
	v, want := w.m.ofCert(i, w.clean(chains), w.made(w.m.certs[i].issuer))
	return w.holdCaller(w.byCert(i), v, want)
}

// holdToken checks what the token i gives.
func (w *modelWorld) holdToken(i int) error {
	v, want := w.m.ofToken(i, w.now())
	return w.holdCaller(w.byToken(i), v, want)
}

// backup saves the world.
func (w *modelWorld) backup() error {
	var text bytes.Buffer
	if err := w.s.objects.Backup(w.ctx, &text); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	saved := savedWorld{text: text.Bytes(), model: w.m.clone(), numbered: make(map[caID]bool)}
	for id := range w.lists {
		saved.numbered[id] = true
	}
	w.backups = append(w.backups, saved)
	return nil
}

// restore puts a backup in the place of the store.
func (w *modelWorld) restore(from savedWorld, knows bool) error {
	if err := w.s.Close(); err != nil {
		return err
	}
	into := newOutliving()
	c := registry.RestoreConfig{Into: into.Store, Master: w.s.master, Now: w.now}
	if knows {
		c.Known = w.db.Store
	} else {
		// Nothing in the backup says that there were lists of these CAs.
		maps.DeleteFunc(w.lists, func(id caID, _ *seen) bool { return !from.numbered[id] })
		for _, s := range w.lists {
			s.forget()
		}
	}
	if _, err := registry.Restore(w.ctx, c, bytes.NewReader(from.text)); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	w.db, w.mark, w.m = into, object.NewUUID(), w.m.restored(from.model, knows, w.made)
	for _, c := range w.m.certs {
		if c.revoked {
			w.everRevoked[pki.SerialOf(c.cert)] = true
		}
	}
	return w.start()
}
