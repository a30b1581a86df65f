package api

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"net/http"
	"strings"
	"testing"

	"omca/ca"
	"omca/internal/object"
	"omca/internal/wire"
	"omca/pki"
)

// csrWith returns a signing request whose subject is exactly name.
func csrWith(t *testing.T, name pkix.Name) string {
	t.Helper()
	der := must(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: name}, must(pki.GenerateKey("ec-p256"))(t)))(t)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

// asks returns a call that has a request signed, or previewed.
func asks(t *testing.T, by, profile, route string, name pkix.Name) request {
	t.Helper()
	return request{method: http.MethodPost, target: "/api/certificate" + route, by: by, body: asJSON(t, wire.SignRequest{CSR: csrWith(t, name), Profile: profile})}
}

// imported gives an object a key and the certificate that root signs for it by request, as an admin of its namespace imports them.
func (w *world) imported(path, by string, name pkix.Name) {
	w.t.Helper()
	key := must(pki.GenerateKey("ec-p256"))(w.t)
	der := must(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: name}, key))(w.t)
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	signed := into[wire.Signed](w.do(request{method: http.MethodPost, target: "/api/certificate", by: "root", body: asJSON(w.t, wire.SignRequest{CSR: string(text)})}).want(http.StatusCreated))
	for name, value := range map[string]string{ca.KeyPrivate: string(must(pki.EncodePrivateKey(key))(w.t)), ca.KeyChain: signed.CertificateChain} {
		w.do(request{method: http.MethodPost, target: at + path + "/data/key?name=" + name, by: by, body: value, media: "text/plain"}).want(http.StatusNoContent)
	}
}

// leaf returns the certificate that an object holds.
func (w *world) leaf(path string) *x509.Certificate {
	w.t.Helper()
	p := must(object.ParsePath(path))(w.t)
	return must(pki.ParseCertificates(must(w.objects.Value(w.t.Context(), p, ca.KeyCertificate))(w.t)))(w.t)[0]
}

// TestSubjectIsNotAsked: services read groups, and whole subjects. Without root a request has no part of a subject beside the common name
// that the caller's own user has not. The error names each.
func TestSubjectIsNotAsked(t *testing.T) {
	w := newWorld(t)
	one := func(value string) []string { return []string{value} }
	for _, tt := range []struct {
		by, profile string
		name        pkix.Name
		words       []string
	}{
		{"guest", "usr", pkix.Name{CommonName: "guest", Organization: one("system:masters"), OrganizationalUnit: one("admins")},
			[]string{`o "system:masters", ou "admins"`, `"guest" has o "", ou ""`, "--set o='system:masters' --set ou='admins'"}},
		{"guest", "usr", pkix.Name{CommonName: "guest", OrganizationalUnit: one("admins")}, []string{"--set ou='admins'"}},
		{"guest", "usr", pkix.Name{CommonName: "guest", Country: one("FR"), Province: one("IDF"), Locality: one("Paris")}, []string{`c "FR", st "IDF", l "Paris"`}},
		{"signer", "listener", pkix.Name{CommonName: "a.clu.mycorp", Organization: one("system:masters")}, []string{"system:masters"}},
		{"signer", "listener", pkix.Name{CommonName: "a.clu.mycorp", Locality: one("Paris")}, []string{`l "Paris"`}},
		{"guest", "usr", pkix.Name{CommonName: "guest", Organization: one("x'; reboot '")}, []string{`--set o='x'\''; reboot '\'''`}},
		{"guest", "usr", pkix.Name{CommonName: "guest", ExtraNames: []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}, Value: "boss@clu.mycorp"}}},
			[]string{"boss@clu.mycorp"}},
	} {
		for _, route := range []string{"", "/preview"} {
			w.do(asks(t, tt.by, tt.profile, route, tt.name)).refused(http.StatusForbidden, tt.words...)
		}
	}
	w.alter("system/usr/guest", "o=MyCorp", "c=fr", "l=Paris")
	own := pkix.Name{CommonName: "guest", Organization: one("MyCorp"), Country: one("FR"), Locality: one("Paris")}
	w.do(asks(t, "guest", "usr", "", own)).want(http.StatusCreated)
	own.Locality = one("Lyon")
	w.do(asks(t, "guest", "usr", "", own)).refused(http.StatusForbidden, `l "Lyon"`, `has l "Paris"`)
	w.do(asks(t, "root", "usr", "", own)).want(http.StatusCreated)
}

// TestLeftOutOfASubject: attributes that omca does not keep are in no certificate, and the answer names them.
func TestLeftOutOfASubject(t *testing.T) {
	w := newWorld(t)
	name := pkix.Name{CommonName: "guest", SerialNumber: "1", ExtraNames: []pkix.AttributeTypeAndValue{
		{Type: asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 25}, Value: "mycorp"}, {Type: asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 25}, Value: "lan"},
		{Type: asn1.ObjectIdentifier{2, 5, 4, 72}, Value: "root"},
	}}
	for _, by := range []string{"guest", "root"} {
		for _, route := range []string{"", "/preview"} {
			res := w.do(asks(t, by, "usr", route, name))
			if got := res.header.Get("Omca-Notice"); res.status >= 300 || !strings.HasSuffix(got, ": serialNumber, DC, 2.5.4.72") {
				t.Errorf("%s: status %d, notice %q", res.what, res.status, got)
			}
		}
		signed := into[wire.Signed](w.do(asks(t, by, "usr", "", name)).want(http.StatusCreated))
		if got := must(pki.ParseCertificates([]byte(signed.Certificate)))(t)[0].Subject.String(); got != "CN=guest" {
			t.Errorf("by %s: subject %q", by, got)
		}
	}
	if res := w.do(asks(t, "guest", "usr", "", pkix.Name{CommonName: "guest"})).want(http.StatusCreated); res.header.Get("Omca-Notice") != "" {
		t.Errorf("notice %q", res.header.Get("Omca-Notice"))
	}
}

// TestOrganizationIsNotSet: o and ou of a user are root's to set. An admin gives a sec those of the own user.
func TestOrganizationIsNotSet(t *testing.T) {
	w := newWorld(t)
	w.do(request{method: http.MethodPatch, target: patch("system/usr/none", "o=system:masters"), by: "adminsys"}).refused(http.StatusForbidden, `keyword "o"`)
	w.alter("system/usr/adminsys", "o=MyCorp")
	w.do(request{method: http.MethodPatch, target: patch("system/usr/none", "o=MyCorp"), by: "adminsys"}).refused(http.StatusForbidden, `keyword "o"`, "needs root")
	w.do(request{method: http.MethodPost, target: at + "system/usr/fresh", by: "adminsys", body: `{"keywords":["ou=admins"]}`}).refused(http.StatusForbidden, `keyword "ou"`)
	for _, r := range []request{
		{method: http.MethodPatch, target: patch("ns1/sec/web", "o=system:masters"), by: "admin1"},
		{method: http.MethodPatch, target: patch("ns1/sec/web", "DEFAULT.o=system:masters"), by: "admin1"},
		{method: http.MethodPut, target: at + "ns1/sec/web/config/file", by: "admin1", body: "[DEFAULT]\ncn = web.clu.mycorp\nou = admins\n", media: mediaText},
		{method: http.MethodPost, target: at + "ns1/sec/web", by: "admin1", body: `{"force":true,"keywords":["o=system:masters"]}`},
		{method: http.MethodPost, target: at + "ns1/sec/new", by: "admin1", body: `{"keywords":["o=system:masters"]}`},
		{method: http.MethodPost, target: at + "ns1/sec/new", by: "admin1", body: `{"config":"[DEFAULT]\nou = admins\n"}`},
		{method: http.MethodPost, target: at + "fresh/sec/new", by: "squatter", body: `{"keywords":["o=system:masters"]}`},
	} {
		w.do(r).refused(http.StatusForbidden, "setting keyword", "a subject with")
	}
	w.alter("system/usr/admin1", "o=MyCorp", "ou=Web", "names=web.clu.mycorp")
	w.do(request{method: http.MethodPatch, target: patch("ns1/sec/web", "o=MyCorp", "ou=Web", "l=Paris"), by: "admin1"}).want(http.StatusOK)
	issue := request{method: http.MethodPost, target: at + "ns1/sec/web/certificate", by: "admin1", body: `{}`}
	w.do(issue).want(http.StatusOK)
	// What somebody else put there stays, is no other's to have signed, and goes on being signed by root.
	w.alter("ns1/sec/web", "o=system:masters")
	w.do(request{method: http.MethodPatch, target: patch("ns1/sec/web", "comment=x", "o=system:masters"), by: "admin1"}).want(http.StatusOK)
	w.do(request{method: http.MethodPost, target: at + "ns1/sec/web", by: "admin1", body: `{"force":true,"keywords":["cn=web.clu.mycorp","o=system:masters"]}`}).want(http.StatusCreated)
	w.do(issue).refused(http.StatusForbidden, "ns1/sec/web: ", `o "system:masters"`, `has o "MyCorp"`)
	issue.by = "root"
	w.do(issue).want(http.StatusOK)
	if got := w.leaf("ns1/sec/web").Subject.String(); got != "CN=web.clu.mycorp,O=system:masters" {
		t.Errorf("subject %q", got)
	}
}

// TestNamesAreNotPlanted: the names of an object in a namespace are those that its administrator may ask for, however they get there: the
// next to renew may be root.
func TestNamesAreNotPlanted(t *testing.T) {
	w := newWorld(t)
	w.alter("system/usr/admin1", "names=*.ns1.lan secret.lan 10.1.0.0/16 @ns1.lan URI:*.ns1.lan")
	w.alter("system/sec/ca", "deny_names=secret.lan")
	set := func(word string) request {
		return request{method: http.MethodPatch, target: patch("ns1/sec/web", word), by: "admin1"}
	}
	for _, r := range []request{
		set("alt_names=www.bank.lan"), set("alt_names+=DNS:www.bank.lan"), set("alt_names|=www.bank.lan"), set("DEFAULT.alt_names=www.bank.lan"),
		set("alt_names=a.ns1.lan WWW.Bank.LAN"), set("alt_names=xn--bnk-qla.lan"), set("alt_names=bänk.lan"), set("alt_names=*.bank.lan"),
		set("alt_names=*.lan"), set("alt_names=*.a.ns1.lan"), set("alt_names=a.b.ns1.lan"), set("alt_names=ns1.lan"), set("alt_names=localhost"),
		set("alt_names=a.ns1.lan 192.0.2.1"), set("alt_names=IP:::ffff:192.0.2.1"), set("alt_names=2001:db8::1"),
		set("alt_names=*.ns1.lan spiffe://clu/usr/boss"), set("alt_names=https://www.bank.lan/a.ns1.lan"), set("alt_names=urn:bank:a.ns1.lan"),
		set("alt_names=ceo@bank.lan"), set("email=ceo@bank.lan"), set("email=ceo@a.ns1.lan"),
		set("cn=www.bank.lan"), set("cn=WWW.BANK.LAN"), set("cn=www.bank.lan."), set("cn=a.ns1.lan."), set("cn=a.ns1.lan/O=x"), set("cn=root"), set("cn=Payment service"), set("cn=192.0.2.1"),
		set("cn=secret.lan"),
		{method: http.MethodPut, target: at + "ns1/sec/web/config/file", by: "admin1", body: "[DEFAULT]\ncn = web.clu.mycorp\nalt_names = www.bank.lan\n", media: mediaText},
		{method: http.MethodPut, target: at + "ns1/sec/web/config/file", by: "admin1", body: "[DEFAULT]\ncn = www.bank.lan\n", media: mediaText},
		{method: http.MethodPost, target: at + "ns1/sec/file/config/file", by: "admin1", body: "[DEFAULT]\nemail = ceo@bank.lan\n", media: mediaText},
		{method: http.MethodPost, target: at + "ns1/sec/web", by: "admin1", body: `{"force":true,"keywords":["cn=web.clu.mycorp","alt_names=www.bank.lan"]}`},
		{method: http.MethodPost, target: at + "ns1/sec/web", by: "admin1", body: `{"keywords":["alt_names=www.bank.lan"]}`},
		{method: http.MethodPost, target: at + "ns1/sec/new", by: "admin1", body: `{"keywords":["alt_names=www.bank.lan"]}`},
		{method: http.MethodPost, target: at + "ns1/sec/new", by: "admin1", body: `{"config":"[DEFAULT]\ncn = www.bank.lan\n"}`},
		{method: http.MethodPost, target: at + "ns1/sec/new/certificate/preview", by: "admin1", body: `{"keywords":["alt_names=www.bank.lan"]}`},
		{method: http.MethodPost, target: at + "fresh/sec/new", by: "squatter", body: `{"keywords":["cn=www.bank.lan"]}`},
		{method: http.MethodPatch, target: patch("system/usr/none", "email=ceo@bank.lan"), by: "adminsys"},
	} {
		w.do(r).refused(http.StatusForbidden, "setting keyword")
	}
	w.do(set("alt_names=secret.lan")).refused(http.StatusForbidden, "system/sec/ca may not sign this")
	if got := into[wire.ObjectItem](w.do(request{target: at + "ns1/sec/web", by: "admin1"})).Data.Keywords; len(got) != 1 || got["cn"] != "web.clu.mycorp" {
		t.Errorf("a refused change changed something: %v", got)
	}
	for _, word := range []string{"alt_names=a.ns1.lan DNS:B.ns1.lan *.ns1.lan 10.1.2.3 https://a.ns1.lan/x joe@ns1.lan", "email=web@ns1.lan", "cn=Web.ns1.lan"} {
		w.do(set(word)).want(http.StatusOK)
	}
	// What root put there stays, in whatever spelling, and needs no leave.
	w.alter("ns1/sec/web", "alt_names+=www.bank.lan", "email=ceo@bank.lan", "cn=bank.lan")
	for _, word := range []string{"alt_names+=c.ns1.lan", "alt_names=c.ns1.lan DNS:WWW.bank.lan", "alt_names-=nothing.lan", "email=CEO@bank.lan", "comment=x", "cn=bank.lan"} {
		w.do(set(word)).want(http.StatusOK)
	}
	w.do(set("alt_names=bank.lan")).refused(http.StatusForbidden, "bank.lan")
	w.do(set("cn=www.bank.lan")).refused(http.StatusForbidden, "www.bank.lan")
	w.do(request{method: http.MethodPost, target: at + "ns1/sec/web/certificate", by: "root", body: `{}`}).want(http.StatusOK)
	if got := strings.Join(w.leaf("ns1/sec/web").DNSNames, " "); !strings.Contains(got, "www.bank.lan") || !strings.Contains(got, "c.ns1.lan") {
		t.Errorf("names %q", got)
	}
}

// TestNamedByItsPath: the admin of a namespace chooses the names of its objects. Over a key that was imported no certificate is for such a name.
func TestNamedByItsPath(t *testing.T) {
	w := newWorld(t)
	const path = "ns1/sec/www.bank.lan"
	w.do(request{method: http.MethodPost, target: at + path, by: "admin1", body: `{}`}).want(http.StatusCreated)
	w.imported(path, "admin1", pkix.Name{CommonName: "a.ns1.lan"})
	for _, route := range []string{"/certificate", "/certificate/renew", "/certificate/preview"} {
		w.do(request{method: http.MethodPost, target: at + path + route, by: "root", body: `{}`}).refused(http.StatusBadRequest, "neither cn nor alt_names", "--set cn=")
	}
	w.do(request{method: http.MethodPost, target: at + path + "/certificate/renew", by: "root", body: `{"rekey":true}`}).want(http.StatusOK)
	w.do(request{method: http.MethodPost, target: at + path + "/certificate", by: "root", body: `{}`}).want(http.StatusOK)
	if got := strings.Join(w.leaf(path).DNSNames, " "); got != "www.bank.lan" {
		t.Errorf("names %q over a key that was made here", got)
	}
}
