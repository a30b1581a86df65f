package api

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"omca/internal/wire"
	"omca/pki"
	"omca/pki/flocker/flockertest"
)

// adoption is a cluster of Flocker's with one user, as a body.
func adoption(t *testing.T, start time.Time, user string) wire.Adoption {
	t.Helper()
	a := flockertest.New(t, "mycluster", "0b5d8a1e-3f0c-4f7e-9a55-7d1c2f3e4b6a", start)
	key, err := pki.EncodePrivateKey(a.Key)
	if err != nil {
		t.Fatal(err)
	}
	return wire.Adoption{
		PrivateKey: string(key), Certificate: string(a.Certificate()),
		Signed: []wire.AdoptedFile{{Name: "user.crt", Certificate: string(a.User(user).Certificate())}, {Name: "control.crt", Certificate: string(a.Control("192.0.2.1").Certificate())}},
	}
}

func TestAdopt(t *testing.T) {
	w := newWorld(t)
	body := adoption(t, w.now.Add(-time.Hour), "alice")
	const target = "/api/object/path/system/sec/ca/import"
	for by, status := range map[string]int{"adminsys": http.StatusForbidden, "adminall": http.StatusForbidden, "guest": http.StatusForbidden, "": http.StatusUnauthorized} {
		w.do(request{method: "POST", target: target, by: by, body: asJSON(t, body)}).want(status)
	}
	w.do(request{method: "POST", target: "/api/object/path/ns1/sec/web/import", by: "root", body: asJSON(t, body)}).want(http.StatusBadRequest)
	w.do(request{method: "POST", target: "/api/object/path/system/sec/ca-none/import", by: "root", body: asJSON(t, body)}).want(http.StatusNotFound)

	broken := body
	broken.Signed = append(broken.Signed, wire.AdoptedFile{Name: "strange.crt", Certificate: string(flockertest.New(t, "mycluster", "x", w.now).User("eve").Certificate())})
	res := w.do(request{method: "POST", target: target, by: "root", body: asJSON(t, broken)}).want(http.StatusBadRequest)
	if !strings.Contains(string(res.body), "strange.crt") || strings.Contains(string(res.body), "PRIVATE KEY") {
		t.Errorf("%s", res.body)
	}
	w.do(request{target: "/api/object/path/system/usr/alice", by: "root"}).want(http.StatusNotFound)

	done := into[wire.Adopted](w.do(request{method: "POST", target: target, by: "root", body: asJSON(t, body)}).want(http.StatusOK))
	if !done.IsChanged || len(done.Users) != 1 || done.Users[0] != "system/usr/alice" || done.Recorded != 2 || done.Known != 0 || len(done.Unnamed) != 0 {
		t.Errorf("%+v", done)
	}
	state := into[wire.CertificateState](w.do(request{target: "/api/object/path/system/usr/alice/certificate", by: "root"}).want(http.StatusOK))
	if state.State != "valid" || state.SignedBy != "system/sec/ca" || !strings.Contains(state.Subject, "CN=user-alice") {
		t.Errorf("%+v", state)
	}
	w.do(request{method: "POST", target: "/api/certificate/" + state.Serial + "/revoke", by: "root"}).want(http.StatusOK)
	state = into[wire.CertificateState](w.do(request{target: "/api/object/path/system/usr/alice/certificate", by: "root"}).want(http.StatusOK))
	if state.State != "revoked" {
		t.Errorf("revoked, it is %q", state.State)
	}
	again := into[wire.Adopted](w.do(request{method: "POST", target: target, by: "root", body: asJSON(t, body)}).want(http.StatusOK))
	if again.IsChanged || len(again.Users) != 0 || again.Recorded != 0 || again.Known != 2 {
		t.Errorf("again: %+v", again)
	}
}
