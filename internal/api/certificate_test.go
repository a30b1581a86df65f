package api

import (
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"strings"
	"testing"

	"software.sslmate.com/src/go-pkcs12"

	"omca/internal/wire"
)

func TestCertificateOfObject(t *testing.T) {
	w := newWorld(t)
	state := into[wire.CertificateState](w.do(request{target: at + "ns1/sec/web/certificate", by: "guest1"}).want(http.StatusOK))
	if state.State != "none" || state.Path != "ns1/sec/web" {
		t.Errorf("%+v", state)
	}
	renew := request{method: http.MethodPost, target: at + "ns1/sec/web/certificate/renew", by: "root"}
	w.do(renew).refused(http.StatusConflict, "no certificate to renew", "certificate create")
	first := into[wire.Issued](w.do(request{method: http.MethodPost, target: at + "ns1/sec/web/certificate", by: "root", body: `{}`}).want(http.StatusOK))
	second := into[wire.Issued](w.do(renew).want(http.StatusOK))
	if first.Serial == second.Serial || publicKey(t, first.Certificate) != publicKey(t, second.Certificate) {
		t.Error("renewing must keep the key and take a new serial number")
	}
	renew.body = `{"rekey":true}`
	if third := into[wire.Issued](w.do(renew).want(http.StatusOK)); publicKey(t, third.Certificate) == publicKey(t, second.Certificate) {
		t.Error("rekey kept the key")
	}
	state = into[wire.CertificateState](w.do(request{target: at + "ns1/sec/web/certificate", by: "guest1"}).want(http.StatusOK))
	if state.State != "valid" || state.DaysLeft < 360 || state.SignedBy != "system/sec/ca" || strings.Join(state.Names, " ") == "" || state.KeyType == "" {
		t.Errorf("%+v", state)
	}
	if state.Certificate != "" || state.CertificateChain != "" {
		t.Error("a guest read the values of keys")
	}
	if into[wire.CertificateState](w.do(request{target: at + "ns1/sec/web/certificate", by: "admin1"}).want(http.StatusOK)).Certificate == "" {
		t.Error("an admin did not get the certificate")
	}
	for target, status := range map[string]int{
		"ns1/cfg/plain/certificate": 400, "ns1/sec/absent/certificate": 404, "root/ccfg/cluster/certificate": 400,
		"ns1/cfg/plain/certificate/renew": 400, "ns1/sec/absent/certificate/signing-request": 404, "ns1/cfg/plain/certificate/signing-request": 400,
	} {
		w.do(request{method: http.MethodPost, target: at + target, by: "root"}).refused(status)
	}
	w.do(request{method: http.MethodPost, target: at + "ns1/sec/web/certificate", by: "root", body: `{"rekey":true}`}).refused(http.StatusBadRequest, "rekey")
	w.do(request{method: http.MethodPost, target: at + "ns1/sec/web/certificate", by: "root", body: `{}`, media: "text/plain"}).refused(http.StatusUnsupportedMediaType)
}

// TestAdminCannotNameItself: admin on a namespace does not make a CA sign any name.
func TestAdminCannotNameItself(t *testing.T) {
	w := newWorld(t)
	w.do(request{method: http.MethodPost, target: at + "ns1/sec/web/certificate", by: "admin1"}).refused(http.StatusForbidden, "names")
}

func publicKey(t *testing.T, text string) string {
	t.Helper()
	block, _ := pem.Decode([]byte(text))
	cert := must(x509.ParseCertificate(block.Bytes))(t)
	return string(cert.RawSubjectPublicKeyInfo)
}

func TestSigningRequest(t *testing.T) {
	w := newWorld(t)
	text := w.do(request{method: http.MethodPost, target: at + "ns1/sec/web/certificate/signing-request", by: "admin1"}).want(http.StatusOK).body
	if !strings.HasPrefix(string(text), "-----BEGIN CERTIFICATE REQUEST-----") {
		t.Errorf("%.60q", text)
	}
}

func TestPKCS12(t *testing.T) {
	w := newWorld(t)
	pack := request{method: http.MethodPost, target: at + "system/usr/guest1/certificate/pkcs12", by: "guest1", body: `{"password":"s3cret"}`}
	for _, format := range []string{"", `,"format":"legacy"`} {
		pack.body = `{"password":"s3cret"` + format + `}`
		res := w.do(pack).want(http.StatusOK)
		_, cert, chain, err := pkcs12.DecodeChain(res.body, "s3cret")
		if err != nil || cert.Subject.CommonName != "guest1" || len(chain) == 0 {
			t.Errorf("%s: %v", pack.body, err)
		}
	}
	if log := w.log.take(); !strings.Contains(log, `"action":"pkcs12"`) || strings.Contains(log, "s3cret") {
		t.Errorf("audit trail: %s", log)
	}
	for body, status := range map[string]int{`{}`: 400, `{"password":"x","format":"old"}`: 400, ``: 415, `{"password":1}`: 400} {
		pack.body = body
		w.do(pack).refused(status)
	}
	pack.target, pack.by, pack.body = at+"ns1/sec/web/certificate/pkcs12", "root", `{"password":"x"}`
	w.do(pack).refused(http.StatusConflict, "ns1/sec/web")
}

func TestCA(t *testing.T) {
	w := newWorld(t)
	got := into[wire.Authority](w.do(request{target: "/api/ca", by: "none"}).want(http.StatusOK))
	pem := string(w.do(request{target: "/ca.pem"}).want(http.StatusOK).body)
	if got.Path != "system/sec/ca" || got.Subject != "CN=clu CA" || len(got.SHA256) != 64 || got.CertificateChain != pem {
		t.Errorf("%+v", got)
	}
	empty := emptyWorld(t)
	empty.do(request{target: "/ca.pem"}).refused(http.StatusNotFound, "no CA")
	empty.put("cluster", "cluster.name=clu")
	empty.do(request{target: "/ca.pem"}).refused(http.StatusNotFound, "no CA")
	empty.put("system/sec/ca")
	empty.do(request{target: "/api/ca", by: "root"}).refused(http.StatusNotFound, "no CA")
}
