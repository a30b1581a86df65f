package api

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"omca/internal/wire"
)

func (w *world) preview(by, path, body string) result {
	w.t.Helper()
	return w.do(request{method: http.MethodPost, target: at + path + "/certificate/preview", by: by, body: body})
}

// TestPreview: what is shown is what is signed, and until then nothing is kept:
// the store takes no commit.
func TestPreview(t *testing.T) {
	w := newWorld(t)
	w.put("ns1/sec/shown", "cn=shown.clu.mycorp", "alt_names=also.clu.mycorp", "validity=20d")
	w.db.fault = errFault
	first := into[wire.Preview](w.preview("root", "ns1/sec/shown", `{}`).want(http.StatusOK))
	w.db.fault = nil
	if !first.NewKey || first.Replaces != "" || len(first.Changes) != 0 || len(first.TBS) == 0 || first.IsCA || first.Owner != "ns1/sec/shown" || first.IssuerPath != "system/sec/ca" {
		t.Errorf("%+v", first)
	}
	w.issue("ns1/sec/shown")
	got := into[wire.CertificateState](w.do(request{target: at + "ns1/sec/shown/certificate", by: "root"}).want(http.StatusOK))
	if got.Subject != first.Subject || !slices.Equal(got.Names, first.Names) || got.NotAfter.Sub(first.NotAfter).Abs() > time.Minute || got.KeyType != first.KeyType {
		t.Errorf("signed %+v, shown %+v", got, first)
	}
	if again := into[wire.Preview](w.preview("root", "ns1/sec/shown", `{}`).want(http.StatusOK)); again.NewKey || again.Replaces != got.Serial || len(again.Changes) != 0 {
		t.Errorf("as it was: %+v", again)
	}
	w.set("ns1/sec/shown", "alt_names=other.clu.mycorp")
	w.set("ns1/sec/shown", "validity=40d")
	differ := ""
	for _, c := range into[wire.Preview](w.preview("root", "ns1/sec/shown", `{"rekey":true}`).want(http.StatusOK)).Changes {
		differ += c.Field + ": " + c.From + " → " + c.To + "\n"
	}
	for _, want := range []string{"DNS:also.clu.mycorp", "DNS:other.clu.mycorp", "lives: 20 days → 40 days", "another one"} {
		if !strings.Contains(differ, want) {
			t.Errorf("no %q in the differences: %s", want, differ)
		}
	}
	if now := w.serialOf("ns1/sec/shown"); now != got.Serial {
		t.Errorf("holds %s after previews, held %s", now, got.Serial)
	}
}

// TestPreviewOfNew: of what is not there yet, for who may make it.
func TestPreviewOfNew(t *testing.T) {
	w := newWorld(t)
	const keywords = `{"keywords":["cn=new.clu.mycorp","profile=listener"]}`
	got := into[wire.Preview](w.preview("root", "ns1/sec/new", keywords).want(http.StatusOK))
	if got.Subject != "CN=new.clu.mycorp" || !got.NewKey {
		t.Errorf("%+v", got)
	}
	w.do(request{target: at + "ns1/sec/new", by: "root"}).refused(http.StatusNotFound)
	w.preview("root", "ns1/sec/new", `{}`).refused(http.StatusNotFound, "ns1/sec/new")
	w.preview("root", "ns1/sec/web", keywords).refused(http.StatusConflict, "ns1/sec/web")
	w.preview("root", "ns1/sec/new", `{"keywords":["nope=x"]}`).refused(http.StatusBadRequest, "nope")
	// The grants of issuing: of the object, of the keywords, of the names.
	w.preview("guest1", "ns1/sec/new", keywords).refused(http.StatusForbidden, "ns1")
	w.preview("admin1", "ns1/sec/new", keywords).refused(http.StatusForbidden)
	w.preview("adminsys", "system/usr/new", `{"keywords":["grant=root"]}`).refused(http.StatusForbidden, "root")
}

func TestPreviewOfRequest(t *testing.T) {
	w := newWorld(t)
	ask := func(by string, r wire.SignRequest) result {
		return w.do(request{method: http.MethodPost, target: "/api/certificate/preview", by: by, body: asJSON(t, r)})
	}
	r := wire.SignRequest{CSR: csr(t, "x.clu.mycorp", "x.clu.mycorp"), Validity: "24h"}
	w.db.fault = errFault
	if got := into[wire.Preview](ask("signer", r).want(http.StatusOK)); got.Replaces != "" || got.NewKey || got.Profile != "listener" || got.Owner != "system/usr/signer" {
		t.Errorf("%+v", got)
	}
	w.db.fault = nil
	signed := into[wire.Signed](w.sign("signer", asJSON(t, r)).want(http.StatusCreated))
	r.CSR = csr(t, "x.clu.mycorp", "x.clu.mycorp", "y.clu.mycorp")
	if got := into[wire.Preview](ask("signer", r).want(http.StatusOK)); got.Replaces != signed.Serial || len(got.Changes) != 2 {
		t.Errorf("%+v, want that it replaces %s with other names and another key", got, signed.Serial)
	}
	for by, r := range map[string]wire.SignRequest{"none": r, "signer": {CSR: csr(t, "evil.example.com", "evil.example.com")}} {
		ask(by, r).refused(http.StatusForbidden, by)
	}
	ask("root", wire.SignRequest{CSR: "nope"}).refused(http.StatusBadRequest, "request")
}
