package api

import (
	"net/http"
	"strings"
	"testing"

	"omca/internal/object"
	"omca/pki"
)

// csrOf is a request for a whole subject.
func csrOf(t *testing.T, subject pki.Subject, names ...string) string {
	t.Helper()
	text, err := pki.CreateSigningRequest(must(pki.GenerateKey("ec-p256"))(t), subject, must(pki.ParseNames(names))(t))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestOrganizationIsNotAsked: services read groups in a subject. Without root a certificate has no other organization, or unit, than
// the caller's own user, and these keywords are root's to set.
func TestOrganizationIsNotAsked(t *testing.T) {
	w := newWorld(t)
	masters := pki.Subject{CommonName: "guest", Organization: "system:masters", OrganizationalUnit: "admins"}
	ask := func(by, profile string, subject pki.Subject, names ...string) result {
		return w.do(request{method: http.MethodPost, target: "/api/certificate", by: by, body: asJSON(t, SignRequest{CSR: csrOf(t, subject, names...), Profile: profile})})
	}
	server := masters
	server.CommonName = "a.clu.mycorp"
	ask("guest", "usr", masters).refused(http.StatusForbidden, "system:masters", "--set o=")
	ask("guest", "usr", pki.Subject{CommonName: "guest", OrganizationalUnit: "admins"}).refused(http.StatusForbidden, "admins", "--set ou=")
	ask("signer", "listener", server).refused(http.StatusForbidden, "system:masters")
	w.do(request{method: http.MethodPatch, target: patch("system/usr/none", "o=system:masters"), by: "adminsys"}).refused(http.StatusForbidden, `keyword "o"`)
	w.do(request{method: http.MethodPost, target: at + "system/usr/fresh", by: "adminsys", body: `{"keywords":["ou=admins"]}`}).refused(http.StatusForbidden, `keyword "ou"`)
	for _, r := range []request{
		{method: http.MethodPatch, target: patch("ns1/sec/web", "o=system:masters"), by: "admin1"},
		{method: http.MethodPut, target: at + "ns1/sec/web/config/file", by: "admin1", body: "[DEFAULT]\ncn = web.clu.mycorp\nou = admins\n", media: mediaText},
		{method: http.MethodPost, target: at + "ns1/sec/web", by: "admin1", body: `{"force":true,"keywords":["o=system:masters"]}`},
	} {
		w.do(r).refused(http.StatusForbidden, "of a subject than")
	}
	w.alter("system/usr/guest", "o=MyCorp")
	w.alter("system/usr/admin1", "o=MyCorp", "ou=Web")
	ask("guest", "usr", pki.Subject{CommonName: "guest", Organization: "MyCorp"}).want(http.StatusCreated)
	ask("root", "usr", masters).want(http.StatusCreated)
	w.do(request{method: http.MethodPatch, target: patch("ns1/sec/web", "o=MyCorp", "ou=Web", "l=Paris"), by: "admin1"}).want(http.StatusOK)
}

// TestNamesAreNotPlanted: the names of an object in a namespace are those that its administrator may ask for, however they get there: the
// next to renew may be root.
func TestNamesAreNotPlanted(t *testing.T) {
	w := newWorld(t)
	w.alter("system/usr/admin1", "names=*.ns1.lan")
	for _, r := range []request{
		{method: http.MethodPatch, target: patch("ns1/sec/web", "alt_names=www.bank.lan"), by: "admin1"},
		{method: http.MethodPatch, target: patch("ns1/sec/web", "alt_names+=DNS:www.bank.lan"), by: "admin1"},
		{method: http.MethodPatch, target: patch("ns1/sec/web", "alt_names=a.ns1.lan 192.0.2.1"), by: "admin1"},
		{method: http.MethodPatch, target: patch("ns1/sec/web", "alt_names=*.ns1.lan spiffe://clu/usr/boss"), by: "admin1"},
		{method: http.MethodPatch, target: patch("ns1/sec/web", "email=ceo@bank.lan"), by: "admin1"},
		{method: http.MethodPut, target: at + "ns1/sec/web/config/file", by: "admin1", body: "[DEFAULT]\ncn = web.clu.mycorp\nalt_names = www.bank.lan\n", media: mediaText},
		{method: http.MethodPost, target: at + "ns1/sec/web", by: "admin1", body: `{"force":true,"keywords":["cn=web.clu.mycorp","alt_names=www.bank.lan"]}`},
		{method: http.MethodPost, target: at + "ns1/sec/new", by: "admin1", body: `{"keywords":["alt_names=www.bank.lan"]}`},
		{method: http.MethodPost, target: at + "ns1/sec/new/certificate/preview", by: "admin1", body: `{"keywords":["alt_names=www.bank.lan"]}`},
	} {
		w.do(r).refused(http.StatusForbidden)
	}
	w.do(request{method: http.MethodPatch, target: patch("ns1/sec/web", "alt_names=a.ns1.lan DNS:b.ns1.lan"), by: "admin1"}).want(http.StatusOK)
	// What root put there stays, and needs no leave.
	w.alter("ns1/sec/web", "alt_names+=www.bank.lan")
	w.do(request{method: http.MethodPatch, target: patch("ns1/sec/web", "alt_names+=c.ns1.lan"), by: "admin1"}).want(http.StatusOK)
	issued := into[Issued](w.do(request{method: http.MethodPost, target: at + "ns1/sec/web/certificate", by: "root", body: `{}`}).want(http.StatusOK))
	cert := must(pki.ParseCertificates(must(w.objects.Value(t.Context(), must(object.ParsePath("ns1/sec/web"))(t), "certificate"))(t)))(t)[0]
	if got := strings.Join(cert.DNSNames, " "); !strings.Contains(got, "www.bank.lan") || !strings.Contains(got, "c.ns1.lan") || issued.Serial == "" {
		t.Errorf("%q: %s", got, cert.Subject)
	}
}
