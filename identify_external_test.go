package omca

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"omca/pki"
	"omca/usr"
	"omca/usr/session"
)

// company is another PKI, which the cluster trusts for clients.
func (f *front) company() (client func(edit func(*x509.Certificate)) []*x509.Certificate) {
	f.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	now := time.Unix(0, f.clock.Load())
	sign := func(template, parent *x509.Certificate, public *ecdsa.PublicKey) *x509.Certificate {
		f.Helper()
		der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
		if err != nil {
			f.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			f.Fatal(err)
		}
		return cert
	}
	root := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "Company"}, NotBefore: now, NotAfter: now.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	root = sign(root, root, &key.PublicKey)
	f.root("POST", "/api/object/path/system/sec/ca-company", "{}")
	f.root("POST", "/api/object/path/system/sec/ca-company/data/key?name=certificate_chain", string(pki.EncodeCertificates(root)))
	f.root("PATCH", "/api/cluster/config?set=cluster.ca%3Dsystem/sec/ca-company", "")
	return func(edit func(*x509.Certificate)) []*x509.Certificate {
		f.Helper()
		template := &x509.Certificate{
			SerialNumber: big.NewInt(now.UnixNano() + 1), Subject: pkix.Name{CommonName: "alice"}, NotBefore: now, NotAfter: now.Add(time.Hour),
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}
		edit(template)
		return []*x509.Certificate{sign(template, root, &key.PublicKey), root}
	}
}

// logsIn begins a session with the certificate of a connection.
func (f *front) logsIn(chain []*x509.Certificate) *httptest.ResponseRecorder {
	r := httptest.NewRequest("POST", "/api/auth/login", http.NoBody).WithContext(context.WithValue(f.Context(), memoKey{}, new(memo)))
	r.TLS = &tls.ConnectionState{PeerCertificates: chain[:1], VerifiedChains: [][]*x509.Certificate{chain}}
	w := httptest.NewRecorder()
	f.s.handler.ServeHTTP(w, r)
	return w
}

// TestWhichCertificateIsAUsers: wherever a certificate of another PKI is taken for a
// user, its subject has one common name and its keyUsage, if there, digitalSignature.
func TestWhichCertificateIsAUsers(t *testing.T) {
	f := newFront(t)
	client := f.company()
	f.user("alice", "", "grant=guest:ns1")
	u, err := f.s.objects.User(f.Context(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	cn := func(s string) pkix.AttributeTypeAndValue {
		return pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: s}
	}
	for name, tt := range map[string]struct {
		edit func(*x509.Certificate)
		good bool
	}{
		"as it should be": {func(*x509.Certificate) {}, true},
		"two common names, the last of which is the user's": {func(c *x509.Certificate) {
			c.Subject = pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{cn("bob"), cn("alice")}}
		}, false},
		"two common names, the first of which is the user's": {func(c *x509.Certificate) {
			c.Subject = pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{cn("alice"), cn("bob")}}
		}, false},
		"for encryption": {func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }, false},
		"no keyUsage":    {func(c *x509.Certificate) { c.KeyUsage = 0 }, true},
	} {
		chain := client(tt.edit)
		want := http.StatusUnauthorized
		if tt.good {
			want = http.StatusOK
		}
		for how, got := range map[string]*httptest.ResponseRecorder{"a request": f.asks(chain), "a login": f.logsIn(chain)} {
			if got.Code != want {
				t.Errorf("%s, %s: status %d, want %d", name, how, got.Code, want)
			}
		}
		began := session.Login{User: "alice", Method: usr.MethodX509, UserCreated: u.Created, PasswordChanged: u.PasswordChanged, Era: u.Era, External: true}
		for _, cert := range chain {
			began.Certificates = append(began.Certificates, cert.Raw)
		}
		if err := f.s.holds(f.Context(), began); (err == nil) != tt.good {
			t.Errorf("%s: a session that began with it: %v", name, err)
		}
	}
}

// TestMachineRootByToken: a token of the machine's root goes on whatever becomes of
// the user of that name, and a service behind a proxy is told which of them calls.
func TestMachineRootByToken(t *testing.T) {
	f := newFront(t)
	issue := func(query string) string {
		t.Helper()
		_, rest, _ := strings.Cut(f.root("POST", "/api/auth/token"+query, "").Body.String(), `"access_token":"`)
		compact, _, _ := strings.Cut(rest, `"`)
		return "Bearer " + compact
	}
	ask := func(target, token string) *httptest.ResponseRecorder {
		return f.call(f.Context(), "192.0.2.1:5", "GET", target, "", "Authorization", token)
	}
	mine := issue("")
	check := func(when string) {
		t.Helper()
		whoami, verify := ask("/whoami", mine), ask("/api/auth/verify?grant=root", mine)
		if !strings.Contains(whoami.Body.String(), `{"auth":"jwt","grant":{"root":null},"name":"root"`) {
			t.Errorf("%s: %d %s", when, whoami.Code, whoami.Body)
		}
		if got := verify.Header().Get("X-Auth-User"); verify.Code != http.StatusNoContent || got != "ux:root" {
			t.Errorf("%s: %d, X-Auth-User is %q", when, verify.Code, got)
		}
	}
	check("no user root")
	f.user("root", "", "grant=guest:ns1")
	check("a user root")
	his := issue("?subject=root")
	if got := ask("/api/auth/verify", his); got.Code != http.StatusNoContent || got.Header().Get("X-Auth-User") != "root" {
		t.Errorf("of the user: %d, X-Auth-User is %q", got.Code, got.Header().Get("X-Auth-User"))
	}
	f.root("PATCH", userPath+"root/config?set=disabled%3Dtrue", "")
	check("disabled")
	f.root("POST", userPath+"root/action/delete", "")
	check("deleted")
	if got := ask("/whoami", his); got.Code != http.StatusUnauthorized {
		t.Errorf("of the user who is gone: %d", got.Code)
	}
}
