package ca_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"omca/ca"
	"omca/pki"
	"omca/usr"
)

// ids are the URIs of a certificate.
func ids(cert *x509.Certificate) string {
	var all []string
	for _, uri := range cert.URIs {
		all = append(all, uri.String())
	}
	return strings.Join(all, " ")
}

// Objects of one name in two namespaces are told apart, and those of system have the
// ID that they always had.
func TestIDOfAnObject(t *testing.T) {
	w := bootstrapped(t)
	for _, tt := range []struct {
		path, keywords, want string
	}{
		{"shop/sec/nginx", "", "spiffe://testers/ns/shop/sec/nginx"},
		{"dev/sec/nginx", "", "spiffe://testers/ns/dev/sec/nginx"},
		{"root/sec/nginx", "", "spiffe://testers/ns/root/sec/nginx"},
		{"shop/sec/n1", "profile=node", "spiffe://testers/node/n1"},
		{"shop/sec/a.b-c", "cn=*.demo.lan", "spiffe://testers/ns/shop/sec/a.b-c"},
		{"shop/sec/odd", "cn=../usr/alice", "spiffe://testers/ns/shop/sec/odd"},
		{"system/sec/web", "", "spiffe://testers/listener/web"},
		{"system/sec/n2", "profile=node", "spiffe://testers/node/n2"},
		{"system/usr/alice", "", "spiffe://testers/usr/alice"},
		{"system/sec/ca-sub", "ca=system/sec/ca cn=Sub", ""},
	} {
		keywords := strings.Fields(tt.keywords)
		if !strings.Contains(tt.keywords, "cn=") && strings.Contains(tt.path, "/sec/") {
			keywords = append(keywords, "cn=www.demo.lan")
		}
		if strings.Contains(tt.keywords, "usr/alice") {
			keywords = append(keywords, "alt_names=odd.demo.lan")
		}
		w.create(tt.path, keywords...)
		cert := w.mustIssue(tt.path).Certificate
		if got := ids(cert); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.path, got, tt.want)
		}
		if tt.path == "system/usr/alice" || cert.IsCA {
			continue
		}
		if id, err := w.Identify(t.Context(), w.verified(cert)); !errors.Is(err, ca.ErrInvalid) {
			t.Errorf("%s was taken for a user: %+v, %v", tt.path, id, err)
		}
	}
	if got := ids(w.mustIssue(ca.PathListener).Certificate); got != "spiffe://testers/listener/cert" {
		t.Errorf("the listener: %q", got)
	}
}

// A common name becomes part of an ID as it is, or not at all.
func TestIDOfARequest(t *testing.T) {
	w := bootstrapped(t)
	root := caller(t, "root", "root")
	const refused = "refused"
	for _, tt := range []struct{ cn, profile, want string }{
		{"web.demo.lan", "listener", "spiffe://testers/listener/web.demo.lan"},
		{"Node_7", "node", "spiffe://testers/node/Node_7"},
		{"alice", "usr", "spiffe://testers/usr/alice"},
		{"*.demo.lan", "listener", ""},
		{"*.demo.lan", "node", ""},
		{"Payment service", "listener", ""},
		{"Payment service", "node", ""},
		{"Bücher", "node", ""},
		{"100%", "node", ""},
		{"a~b", "node", ""},
		{"...", "node", "spiffe://testers/node/..."},
		{"Payment service", "usr", refused},
		{"*.demo.lan", "usr", refused},
		{"100%", "usr", refused},
		{".", "listener", refused},
		{"..", "node", refused},
		{"..", "usr", refused},
		{"../usr/alice", "listener", refused},
		{"a/b", "node", refused},
		{"/", "usr", refused},
	} {
		r := ca.SignRequest{CSR: csr(t, tt.cn, "192.0.2.1"), Profile: tt.profile}
		preview, previewed := w.PreviewSign(t.Context(), root, r)
		issued, err := w.Sign(t.Context(), root, r)
		if tt.want == refused {
			said := "SPIFFE ID"
			if tt.profile == "usr" {
				said = "speaks for the user"
			}
			if !errors.Is(err, ca.ErrInvalid) || !strings.Contains(err.Error(), said) || !errors.Is(previewed, ca.ErrInvalid) {
				t.Errorf("%q as %s: %v; preview: %v", tt.cn, tt.profile, err, previewed)
			}
			continue
		}
		if err != nil || previewed != nil {
			t.Errorf("%q as %s: %v; preview: %v", tt.cn, tt.profile, err, previewed)
			continue
		}
		if got := ids(issued.Certificate); got != tt.want || ids(preview.Certificate) != tt.want {
			t.Errorf("%q as %s: %q, preview %q, want %q", tt.cn, tt.profile, got, ids(preview.Certificate), tt.want)
		}
		if tt.profile == "usr" {
			continue
		}
		if id, err := w.Identify(t.Context(), w.verified(issued.Certificate)); !errors.Is(err, ca.ErrInvalid) {
			t.Errorf("%q as %s was taken for a user: %+v, %v", tt.cn, tt.profile, id, err)
		}
	}
}

// The name of the cluster is the trust domain. One that cannot be one is in no certificate.
func TestTrustDomain(t *testing.T) {
	w := newWorld(t)
	w.create("cluster")
	w.create(ca.PathCA)
	w.mustIssue(ca.PathCA)
	w.create("system/usr/alice")
	root := caller(t, "root", "root")
	if _, err := w.Create(t.Context(), root, "system/usr/alice", ca.CreateOptions{}); !errors.Is(err, ca.ErrInvalid) || !strings.Contains(err.Error(), "cluster.name") {
		t.Errorf("in a cluster without a name: %v", err)
	}
	w.set("cluster", "cluster.name=a-b.c1")
	if got := ids(w.mustIssue("system/usr/alice").Certificate); got != "spiffe://a-b.c1/usr/alice" {
		t.Errorf("%q", got)
	}
}

// A certificate from before has the ID in its old form. It is renewed as it was, and
// gets the new one.
func TestRenewalGivesTheNewID(t *testing.T) {
	w := bootstrapped(t)
	w.create("shop/sec/nginx", "cn=www.demo.lan", "validity=30d")
	w.mustIssue("shop/sec/nginx")
	_, key, err := w.Serving(t.Context(), "shop/sec/nginx")
	if err != nil {
		t.Fatal(err)
	}
	chain, issuer, err := w.Serving(t.Context(), ca.PathCA)
	if err != nil {
		t.Fatal(err)
	}
	old := forged(t, &x509.Certificate{
		SerialNumber: new(big.Int).Lsh(big.NewInt(w.now.UnixNano()), 64), Subject: pkix.Name{CommonName: "www.demo.lan"}, DNSNames: []string{"www.demo.lan"},
		NotBefore: w.now, NotAfter: w.now.Add(30 * 24 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		URIs:        []*url.URL{{Scheme: "spiffe", Host: "testers", Path: "/listener/nginx"}},
	}, key.Public(), chain[0], issuer)
	h := must(w.objects.Holder(t.Context(), "shop/sec/nginx"))(t)
	err = w.objects.Commit(t.Context(), ca.Change{
		Records: []ca.Record{{Certificate: old, Issuer: ca.PathCA, Owner: h.Path, Profile: "listener", By: "root", IssuedAt: w.now}},
		Path:    h.Path, Revision: h.Revision,
		Put: map[string][]byte{
			ca.KeyCertificate: pki.EncodeCertificates(old), ca.KeySerial: []byte(pki.SerialOf(old)),
			ca.KeyChain: pki.EncodeCertificates(append([]*x509.Certificate{old}, chain...)...),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.now = ca.DueAt(old.NotBefore, old.NotAfter)
	if _, err := w.RenewDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	now, _, err := w.Serving(t.Context(), "shop/sec/nginx")
	if err != nil || now[0].Equal(old) {
		t.Fatalf("not renewed: %v", err)
	}
	if got, names := ids(now[0]), strings.Join(now[0].DNSNames, " "); got != "spiffe://testers/ns/shop/sec/nginx" || names != "www.demo.lan" {
		t.Errorf("renewed with ID %q and names %q", got, names)
	}
}

// An ID is read strictly: what is of our trust domain and is not spelled as here
// speaks for no user, whichever trusted CA has signed it.
func TestReadingAnID(t *testing.T) {
	w := bootstrapped(t)
	for _, name := range []string{"alice", "a.b"} {
		w.create("system/usr/" + name)
	}
	strangers, key := w.trustStrangers()
	for id, ours := range map[string]bool{
		"":                               false,
		"spiffe://strangers/usr/bob":     false,
		"https://testers.lan/usr/bob":    false,
		"spiffe://testers/usr/alice":     true,
		"spiffe://testers/usr/%61lice":   true,
		"spiffe://TESTERS/usr/alice":     true,
		"spiffe://testers:443/usr/alice": true,
		"spiffe://x@testers/usr/alice":   true,
		"spiffe://testers/usr/alice?x=y": true,
		"spiffe://testers/usr/alice#x":   true,
		"spiffe://testers/usr/alice/x":   true,
		"spiffe://testers/usr//alice":    true,
		"spiffe://testers/usr/":          true,
		"spiffe://testers/usr/..":        true,
		"spiffe://testers/usr":           true,
		"spiffe://testers/USR/alice":     true,
		"spiffe://testers/node/alice":    true,
		"spiffe://testers/ns/a/sec/b":    true,
		"spiffe://testers":               true,
	} {
		template := &x509.Certificate{
			SerialNumber: big.NewInt(w.now.UnixNano()), Subject: pkix.Name{CommonName: "alice"}, NotBefore: w.now, NotAfter: w.now.Add(time.Hour),
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}
		if id != "" {
			uri, err := url.Parse(id)
			if err != nil {
				t.Fatal(err)
			}
			template.URIs = []*url.URL{uri}
		}
		leaf := forged(t, template, newKey(t).Public(), strangers, key)
		who, err := w.Identify(t.Context(), w.verified(leaf))
		if ours && !errors.Is(err, ca.ErrInvalid) {
			t.Errorf("%q of another CA is %+v: %v", id, who, err)
		}
		if !ours && (err != nil || who.User != "alice") {
			t.Errorf("%q of another CA is %+v: %v", id, who, err)
		}
	}
}

// A request that only asks meets the same rules.
func TestMaySignKnowsIDs(t *testing.T) {
	w := bootstrapped(t)
	root := caller(t, "root", "root")
	if err := w.MaySign(t.Context(), root, "listener", []string{"*.demo.lan"}); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"..", "a/b"} {
		if err := w.MaySign(t.Context(), root, "listener", []string{name}); !errors.Is(err, ca.ErrInvalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if err := w.MaySign(t.Context(), usr.Caller{}, "listener", []string{"web.demo.lan"}); !errors.Is(err, usr.ErrDenied) {
		t.Errorf("by nobody: %v", err)
	}
}
