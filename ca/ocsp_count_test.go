package ca_test

import (
	"bytes"
	"crypto"
	"errors"
	"testing"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"omca/ca"
	"omca/crl"
	"omca/pki"
)

// askingAll is one request about several certificates.
func askingAll(t *testing.T, all ...ca.Issued) []byte {
	t.Helper()
	var requests [][]byte
	for _, issued := range all {
		in := cryptobyte.String(asking(t, crypto.SHA1, issued))
		for range 3 { // OCSPRequest, TBSRequest, requestList
			if !in.ReadASN1(&in, asn1.SEQUENCE) {
				t.Fatal("not a request")
			}
		}
		requests = append(requests, in)
	}
	der := bytes.Join(requests, nil)
	for range 3 {
		var b cryptobyte.Builder
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(der) })
		der = b.BytesOrPanic()
	}
	return der
}

// One answer speaks for one CA: who asks about two of ours is told to ask again,
// and is not told that one of the certificates is unknown.
func TestOCSPOfTwoCAs(t *testing.T) {
	w := bootstrapped(t)
	w.create("ns1/sec/lab", "profile=ca", "cn=lab")
	w.mustIssue("ns1/sec/lab")
	w.create("ns1/sec/web", "cn=web.example.com", "ca=ns1/sec/lab")
	alice, web, listener := w.alice(), w.mustIssue("ns1/sec/web"), w.mustIssue(ca.PathListener)
	for _, request := range [][]byte{askingAll(t, alice, web), askingAll(t, web, alice)} {
		if _, _, err := w.ocsp.Answer(t.Context(), request); !errors.Is(err, crl.ErrNotOurs) {
			t.Errorf("about two CAs of ours: %v", err)
		}
	}
	for _, request := range [][]byte{askingAll(t, web), askingAll(t, alice, listener), askingAll(t, alice, bootstrapped(t).alice())} {
		if _, _, err := w.ocsp.Answer(t.Context(), request); err != nil {
			t.Errorf("about one CA of ours: %v", err)
		}
	}
}

// Every certificate that was asked about is counted, from the cache or not.
func TestOCSPCounts(t *testing.T) {
	w := bootstrapped(t)
	alice, listener := w.alice(), w.mustIssue(ca.PathListener)
	w.revoke(pki.SerialOf(listener.Certificate), crl.KeyCompromise)
	for range 2 {
		w.answer(alice)
		w.answer(listener)
	}
	w.answer(w.outside(ca.PathCA))
	if _, _, err := w.ocsp.Answer(t.Context(), askingAll(t, alice, listener, bootstrapped(t).alice())); err != nil {
		t.Fatal(err)
	}
	for _, request := range [][]byte{[]byte("?"), askingAll(t, bootstrapped(t).alice())} {
		if _, _, err := w.ocsp.Answer(t.Context(), request); err == nil {
			t.Errorf("%x is answered", request)
		}
	}
	if _, _, err := w.ocsp.Staple(t.Context(), alice.Chain); err != nil {
		t.Fatal(err)
	}
	if got, want := w.ocsp.Counts(), (ca.OCSPCounts{Good: 3, Revoked: 3, Unknown: 2, Refused: 2}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
