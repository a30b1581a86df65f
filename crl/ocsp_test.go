package crl_test

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte/asn1"
	"golang.org/x/crypto/ocsp"

	"omca/crl"
	"omca/pki"
)

const nonceOID = "\x2b\x06\x01\x05\x05\x07\x30\x01\x02"

// asResponder takes what ResponderTemplate gives.
func asResponder(c *x509.Certificate) {
	t := crl.ResponderTemplate()
	c.KeyUsage, c.ExtKeyUsage, c.BasicConstraintsValid, c.ExtraExtensions = t.KeyUsage, t.ExtKeyUsage, t.BasicConstraintsValid, t.ExtraExtensions
}

func window() crl.Window {
	return crl.Window{Produced: now(), This: now(), Next: now().Add(hour)}
}

// statuses is what the tests' CA knows: 5 is good, 6 revoked.
func statuses(s pki.Serial) crl.Verdict {
	switch s {
	case "5":
		return crl.Verdict{Status: crl.Good}
	case "6":
		return crl.Verdict{Status: crl.Revoked, Reason: crl.KeyCompromise, RevokedAt: now().Add(-hour)}
	}
	return crl.Verdict{Status: crl.Undetermined}
}

// certID encodes a CertID of any hash.
func certID(hash crypto.Hash, oid string, issuer *identity, n int64) []byte {
	sum := func(b []byte) []byte {
		h := hash.New()
		h.Write(b)
		return h.Sum(nil)
	}
	bits := issuer.RawSubjectPublicKeyInfo[len(issuer.RawSubjectPublicKeyInfo)-65:] // an uncompressed P-256 point
	return seq(seq(element(asn1.OBJECT_IDENTIFIER, []byte(oid)), []byte{5, 0}), element(asn1.OCTET_STRING, sum(issuer.RawSubject)), element(asn1.OCTET_STRING, sum(bits)), integerDER(n))
}

func sha1ID(issuer *identity, n int64) []byte {
	return certID(crypto.SHA1, "\x2b\x0e\x03\x02\x1a", issuer, n)
}

func sha256ID(issuer *identity, n int64) []byte {
	return certID(crypto.SHA256, "\x60\x86\x48\x01\x65\x03\x04\x02\x01", issuer, n)
}

// ask encodes a request; extensions may be nil.
func ask(extensions []byte, ids ...[]byte) []byte {
	var requests [][]byte
	for _, id := range ids {
		requests = append(requests, seq(id))
	}
	if extensions == nil {
		return seq(seq(seq(requests...)))
	}
	return seq(seq(seq(requests...), element(0xa2, seq(extensions))))
}

func nonce(octets []byte) []byte {
	return ext(nonceOID, false, element(asn1.OCTET_STRING, octets))
}

// TestRespondSpelled: a CertID has a hash of the issuer's name as a certificate spells it,
// and a CA that is renewed may go from one string type to another.
func TestRespondSpelled(t *testing.T) {
	name := func(tag asn1.Tag, text string) []byte {
		country := element(asn1.SET, seq(element(asn1.OBJECT_IDENTIFIER, []byte("\x55\x04\x06")), element(asn1.PrintableString, []byte("FR"))))
		common := element(asn1.SET, seq(element(asn1.OBJECT_IDENTIFIER, []byte("\x55\x04\x03")), element(tag, []byte(text))))
		return seq(country, common)
	}
	for _, c := range []struct {
		is, asked []byte
		want      bool
	}{
		{name(asn1.UTF8String, "Corp CA"), name(asn1.UTF8String, "Corp CA"), true},
		{name(asn1.UTF8String, "Corp CA"), name(asn1.PrintableString, "Corp CA"), true},
		{name(asn1.PrintableString, "Corp CA"), name(asn1.UTF8String, "Corp CA"), true},
		{name(asn1.UTF8String, "Corp@CA"), name(asn1.PrintableString, "Corp@CA"), false}, // no PrintableString has an @
		{name(asn1.UTF8String, "Corp CA"), name(asn1.UTF8String, "Corp CB"), false},
		{name(asn1.UTF8String, "Corp CA"), name(asn1.IA5String, "Corp CA"), false},
	} {
		ca := certify(t, nil, "", asCA, named(c.is))
		signer := certify(t, ca, "OCSP", asResponder)
		r := must[*crl.Responder](t)(crl.NewResponder(ca.Certificate, signer.Certificate, signer.key))
		asked := &identity{&x509.Certificate{RawSubject: c.asked, RawSubjectPublicKeyInfo: ca.RawSubjectPublicKeyInfo}, ca.key}
		for _, id := range [][]byte{sha1ID(asked, 6), sha256ID(asked, 6)} {
			request := must[*crl.OCSPRequest](t)(crl.ParseOCSPRequest(ask(nil, id)))
			if _, err := r.Respond(request, window(), statuses); (err == nil) != c.want {
				t.Errorf("%x, asked about as %x: %v, want an answer %t", c.is, c.asked, err, c.want)
			}
			if got := request.IDs[0].IssuedBy(ca.Certificate); got != c.want {
				t.Errorf("%x, asked about as %x: issued by it %t, want %t", c.is, c.asked, got, c.want)
			}
		}
	}
}

func TestRespond(t *testing.T) {
	ca := certify(t, nil, "CA", asCA)
	signer := certify(t, ca, "OCSP", asResponder)
	r := must[*crl.Responder](t)(crl.NewResponder(ca.Certificate, signer.Certificate, signer.key))
	for n, want := range map[int64]int{5: ocsp.Good, 6: ocsp.Revoked, 7: ocsp.Unknown} {
		for _, id := range [][]byte{sha1ID(ca, n), sha256ID(ca, n)} {
			request := must[*crl.OCSPRequest](t)(crl.ParseOCSPRequest(ask(nil, id)))
			der := must[[]byte](t)(r.Respond(request, window(), statuses))
			got := must[*ocsp.Response](t)(ocsp.ParseResponse(der, ca.Certificate))
			if got.Status != want || got.SerialNumber.Int64() != n || !got.ThisUpdate.Equal(now()) || !got.NextUpdate.Equal(now().Add(hour)) {
				t.Errorf("serial %d: %+v", n, got)
			}
			if want == ocsp.Revoked && (got.RevocationReason != ocsp.KeyCompromise || !got.RevokedAt.Equal(now().Add(-hour))) {
				t.Errorf("reason %d at %s", got.RevocationReason, got.RevokedAt)
			}
		}
	}
	for want, issuer := range map[bool]*identity{true: ca, false: signer} {
		for _, id := range [][]byte{sha1ID(ca, 5), sha256ID(ca, 5)} {
			request := must[*crl.OCSPRequest](t)(crl.ParseOCSPRequest(ask(nil, id)))
			if got := request.IDs[0].IssuedBy(issuer.Certificate); got != want {
				t.Errorf("issued by %q: %t", issuer.Subject, got)
			}
		}
	}
	// Certificates of others are unknown beside one of ours, and not answered alone.
	other := certify(t, nil, "other", asCA)
	request := must[*crl.OCSPRequest](t)(crl.ParseOCSPRequest(ask(nil, sha1ID(other, 6), sha256ID(ca, 5))))
	der := must[[]byte](t)(r.Respond(request, window(), statuses))
	got := must[*ocsp.Response](t)(ocsp.ParseResponseForCert(der, &x509.Certificate{SerialNumber: big.NewInt(6)}, ca.Certificate))
	if got.Status != ocsp.Unknown {
		t.Errorf("serial 6 of another issuer has status %d", got.Status)
	}
	twin, renamed := certify(t, nil, "CA", asCA), certifyKey(t, nil, "renamed", ca.key, asCA)
	request = must[*crl.OCSPRequest](t)(crl.ParseOCSPRequest(ask(nil, sha1ID(other, 6), sha1ID(twin, 6), sha256ID(renamed, 6), certID(crypto.SHA384, "\x60\x86\x48\x01\x65\x03\x04\x02\x02", ca, 6))))
	if _, err := r.Respond(request, window(), statuses); !errors.Is(err, crl.ErrNotOurs) {
		t.Errorf("others only: %v", err)
	}
}

func TestRespondNonce(t *testing.T) {
	ca := certify(t, nil, "CA", asCA)
	signer := certify(t, ca, "OCSP", asResponder)
	r := must[*crl.Responder](t)(crl.NewResponder(ca.Certificate, signer.Certificate, signer.key))
	for _, size := range []int{1, 16, 32, 128} {
		octets := bytes.Repeat([]byte{0x5a}, size)
		request := must[*crl.OCSPRequest](t)(crl.ParseOCSPRequest(ask(nonce(octets), sha1ID(ca, 5))))
		if _, cacheable := request.CacheKey(); cacheable {
			t.Error("a request with a nonce is cacheable")
		}
		der := must[[]byte](t)(r.Respond(request, window(), statuses))
		if !bytes.Contains(der, nonce(octets)) {
			t.Errorf("a nonce of %d octets is not repeated", size)
		}
	}
	for _, size := range []int{0, 129} {
		if _, err := crl.ParseOCSPRequest(ask(nonce(make([]byte, size)), sha1ID(ca, 5))); !errors.Is(err, pki.ErrInvalid) {
			t.Errorf("a nonce of %d octets: %v", size, err)
		}
	}
}

func TestCacheKey(t *testing.T) {
	ca := certify(t, nil, "CA", asCA)
	key := func(der []byte) string {
		k, ok := must[*crl.OCSPRequest](t)(crl.ParseOCSPRequest(der)).CacheKey()
		if !ok {
			t.Fatal("not cacheable")
		}
		return k
	}
	one := key(ask(nil, sha1ID(ca, 5)))
	if one != key(ask(ext(unknownExtension, false, integerDER(1)), sha1ID(ca, 5))) {
		t.Error("an extension without meaning changes the key")
	}
	for _, other := range [][]byte{ask(nil, sha1ID(ca, 6)), ask(nil, sha256ID(ca, 5)), ask(nil, sha1ID(ca, 5), sha1ID(ca, 6))} {
		if key(other) == one {
			t.Errorf("%x has the key of another", other)
		}
	}
}

func TestParseOCSPRequestRefuses(t *testing.T) {
	ca := certify(t, nil, "CA", asCA)
	id := sha1ID(ca, 5)
	for name, der := range map[string][]byte{
		"empty":              {},
		"no certificates":    ask(nil),
		"too many":           ask(nil, slices.Repeat([][]byte{id}, 17)...),
		"too long":           ask(ext(unknownExtension, false, make([]byte, 9000)), id),
		"trailing":           append(ask(nil, id), 0),
		"version 2":          seq(seq(element(0xa0, integerDER(1)), seq(seq(id)))),
		"negative serial":    ask(nil, sha1ID(ca, -5)),
		"critical extension": ask(ext(unknownExtension, true, integerDER(1)), id),
		"two nonces":         ask(slices.Concat(nonce([]byte{1}), nonce([]byte{2})), id),
		"critical in single": seq(seq(seq(seq(id, element(0xa0, seq(ext(unknownExtension, true, integerDER(1)))))))),
	} {
		if _, err := crl.ParseOCSPRequest(der); !errors.Is(err, pki.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	whole := ask(nonce([]byte{1}), id)
	for n := range whole {
		if _, err := crl.ParseOCSPRequest(whole[:n]); err == nil {
			t.Errorf("cut at %d it is a request", n)
		}
	}
	if _, err := crl.ParseOCSPRequest(seq(seq(element(0xa0, integerDER(0)), element(0xa1, dirName(ca.RawSubject)), seq(seq(id))), element(0xa0, seq()))); err != nil {
		t.Errorf("explicit version, name and signature: %v", err)
	}
}

func TestDecodeOCSPPath(t *testing.T) {
	ca := certify(t, nil, "CA", asCA)
	der := ask(nil, sha1ID(ca, 5))
	text := base64.StdEncoding.EncodeToString(der)
	for _, path := range []string{text, url.PathEscape(text), url.QueryEscape(text)} {
		if got := must[[]byte](t)(crl.DecodeOCSPPath(path)); !bytes.Equal(got, der) {
			t.Errorf("%s gives %x", path, got)
		}
	}
	for _, path := range []string{"%", "%zz", "a b", strings.Repeat("A", 40<<10)} {
		if _, err := crl.DecodeOCSPPath(path); !errors.Is(err, pki.ErrInvalid) {
			t.Errorf("%.20s: %v", path, err)
		}
	}
}

func TestNewResponderRefuses(t *testing.T) {
	ca, other := certify(t, nil, "CA", asCA), certify(t, nil, "CA", asCA)
	good := certify(t, ca, "OCSP", asResponder)
	for name, id := range map[string]*identity{
		"of another key":   {good.Certificate, other.key},
		"the CA's own key": certifyKey(t, ca, "OCSP", ca.key, asResponder),
		"of another CA":    certify(t, other, "OCSP", asResponder),
		"no OCSPSigning":   certify(t, ca, "OCSP", asResponder, func(c *x509.Certificate) { c.ExtKeyUsage = nil }),
		"no nocheck":       certify(t, ca, "OCSP", asResponder, func(c *x509.Certificate) { c.ExtraExtensions = nil }),
		"no signature":     certify(t, ca, "OCSP", asResponder, usage(x509.KeyUsageKeyEncipherment)),
		"a CA":             certify(t, ca, "OCSP", asResponder, asCA, usage(x509.KeyUsageDigitalSignature)),
	} {
		if _, err := crl.NewResponder(ca.Certificate, id.Certificate, id.key); !errors.Is(err, pki.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	r := must[*crl.Responder](t)(crl.NewResponder(ca.Certificate, good.Certificate, good.key))
	request := must[*crl.OCSPRequest](t)(crl.ParseOCSPRequest(ask(nil, sha1ID(ca, 5))))
	for name, w := range map[string]crl.Window{
		"no length":          {Produced: now(), This: now(), Next: now()},
		"made before":        {Produced: now().Add(-hour), This: now(), Next: now().Add(hour)},
		"beyond certificate": {Produced: now(), This: now(), Next: now().Add(2000 * hour)},
	} {
		if _, err := r.Respond(request, w, statuses); !errors.Is(err, pki.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOCSPFailure(t *testing.T) {
	for failure, want := range map[crl.OCSPFailure]ocsp.ResponseStatus{
		crl.MalformedRequest: ocsp.Malformed, crl.InternalError: ocsp.InternalError, crl.TryLater: ocsp.TryLater, crl.Unauthorized: ocsp.Unauthorized,
	} {
		_, err := ocsp.ParseResponse(failure.Response(), nil)
		if got, ok := errors.AsType[ocsp.ResponseError](err); !ok || got.Status != want {
			t.Errorf("%d is read as %v", failure, err)
		}
	}
}

// TestOCSPOpenSSL has a stranger ask and read the answer, for each kind of key.
func TestOCSPOpenSSL(t *testing.T) {
	require(t, "openssl")
	for _, kind := range []pki.KeyType{pki.ECP256, pki.ECP384, pki.Ed25519, pki.RSA2048} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			root := certify(t, nil, "Root", asCA)
			ca := certifyKey(t, root, "CA", must[crypto.Signer](t)(pki.GenerateKey(kind)), asCA)
			signer := certifyKey(t, ca, "OCSP", must[crypto.Signer](t)(pki.GenerateKey(kind)), asResponder)
			r := must[*crl.Responder](t)(crl.NewResponder(ca.Certificate, signer.Certificate, signer.key))
			dir := t.TempDir()
			file(t, dir, "root.pem", "CERTIFICATE", root.Raw)
			file(t, dir, "ca.pem", "CERTIFICATE", ca.Raw)
			for _, hash := range []string{"-sha1", "-sha256"} {
				out, err := openssl(t, dir, "ocsp", hash, "-issuer", "ca.pem", "-serial", "5", "-serial", "6", "-serial", "7", "-nonce", "-reqout", "req.der")
				if err != nil {
					t.Fatal(err, out)
				}
				request := must[*crl.OCSPRequest](t)(crl.ParseOCSPRequest(must[[]byte](t)(os.ReadFile(filepath.Join(dir, "req.der")))))
				answer := must[[]byte](t)(r.Respond(request, window(), statuses))
				if err := os.WriteFile(filepath.Join(dir, "resp.der"), answer, 0o600); err != nil {
					t.Fatal(err)
				}
				at := now().Add(time.Minute)
				out, err = openssl(t, dir, "ocsp", "-no_nonce", "-reqin", "req.der", "-respin", "resp.der", "-CAfile", "root.pem", "-verify_other", "ca.pem",
					hash, "-issuer", "ca.pem", "-serial", "5", "-serial", "6", "-serial", "7",
					"-attime", big.NewInt(at.Unix()).String(), "-validity_period", "1000000000")
				if err != nil {
					t.Fatal(err, out)
				}
				for _, want := range []string{"Response verify OK", "5: good", "6: revoked", "Reason: keyCompromise", "7: unknown"} {
					if !strings.Contains(out, want) {
						t.Errorf("%s: %q is missing in %s", hash, want, out)
					}
				}
				if strings.Contains(out, "WARNING: no nonce") || strings.Contains(out, "Nonce Verify error") {
					t.Errorf("%s: nonce: %s", hash, out)
				}
			}
		})
	}
}
