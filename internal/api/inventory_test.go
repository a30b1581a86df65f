package api

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"omca/internal/wire"
)

func (w *world) sign(by, body string) result {
	w.t.Helper()
	return w.do(request{method: http.MethodPost, target: "/api/certificate", by: by, body: body})
}

func TestSign(t *testing.T) {
	w := newWorld(t)
	text := csr(t, "x.clu.mycorp", "x.clu.mycorp")
	got := into[wire.Signed](w.sign("signer", asJSON(t, wire.SignRequest{CSR: text, Validity: "24h"})).want(http.StatusCreated))
	if want := w.now.Add(24 * time.Hour); got.NotAfter.Sub(want).Abs() > 2*time.Second || strings.Count(got.CertificateChain, "BEGIN CERTIFICATE") != 2 {
		t.Errorf("%+v, want until %s", got, want)
	}
	record := into[wire.FullRecord](w.do(request{target: "/api/certificate/" + strings.ToUpper(got.Serial), by: "signer"}).want(http.StatusOK))
	if record.Serial != got.Serial || record.Owner != "system/usr/signer" || record.Profile != "listener" || record.IssuerPath != "system/sec/ca" ||
		record.Issuer != "clu CA" || record.State != "valid" || record.Certificate != got.Certificate {
		t.Errorf("%+v", record)
	}
	for _, tt := range []struct {
		by, body string
		status   int
		word     string
	}{
		{"signer", asJSON(t, wire.SignRequest{CSR: csr(t, "evil.example.com", "evil.example.com")}), 403, "signer"},
		{"none", asJSON(t, wire.SignRequest{CSR: text}), 403, "none"},
		{"signer", asJSON(t, wire.SignRequest{CSR: text, Profile: "node"}), 403, "root"},
		{"signer", asJSON(t, wire.SignRequest{CSR: text, Owner: "system/usr/boss"}), 403, "owner"},
		{"root", asJSON(t, wire.SignRequest{CSR: text, Profile: "ca"}), 400, "ca"},
		{"root", asJSON(t, wire.SignRequest{CSR: text, Profile: "foo"}), 400, "foo"},
		{"root", asJSON(t, wire.SignRequest{CSR: text, Validity: "soon"}), 400, "validity"},
		{"root", asJSON(t, wire.SignRequest{CSR: text, Owner: "nobody"}), 400, "owner"},
		{"root", asJSON(t, wire.SignRequest{CSR: "nope"}), 400, "request"},
		{"root", `{"csr":"x","force":true}`, 400, "force"},
		{"root", asJSON(t, wire.SignRequest{CSR: strings.Repeat("x", limitCSR)}), 413, "at most"},
	} {
		w.sign(tt.by, tt.body).refused(tt.status, tt.word)
	}
}

func TestInventory(t *testing.T) {
	w := newWorld(t)
	serials := map[string]bool{}
	for i := range 5 {
		name := "x" + strconv.Itoa(i) + ".clu.mycorp"
		got := into[wire.Signed](w.sign("signer", asJSON(t, wire.SignRequest{CSR: csr(t, name, name), Validity: strconv.Itoa(i+1) + "d"})).want(http.StatusCreated))
		serials[got.Serial] = true
	}
	page := func(by, query string) wire.CertificateList {
		t.Helper()
		return into[wire.CertificateList](w.do(request{target: "/api/certificate" + query, by: by}).want(http.StatusOK))
	}
	if all := page("root", ""); len(all.Items) != 8 || all.Next != "" { // CA, listener, guest1 and the five
		t.Errorf("%d certificates, next %q", len(all.Items), all.Next)
	}
	for query, want := range map[string]int{
		"?expiring=3d": 2, "?expiring=30d": 5, "?owner=system/usr/signer": 5, "?owner=system/usr/boss": 0, "?issuer=system/sec/ca": 8,
		"?profile=usr": 1, "?profile=listener&owner=system/usr/signer": 5, "?limit=3": 3,
	} {
		if got := page("root", query); len(got.Items) != want {
			t.Errorf("%s: %d certificates, want %d", query, len(got.Items), want)
		}
	}
	var last time.Time
	seen, after := 0, ""
	for {
		got := page("signer", "?limit=2&after="+after)
		for _, r := range got.Items {
			if !serials[r.Serial] || r.NotAfter.Before(last) {
				t.Errorf("%s of %s, expiry %s after %s", r.Serial, r.Owner, r.NotAfter, last)
			}
			last = r.NotAfter
			seen++
		}
		if after = got.Next; after == "" {
			break
		}
	}
	if seen != 5 {
		t.Errorf("the pages have %d certificates, want 5", seen)
	}
	if got := page("none", ""); len(got.Items) != 0 {
		t.Errorf("somebody without grants sees %v", got.Items)
	}
	w.now = w.now.Add(36 * time.Hour)
	if got := page("root", "?expiring=3d"); len(got.Items) != 3 || got.Items[0].State != "valid" {
		t.Errorf("expiring has %d, among them what has expired", len(got.Items))
	}
	if got := page("signer", ""); got.Items[0].State != "expired" {
		t.Errorf("state %q", got.Items[0].State)
	}
	for _, query := range []string{"?expiring=x", "?owner=x", "?issuer=x", "?profile=x", "?limit=0", "?limit=1001", "?limit=x", "?after=" + strings.Repeat("x", 200)} {
		w.do(request{target: "/api/certificate" + query, by: "root"}).refused(http.StatusBadRequest)
	}
}

// TestRecordCannotBeProbed: a record that the caller may not see is not there.
func TestRecordCannotBeProbed(t *testing.T) {
	w := newWorld(t)
	serial := into[wire.CertificateList](w.do(request{target: "/api/certificate?profile=usr", by: "root"})).Items[0].Serial
	hidden := w.do(request{target: "/api/certificate/" + serial, by: "none"}).problem()
	absent := w.do(request{target: "/api/certificate/abc123", by: "none"}).problem()
	if hidden.Status != http.StatusNotFound || hidden.Detail != strings.ReplaceAll(absent.Detail, "abc123", serial) {
		t.Errorf("%q is not %q", hidden.Detail, absent.Detail)
	}
}

// What is searched for and the state select what is listed, and only of what
// the caller may see.
// colons is a serial number as OpenSSL prints it.
func colons(serial string) string {
	if len(serial)%2 == 1 {
		serial = "0" + serial
	}
	return strings.Join(slices.Collect(func(yield func(string) bool) {
		for i := 0; i < len(serial) && yield(serial[i:i+2]); i += 2 {
		}
	}), ":")
}

func TestInventorySearch(t *testing.T) {
	w := newWorld(t)
	got := into[wire.Signed](w.sign("signer", asJSON(t, wire.SignRequest{CSR: csr(t, "Find.clu.mycorp", "other.clu.mycorp"), Validity: "2d"})).want(http.StatusCreated))
	old := into[wire.Signed](w.sign("signer", asJSON(t, wire.SignRequest{CSR: csr(t, "old.clu.mycorp"), Validity: "1d"})).want(http.StatusCreated))
	w.do(request{method: http.MethodPost, target: "/api/certificate/" + old.Serial + "/revoke", by: "root"}).want(http.StatusOK)
	for _, tt := range []struct {
		by, query string
		serial    string // the only one; "" for none
	}{
		{"root", "search=find", got.Serial},
		{"root", "search=OTHER+usr/signer", got.Serial},
		{"root", "search=find+old", ""},
		{"root", "search=" + got.Serial, got.Serial},
		{"root", "search=" + colons(got.Serial), got.Serial},
		{"root", "search=find+" + strings.ToUpper(got.Serial), got.Serial},
		{"root", "search=nowhere+" + got.Serial, ""},
		{"root", "profile=usr&search=" + got.Serial, ""},
		{"root", "expiring=36h&search=" + got.Serial, ""},
		{"root", "state=revoked&search=" + got.Serial, ""},
		{"guest1", "search=" + got.Serial, ""},
		{"guest1", "search=find", ""},
		{"root", "state=revoked", old.Serial},
		{"root", "state=revoked&revoked=false", ""},
		{"root", "state=valid&search=old.clu", ""},
		{"root", "state=expired", ""},
		{"root", "state=not_yet_valid", ""},
	} {
		list := into[wire.CertificateList](w.do(request{target: "/api/certificate?" + tt.query, by: tt.by}).want(http.StatusOK))
		if want := map[bool]int{true: 1}[tt.serial != ""]; len(list.Items) != want || want == 1 && list.Items[0].Serial != tt.serial {
			t.Errorf("%s %s: %+v, want %q", tt.by, tt.query, list.Items, tt.serial)
		}
	}
	w.now = w.now.Add(36 * time.Hour)
	if list := into[wire.CertificateList](w.do(request{target: "/api/certificate?state=valid&search=clu.mycorp", by: "signer"}).want(http.StatusOK)); len(list.Items) != 1 {
		t.Errorf("valid after a day and a half: %+v", list.Items)
	}
	w.do(request{target: "/api/certificate?state=odd", by: "root"}).refused(http.StatusBadRequest, "odd")
	w.do(request{target: "/api/certificate?search=" + strings.Repeat("x", mostSearch+1), by: "root"}).refused(http.StatusBadRequest, "at most 128")
}
