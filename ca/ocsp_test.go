package ca_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"omca/ca"
	"omca/crl"
	"omca/internal/object"
	"omca/pki"
)

// asking encodes a request about the first certificate of issued.
func asking(t testing.TB, hash crypto.Hash, issued ca.Issued) []byte {
	t.Helper()
	der, err := ocsp.CreateRequest(issued.Certificate, issued.Chain[1], &ocsp.RequestOptions{Hash: hash})
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// answer asks and reads the answer, as a client does that has the issuer.
func (w *world) answer(issued ca.Issued) *ocsp.Response {
	w.t.Helper()
	der, next, err := w.ocsp.Answer(w.t.Context(), asking(w.t, crypto.SHA1, issued))
	if err != nil {
		w.t.Fatal(err)
	}
	r := w.read(der, issued)
	if !next.Equal(r.NextUpdate) {
		w.t.Errorf("the next answer is promised for %s, nextUpdate is %s", next, r.NextUpdate)
	}
	return r
}

func (w *world) read(der []byte, issued ca.Issued) *ocsp.Response {
	w.t.Helper()
	r, err := ocsp.ParseResponseForCert(der, issued.Certificate, issued.Chain[1])
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// alice is a user with a certificate.
func (w *world) alice() ca.Issued {
	w.t.Helper()
	w.create("system/usr/alice")
	return w.mustIssue("system/usr/alice")
}

func (w *world) revoke(serial pki.Serial, reason crl.Reason) {
	w.t.Helper()
	if _, err := w.Revoke(w.t.Context(), caller(w.t, "root", "root"), serial, reason); err != nil {
		w.t.Fatal(err)
	}
}

// outside is a certificate that the CA at path signed and the inventory lacks.
func (w *world) outside(path string) ca.Issued {
	w.t.Helper()
	chain, key, err := w.Serving(w.t.Context(), path)
	if err != nil {
		w.t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(4711), Subject: pkix.Name{CommonName: "nobody"}, NotBefore: start(), NotAfter: start().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, chain[0], newKey(w.t).Public(), key)
	if err != nil {
		w.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		w.t.Fatal(err)
	}
	return ca.Issued{Certificate: cert, Chain: append([]*x509.Certificate{cert}, chain...)}
}

func TestOCSPAnswers(t *testing.T) {
	w := bootstrapped(t)
	alice, listener := w.alice(), w.mustIssue(ca.PathListener)
	w.revoke(pki.SerialOf(listener.Certificate), crl.KeyCompromise)
	p, err := object.ParsePath(ca.PathOCSP)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.objects.Get(t.Context(), p); !errors.Is(err, ca.ErrNotFound) {
		t.Errorf("before anybody asked there is a responder: %v", err)
	}
	good, revoked, unknown := w.answer(alice), w.answer(listener), w.answer(w.outside(ca.PathCA))
	if good.Status != ocsp.Good || unknown.Status != ocsp.Unknown {
		t.Errorf("alice's has status %d, an unrecorded one %d", good.Status, unknown.Status)
	}
	if revoked.Status != ocsp.Revoked || revoked.RevocationReason != ocsp.KeyCompromise || !revoked.RevokedAt.Equal(w.now) {
		t.Errorf("the revoked one has status %d, reason %d, at %s", revoked.Status, revoked.RevocationReason, revoked.RevokedAt)
	}
	if !good.ThisUpdate.Equal(w.now) || !good.NextUpdate.Equal(w.now.Add(time.Hour)) {
		t.Errorf("the answer holds from %s to %s", good.ThisUpdate, good.NextUpdate)
	}
	signer := good.Certificate
	if signer.Subject.CommonName != "testers OCSP" || len(signer.URIs)+len(signer.DNSNames) > 0 || signer.NotAfter.After(w.now.Add(30*24*time.Hour)) ||
		!slices.Equal(signer.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning}) {
		t.Errorf("the responder is %q, for %v until %s", signer.Subject, signer.ExtKeyUsage, signer.NotAfter)
	}
	if got := w.records(ca.Query{Profile: ca.ProfileOCSP}); len(got) != 1 || got[0].Owner != ca.PathOCSP || got[0].Issuer != ca.PathCA {
		t.Errorf("responders in the inventory: %+v", got)
	}
	stranger := bootstrapped(t)
	if _, _, err := w.ocsp.Answer(t.Context(), asking(t, crypto.SHA256, stranger.alice())); !errors.Is(err, crl.ErrNotOurs) {
		t.Errorf("about another CA: %v", err)
	}
	if _, _, err := w.ocsp.Answer(t.Context(), []byte("?")); !errors.Is(err, pki.ErrInvalid) {
		t.Errorf("no request: %v", err)
	}
}

func TestOCSPAnswersAreKept(t *testing.T) {
	w := bootstrapped(t)
	issued := w.alice()
	ask := func(request []byte) []byte {
		t.Helper()
		answer, _, err := w.ocsp.Answer(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	request := asking(t, crypto.SHA1, issued)
	first := ask(request)
	w.now = start().Add(29 * time.Minute)
	w.create("ns1/sec/web", "cn=web.example.com") // another object is no reason
	if !bytes.Equal(first, ask(request)) {
		t.Error("the answer is signed again within half of its window")
	}
	if bytes.Equal(first, ask(asking(t, crypto.SHA256, issued))) {
		t.Error("one answer for both hashes")
	}
	w.now = start().Add(30 * time.Minute)
	second := ask(request)
	if bytes.Equal(first, second) {
		t.Error("the answer is kept for longer than half of its window")
	}
	w.now = start() // the clock was ahead
	if bytes.Equal(second, ask(request)) {
		t.Error("an answer of tomorrow is given today")
	}
	if u := asking(t, crypto.SHA1, w.outside(ca.PathCA)); bytes.Equal(ask(u), ask(u)) {
		t.Error("an answer that says unknown is kept")
	}
}

// TestOCSPRevokedAtOnce: from when Revoke returns, nobody is told otherwise,
// whoever asks at the same time.
func TestOCSPRevokedAtOnce(t *testing.T) {
	w := bootstrapped(t)
	issued := w.alice()
	request := asking(t, crypto.SHA1, issued)
	var group sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, _, err := w.ocsp.Answer(context.Background(), request); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	if got := w.answer(issued); got.Status != ocsp.Good {
		t.Errorf("before: status %d", got.Status)
	}
	w.revoke(pki.SerialOf(issued.Certificate), crl.Superseded)
	for range 50 {
		if got := w.answer(issued); got.Status != ocsp.Revoked {
			t.Fatalf("after: status %d", got.Status)
		}
	}
	close(stop)
	group.Wait()
}

func TestOCSPFollowsItsCA(t *testing.T) {
	w := bootstrapped(t)
	before := w.alice()
	old := w.answer(before)
	if _, err := w.Create(t.Context(), caller(t, "root", "root"), ca.PathCA, ca.CreateOptions{Rekey: true}); err != nil {
		t.Fatal(err)
	}
	if again := w.answer(before); again.Status != ocsp.Good || !again.Certificate.Equal(old.Certificate) {
		t.Errorf("about what the former CA signed: status %d, of its responder: %t", again.Status, again.Certificate.Equal(old.Certificate))
	}
	if _, err := w.RenewDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(w.records(ca.Query{Profile: ca.ProfileOCSP})); n != 2 {
		t.Errorf("%d responders were made, want one for each CA", n)
	}
	after := w.answer(w.mustIssue("system/usr/alice"))
	if after.Status != ocsp.Good || pki.SameKey(after.Certificate.PublicKey, old.Certificate.PublicKey) {
		t.Errorf("under the new CA: status %d, and the responder's key is the old one's: %t", after.Status, pki.SameKey(after.Certificate.PublicKey, old.Certificate.PublicKey))
	}
}

func TestOCSPRenews(t *testing.T) {
	const day = 24 * time.Hour
	w := bootstrapped(t)
	issued := w.alice()
	signer := func() *x509.Certificate {
		t.Helper()
		w.answer(issued) // once more, so that it knows that nothing changed
		return w.answer(issued).Certificate
	}
	renews := func(why string, old *x509.Certificate, want bool) *x509.Certificate {
		t.Helper()
		now := signer()
		if got := !now.Equal(old); got != want {
			t.Errorf("%s: another responder: %t", why, got)
		}
		if same := pki.SameKey(now.PublicKey, old.PublicKey); same == want {
			t.Errorf("%s: the same key: %t", why, same)
		}
		return now
	}
	at := signer()
	w.now = start().Add(19 * day)
	next, err := w.RenewDue(t.Context())
	if err != nil || next.After(start().Add(20*day)) {
		t.Errorf("the next is due %s, %v", next, err)
	}
	at = renews("before two thirds", at, false)
	w.now = start().Add(20 * day)
	if _, err := w.RenewDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	at = renews("at two thirds", at, true)
	w.now = start().Add(70 * day)
	at = renews("expired, and nobody looked after it", at, true)
	w.now = start().Add(30 * day)
	at = renews("made by a clock that was ahead", at, true)
	w.revoke(pki.SerialOf(at), crl.KeyCompromise)
	renews("revoked", at, true)
}

// TestOCSPWithinItsCA: near the end of the CA an answer does not outlive the
// responder, nor is one responder made after another.
func TestOCSPWithinItsCA(t *testing.T) {
	w := newWorld(t)
	w.create("cluster", "cluster.name=testers", "cluster.id=0b5d8a1e-3f0c-4f7e-9a55-7d1c2f3e4b6a")
	w.create(ca.PathCA, "validity=1d", "allow_names=*.example.com")
	w.mustIssue(ca.PathCA)
	w.create(ca.PathListener, "cn=vip.example.com")
	issued := w.mustIssue(ca.PathListener)
	w.now = start().Add(23*time.Hour + 59*time.Minute + 40*time.Second)
	first := w.answer(issued)
	if end := first.Certificate.NotAfter; !first.NextUpdate.Equal(end) || end.After(issued.Chain[1].NotAfter) {
		t.Errorf("nextUpdate %s, the responder ends %s, the CA %s", first.NextUpdate, end, issued.Chain[1].NotAfter)
	}
	for range 3 {
		w.now = w.now.Add(4 * time.Second)
		if _, err := w.RenewDue(t.Context()); err != nil {
			t.Error(err)
		}
		if got := w.answer(issued).Certificate; !got.Equal(first.Certificate) {
			t.Fatal("another responder that lives no longer")
		}
	}
	if n := len(w.records(ca.Query{Owner: ca.PathListener})); n != 1 {
		t.Errorf("%d certificates for the listener, and none lives longer than the first", n)
	}
	w.now = start().Add(25 * time.Hour)
	if _, _, err := w.ocsp.Answer(t.Context(), asking(t, crypto.SHA1, issued)); err == nil || errors.Is(err, pki.ErrInvalid) || errors.Is(err, crl.ErrNotOurs) {
		t.Errorf("after the CA's end: %v, want a failure here", err)
	}
}

func TestOCSPOfOtherCAs(t *testing.T) {
	w := bootstrapped(t)
	w.create("system/sec/ca-sub", "cn=sub", "ca="+ca.PathCA)
	w.create("ns1/sec/lab", "profile=ca", "cn=lab")
	for path, responder := range map[string]string{"system/sec/ca-sub": "system/sec/ocsp-ca-sub", "ns1/sec/lab": "system/sec/ocsp-ns1.lab"} {
		w.mustIssue(path)
		web := "ns1/sec/web-" + responder[len("system/sec/"):]
		w.create(web, "cn=web.example.com", "ca="+path)
		issued := w.mustIssue(web)
		if got := w.answer(issued); got.Status != ocsp.Good {
			t.Errorf("%s: status %d", path, got.Status)
		}
		if got := w.records(ca.Query{Owner: responder}); len(got) != 1 || got[0].Issuer != path {
			t.Errorf("%s: %s has %+v", path, responder, got)
		}
		w.revoke(pki.SerialOf(issued.Certificate), crl.Unspecified)
		if got := w.answer(issued); got.Status != ocsp.Revoked {
			t.Errorf("%s: after the revocation status %d", path, got.Status)
		}
	}
	// A serial number means nothing without its CA.
	issued := w.alice()
	lab, _, err := w.Serving(t.Context(), "ns1/sec/lab")
	if err != nil {
		t.Fatal(err)
	}
	if got := w.answer(ca.Issued{Certificate: issued.Certificate, Chain: append(issued.Chain[:1:1], lab...)}); got.Status != ocsp.Unknown {
		t.Errorf("alice's serial number under another CA: status %d", got.Status)
	}
	// The cluster's CA is another object now: its responder follows.
	w.create("system/sec/ca-testers", "cn=new")
	w.mustIssue("system/sec/ca-testers")
	if got := w.answer(w.mustIssue("system/usr/alice")); got.Status != ocsp.Good {
		t.Errorf("the cluster's new CA: status %d", got.Status)
	}
	if got := w.answer(issued); got.Status != ocsp.Good {
		t.Errorf("the cluster's former CA: status %d", got.Status)
	}
	for owner, issuer := range map[string]string{ca.PathOCSP: "system/sec/ca-testers", "system/sec/ocsp-ca": ca.PathCA} {
		got := w.records(ca.Query{Owner: owner})
		if len(got) == 0 || !slices.ContainsFunc(got, func(r ca.Listed) bool { return r.Issuer == issuer }) {
			t.Errorf("%s answers for none of %s: %+v", owner, issuer, got)
		}
	}
}

// TestOCSPKeyHasOneRole: the key of a responder is made there, for nothing else.
func TestOCSPKeyHasOneRole(t *testing.T) {
	w, root := bootstrapped(t), caller(t, "root", "root")
	issued := w.alice()
	w.create(ca.PathOCSP, "profile=listener", "cn=vip.example.com")
	listener := w.mustIssue(ca.PathOCSP).Certificate
	if _, _, err := w.ocsp.Answer(t.Context(), asking(t, crypto.SHA1, issued)); err == nil {
		t.Error("an object of another profile answers")
	}
	if chain, _, err := w.Serving(t.Context(), ca.PathOCSP); err != nil || !chain[0].Equal(listener) {
		t.Errorf("an object of another profile was given another certificate: %v", err)
	}
	w.set(ca.PathOCSP, "profile=ocsp", "cn=")
	if got := w.answer(issued); pki.SameKey(got.Certificate.PublicKey, listener.PublicKey) {
		t.Error("the responder has the key of a listener")
	}
	h, err := w.objects.Holder(t.Context(), ca.PathOCSP)
	if err != nil {
		t.Fatal(err)
	}
	before := w.answer(issued).Certificate
	if err := w.objects.Commit(t.Context(), ca.Change{Path: h.Path, Revision: h.Revision, Put: map[string][]byte{ca.KeyPrivate: h.PrivateKey}}); err != nil {
		t.Fatal(err)
	}
	if got := w.answer(issued); got.Certificate.Equal(before) {
		t.Error("a key that was made elsewhere answers")
	}
	for _, name := range []string{ca.KeyPrivate, ca.KeyChain} {
		if _, err := w.Import(t.Context(), root, ca.PathOCSP, name, w.value(ca.PathListener, name)); !errors.Is(err, ca.ErrInvalid) {
			t.Errorf("import of %s: %v", name, err)
		}
	}
	if _, err := w.SigningRequest(t.Context(), root, ca.PathOCSP); !errors.Is(err, ca.ErrInvalid) {
		t.Errorf("signing request: %v", err)
	}
	if _, err := w.Sign(t.Context(), root, ca.SignRequest{CSR: csr(t, "x.example.com"), Profile: ca.ProfileOCSP}); !errors.Is(err, ca.ErrInvalid) {
		t.Errorf("a request made elsewhere: %v", err)
	}
}

// TestOCSPFailureIsRemembered: requests do not repeat what has just failed.
func TestOCSPFailureIsRemembered(t *testing.T) {
	w := bootstrapped(t)
	request := asking(t, crypto.SHA1, w.alice())
	tried, broken := 0, true
	o := w.NewOCSP(func(ctx context.Context, path, issuer string) (context.Context, error) {
		tried++
		if broken {
			return nil, fmt.Errorf("%w: no room", ca.ErrConflict)
		}
		return w.stage(ctx, path, issuer)
	})
	for range 5 {
		if _, _, err := o.Answer(t.Context(), request); !errors.Is(err, ca.ErrConflict) || !strings.Contains(err.Error(), "no room") {
			t.Fatalf("%v, want the failure", err)
		}
	}
	broken = false
	w.now = w.now.Add(time.Minute)
	if _, _, err := o.Answer(t.Context(), request); err != nil || tried != 2 {
		t.Errorf("a minute later: %v; %d tries, want 2", err, tried)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := w.ocsp.Answer(gone, request); err != nil {
		t.Log(err) // it may fail for who is gone
	}
	if _, _, err := w.ocsp.Answer(t.Context(), request); err != nil {
		t.Errorf("it fails for who comes after, too: %v", err)
	}
}

func TestStaple(t *testing.T) {
	w := bootstrapped(t)
	listener := w.mustIssue(ca.PathListener)
	for _, want := range []int{ocsp.Good, ocsp.Revoked} {
		staple, next, err := w.ocsp.Staple(t.Context(), listener.Chain)
		if err != nil {
			t.Fatal(err)
		}
		if got := w.read(staple, listener); got.Status != want || !got.NextUpdate.Equal(next) {
			t.Errorf("status %d until %s, want %d until %s", got.Status, got.NextUpdate, want, next)
		}
		w.revoke(pki.SerialOf(listener.Certificate), crl.Superseded)
	}
	stranger := bootstrapped(t)
	for name, chain := range map[string][]*x509.Certificate{
		"signed elsewhere":     stranger.alice().Chain,
		"not in the inventory": w.outside(ca.PathCA).Chain,
	} {
		if _, _, err := w.ocsp.Staple(t.Context(), chain); !errors.Is(err, crl.ErrNotOurs) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := w.ocsp.Staple(t.Context(), nil); err == nil {
		t.Error("a staple to nothing")
	}
}

// require skips the test without a program, unless it must be there.
func require(t testing.TB, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err == nil {
		return
	}
	if slices.Contains(strings.Split(os.Getenv("OMCA_TEST_REQUIRE"), ","), program) {
		t.Fatalf("%s is required, and is not installed", program)
	}
	t.Skipf("%s is not installed", program)
}

// TestOCSPOpenSSL has a stranger ask, with a nonce, and believe the answer.
func TestOCSPOpenSSL(t *testing.T) {
	require(t, "openssl")
	w, dir := bootstrapped(t), t.TempDir()
	issued, listener := w.alice(), w.mustIssue(ca.PathListener)
	w.revoke(pki.SerialOf(listener.Certificate), crl.KeyCompromise)
	for name, certs := range map[string][]*x509.Certificate{
		"ca.pem": issued.Chain[1:], "good.pem": issued.Chain[:1], "revoked.pem": listener.Chain[:1], "unknown.pem": w.outside(ca.PathCA).Chain[:1],
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pki.EncodeCertificates(certs...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	openssl := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("openssl", args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("openssl %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	for _, hash := range []string{"-sha1", "-sha256"} {
		openssl("ocsp", hash, "-issuer", "ca.pem", "-cert", "good.pem", "-nonce", "-reqout", "one.der")
		one, err := os.ReadFile(filepath.Join(dir, "one.der"))
		if err != nil {
			t.Fatal(err)
		}
		first, _, err1 := w.ocsp.Answer(t.Context(), one)
		second, _, err2 := w.ocsp.Answer(t.Context(), one)
		if err1 != nil || err2 != nil || bytes.Equal(first, second) {
			t.Errorf("an answer with a nonce is kept: %v, %v", err1, err2)
		}
		about := []string{"ocsp", hash, "-issuer", "ca.pem", "-cert", "good.pem", "-cert", "revoked.pem", "-cert", "unknown.pem"}
		openssl(append(about, "-nonce", "-reqout", "req.der")...)
		request, err := os.ReadFile(filepath.Join(dir, "req.der"))
		if err != nil {
			t.Fatal(err)
		}
		answer, next, err := w.ocsp.Answer(t.Context(), request)
		if err != nil || !next.IsZero() {
			t.Fatalf("with a nonce: next answer %s, %v", next, err)
		}
		if err := os.WriteFile(filepath.Join(dir, "resp.der"), answer, 0o600); err != nil {
			t.Fatal(err)
		}
		at := fmt.Sprint(w.now.Add(time.Minute).Unix())
		out := openssl("ocsp", hash, "-no_nonce", "-reqin", "req.der", "-respin", "resp.der", "-CAfile", "ca.pem", "-issuer", "ca.pem", "-cert", "good.pem", "-cert", "revoked.pem", "-cert", "unknown.pem",
			"-attime", at, "-validity_period", "1000000000")
		for _, want := range []string{"Response verify OK", "good.pem: good", "revoked.pem: revoked", "Reason: keyCompromise", "unknown.pem: unknown"} {
			if !strings.Contains(out, want) {
				t.Errorf("%s: %q is missing in %s", hash, want, out)
			}
		}
		if strings.Contains(out, "WARNING") || strings.Contains(out, "Nonce Verify error") {
			t.Errorf("%s: %s", hash, out)
		}
	}
}
