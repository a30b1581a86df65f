package ca_test

import (
	"crypto"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"omca/ca"
	"omca/crl"
	"omca/pki"
)

// publishing is a publisher that has published.
func (w *world) publishing() *ca.Publisher {
	w.t.Helper()
	p := w.NewPublisher()
	w.objects.OnRevoke(p.Add)
	w.publish(p)
	return p
}

func (w *world) publish(p *ca.Publisher) {
	w.t.Helper()
	if _, err := p.Publish(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) list(p *ca.Publisher, name string) *crl.Published {
	w.t.Helper()
	list, err := p.Current(name)
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

// importFrom has the CA of w become that of corp.
func (w *world) importFrom(corp *world, parts ...string) {
	w.t.Helper()
	for _, part := range parts {
		if _, err := w.Import(w.t.Context(), caller(w.t, "root", "root"), ca.PathCA, part, corp.value(ca.PathCA, part)); err != nil {
			w.t.Fatal(err)
		}
	}
}

// TestFormerList: the list of a CA that another was imported over goes on: what
// it signed can be revoked, and others can tell.
func TestFormerList(t *testing.T) {
	w, corp := bootstrapped(t), bootstrapped(t)
	alice := w.alice()
	former, name := alice.Chain[1], ca.LastingName(ca.PathCA, alice.Chain[1])
	p := w.publishing()
	if list := w.list(p, name); list != w.list(p, "ca") {
		t.Error("a CA has two lists")
	}
	first := w.list(p, name).Header.Number
	w.importFrom(corp, ca.KeyPrivate, ca.KeyChain)
	w.publish(p)
	if signer := w.list(p, "ca").Signer; signer.Equal(former) {
		t.Error("ca.crl is the former CA's")
	}
	w.verifies(alice, w.list(p, name), "alice.pem: OK")

	w.revoke(pki.SerialOf(alice.Certificate), crl.KeyCompromise)
	w.publish(p)
	w.verifies(alice, w.list(p, name), "certificate revoked")
	second := w.list(p, name).Header.Number
	if second.Cmp(first) <= 0 {
		t.Errorf("number %s after %s", second, first)
	}
	// A process that starts knows all of that.
	p = w.publishing()
	if list := w.list(p, name); list.Entries != 1 || list.Header.Number.Cmp(second) != 0 {
		t.Errorf("after a restart: %d entries, number %s after %s: one number has one list", list.Entries, list.Header.Number, second)
	}
	if history, err := w.History(t.Context(), ca.PathCA); err != nil || len(history) != 1 || history[0].List != name {
		t.Errorf("history: %+v, %v", history, err)
	}
	all := p.All()
	if len(all) != 2 || all[0].Former != 0 || all[1].Former != 1 || all[1].Name != name || all[1].Path != ca.PathCA {
		t.Errorf("all lists: %+v", all)
	}
	// Put back, it has the list that it had, and the other has signed nothing.
	third := w.list(p, name).Header.Number
	if _, err := w.Rollback(t.Context(), caller(t, "root", "root"), ca.PathCA, 1); err != nil {
		t.Fatal(err)
	}
	w.publish(p)
	if list := w.list(p, "ca"); list != w.list(p, name) || list.Entries != 1 || list.Header.Number.Cmp(third) < 0 {
		t.Errorf("after the rollback: number %s after %s, %d entries", list.Header.Number, third, list.Entries)
	}
	if all := p.All(); len(all) != 1 || all[0].Former != 0 {
		t.Errorf("all lists after the rollback: %+v", all)
	}
}

// verifies has openssl check issued against a list.
func (w *world) verifies(issued ca.Issued, list *crl.Published, want string) {
	w.t.Helper()
	require(w.t, "openssl")
	dir := w.t.TempDir()
	for name, text := range map[string][]byte{
		"ca.pem": pki.EncodeCertificates(issued.Chain[1:]...), "alice.pem": pki.EncodeCertificates(issued.Certificate), "list.pem": list.PEM(),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
	cmd := exec.Command("openssl", "verify", "-attime", strconv.FormatInt(w.now.Add(time.Second).Unix(), 10),
		"-crl_check", "-CAfile", "ca.pem", "-CRLfile", "list.pem", "alice.pem")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); (err == nil) != (want == "alice.pem: OK") || !strings.Contains(string(out), want) {
		w.t.Errorf("openssl verify: %v\n%s", err, out)
	}
}

// TestFormerListEnds: it is signed anew as long as a certificate lives, once more
// after that, and then no more.
func TestFormerListEnds(t *testing.T) {
	w := bootstrapped(t)
	w.create("system/usr/alice", "validity=20d")
	alice := w.mustIssue("system/usr/alice")
	w.create("system/sec/ca-lab")
	w.mustIssue("system/sec/ca-lab")
	w.create("system/usr/bob", "ca=system/sec/ca-lab", "validity=20d")
	bob := w.mustIssue("system/usr/bob")
	w.revoke(pki.SerialOf(bob.Certificate), crl.Superseded)
	name := ca.LastingName("system/sec/ca-lab", bob.Chain[1])
	p := w.publishing()
	if _, err := w.Create(t.Context(), caller(t, "root", "root"), "system/sec/ca-lab", ca.CreateOptions{Rekey: true}); err != nil {
		t.Fatal(err)
	}
	number := new(big.Int)
	for w.now.Before(bob.Certificate.NotAfter.Add(6 * 24 * time.Hour)) {
		w.publish(p)
		list := w.list(p, name)
		h := list.Header
		if !w.now.Before(h.NextUpdate) || h.Number.Cmp(number) <= 0 {
			t.Fatalf("at %s: number %s after %s, next update %s", w.now, h.Number, number, h.NextUpdate)
		}
		number = h.Number
		if want := !h.ThisUpdate.After(bob.Certificate.NotAfter); want && list.Entries != 1 {
			t.Fatalf("at %s: %d entries", w.now, list.Entries)
		}
		w.now = w.now.Add(25 * time.Hour)
	}
	w.now = bob.Certificate.NotAfter.Add(8 * 24 * time.Hour)
	w.publish(p)
	if _, err := p.Current(name); !errors.Is(err, ca.ErrNotFound) {
		t.Errorf("after its last certificate: %v", err)
	}
	if _, err := p.Current(ca.LastingName(ca.PathCA, alice.Chain[1])); err != nil {
		t.Errorf("the CA that is in force: %v", err)
	}
}

// TestFormerWithoutAList: who signed nothing here, and whose key is elsewhere,
// has no list, and neither has a certificate that was renewed over its key.
func TestFormerWithoutAList(t *testing.T) {
	w, corp, other := bootstrapped(t), bootstrapped(t), bootstrapped(t)
	alice := w.alice()
	p := w.publishing()
	w.mustIssue(ca.PathCA) // the same name and key
	w.publish(p)
	if all := p.All(); len(all) != 1 || all[0].Former != 0 || all[0].Name != ca.LastingName(ca.PathCA, alice.Chain[1]) {
		t.Errorf("renewed over its key: %+v", all)
	}
	w.importFrom(corp, ca.KeyPrivate, ca.KeyChain)
	w.importFrom(other, ca.KeyPrivate, ca.KeyChain)
	w.publish(p)
	if all := p.All(); len(all) != 2 || all[1].Name != ca.LastingName(ca.PathCA, alice.Chain[1]) {
		t.Errorf("one signed nothing: %+v", all)
	}
	// Trusted only: its list is where its key is.
	w.create("system/sec/ca-corp")
	if _, err := w.Import(t.Context(), caller(t, "root", "root"), "system/sec/ca-corp", ca.KeyChain, corp.value(ca.PathCA, ca.KeyChain)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Create(t.Context(), caller(t, "root", "root"), "system/sec/ca-corp", ca.CreateOptions{ReplaceExternal: true}); err != nil {
		t.Fatal(err)
	}
	w.publish(p)
	cert, err := pki.ParseCertificates(corp.value(ca.PathCA, ca.KeyChain))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Current(ca.LastingName("system/sec/ca-corp", cert[0])); !errors.Is(err, ca.ErrNotFound) || !strings.Contains(err.Error(), "key here") {
		t.Errorf("a CA whose key is elsewhere: %v", err)
	}
}

// TestFormerAnswers: OCSP goes on as the list does, signed for that CA.
func TestFormerAnswers(t *testing.T) {
	w, corp := bootstrapped(t), bootstrapped(t)
	w.create("system/usr/alice", "validity=20d")
	alice := w.mustIssue("system/usr/alice")
	w.create("system/usr/carol", "validity=20d")
	carol := w.mustIssue("system/usr/carol")
	w.importFrom(corp, ca.KeyPrivate, ca.KeyChain)
	if got := w.answer(alice); got.Status != ocsp.Good || got.Certificate.CheckSignatureFrom(alice.Chain[1]) != nil {
		t.Errorf("status %d, of a responder of the former CA: %v", got.Status, got.Certificate.CheckSignatureFrom(alice.Chain[1]))
	}
	w.revoke(pki.SerialOf(alice.Certificate), crl.KeyCompromise)
	if got := w.answer(alice); got.Status != ocsp.Revoked || got.RevocationReason != ocsp.KeyCompromise {
		t.Errorf("revoked: status %d, reason %d", got.Status, got.RevocationReason)
	}
	if got := w.answer(carol); got.Status != ocsp.Good {
		t.Errorf("another: status %d", got.Status)
	}
	if n := len(w.records(ca.Query{Profile: ca.ProfileOCSP})); n != 1 {
		t.Errorf("%d responders for one CA", n)
	}
	// A responder that is revoked answers no more.
	before := w.answer(carol).Certificate
	w.revoke(pki.SerialOf(before), crl.KeyCompromise)
	if after := w.answer(carol).Certificate; after.Equal(before) {
		t.Error("a revoked responder answers")
	}
	// One that is due is replaced, and its records do not keep the CA alive.
	w.now = start().Add(25 * 24 * time.Hour)
	if got := w.answer(carol); got.Certificate.NotBefore.Before(w.now.Add(-time.Hour)) {
		t.Errorf("a responder of %s answers at %s", got.Certificate.NotBefore, w.now)
	}
	w.now = start().Add(360 * 24 * time.Hour)
	w.answer(carol)
	w.now = start().Add(373 * 24 * time.Hour) // the listener's lives for a year
	for _, hash := range []crypto.Hash{crypto.SHA1, crypto.SHA256} {
		if _, _, err := w.ocsp.Answer(t.Context(), asking(t, hash, carol)); !errors.Is(err, crl.ErrNotOurs) {
			t.Errorf("after its last certificate: %v", err)
		}
	}
	w.Changed(ca.PathCA)
}
