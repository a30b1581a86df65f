package api

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"omca/ca"
	"omca/internal/registry"
	"omca/internal/wire"
	"omca/pki"
)

func TestKeys(t *testing.T) {
	w := newWorld(t)
	key := at + "ns1/sec/web/data/key?name=a/b"
	w.do(request{method: http.MethodPut, target: key, by: "admin1", body: "x", media: "text/plain"}).refused(http.StatusNotFound, "a/b")
	w.do(request{method: http.MethodPost, target: key, by: "admin1", body: "one", media: "text/plain"}).want(http.StatusNoContent)
	w.do(request{method: http.MethodPost, target: key, by: "admin1", body: "two", media: "text/plain"}).refused(http.StatusConflict, "exists", "key change")
	w.do(request{method: http.MethodPut, target: key, by: "admin1", body: "\xff\x00", media: "application/octet-stream"}).want(http.StatusNoContent)
	res := w.do(request{target: key, by: "admin1"}).want(http.StatusOK)
	if string(res.body) != "\xff\x00" || res.header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("%q %q", res.header.Get("Content-Type"), res.body)
	}
	res = w.do(request{target: at + "ns1/sec/web/data/key?name=color", by: "admin1"}).want(http.StatusOK)
	if string(res.body) != "blue" || res.header.Get("Content-Type") != mediaText {
		t.Errorf("%q %q", res.header.Get("Content-Type"), res.body)
	}
	list := into[wire.DataKeyList](w.do(request{target: at + "ns1/sec/web/data/keys", by: "guest1"}).want(http.StatusOK))
	if len(list.Items) != 2 || list.Items[1] != (wire.DataKey{Object: "ns1/sec/web", Name: "a/b", Size: 2}) {
		t.Errorf("keys %v", list.Items)
	}
	values := into[[]wire.KeyValue](w.do(request{target: at + "ns1/sec/web/data", by: "admin1"}).want(http.StatusOK))
	if len(values) != 2 || string(values[0].Bytes) != "blue" {
		t.Errorf("values %v", values)
	}
	for range 2 {
		w.do(request{method: http.MethodDelete, target: key, by: "admin1"}).want(http.StatusNoContent)
	}
	w.do(request{target: key, by: "admin1"}).refused(http.StatusNotFound, "a/b")
}

func TestKeysOfNothing(t *testing.T) {
	w := newWorld(t)
	for _, r := range []request{
		{target: at + "ns1/sec/absent/data/key?name=x"},
		{target: at + "ns1/sec/absent/data?name=x"},
		{target: at + "ns1/sec/absent/data"},
		{target: at + "ns1/sec/absent/data/keys"},
		{method: http.MethodPost, target: at + "ns1/sec/absent/data/key?name=x", body: "x", media: "text/plain"},
		{method: http.MethodDelete, target: at + "ns1/sec/absent/data/key?name=x"},
		{method: http.MethodPatch, target: at + "ns1/sec/absent/data", body: `[{"action":"add","name":"x","string":"y"}]`},
		{method: http.MethodPost, target: at + "ns1/sec/absent/data/key?name=certificate", body: "x", media: "text/plain"},
	} {
		r.by = "admin1"
		w.do(r).refused(http.StatusNotFound, "ns1/sec/absent")
	}
}

// TestGuestCannotProbe: what a guest may not read looks the same whether it is
// there or not.
func TestGuestCannotProbe(t *testing.T) {
	w := newWorld(t)
	for _, by := range []string{"guest1", "none"} {
		there := w.do(request{target: at + "ns1/sec/web/data/key?name=color", by: by}).problem()
		absent := w.do(request{target: at + "ns1/sec/nope/data/key?name=color", by: by}).problem()
		if there.Status != http.StatusForbidden || there.Detail != strings.ReplaceAll(absent.Detail, "nope", "web") {
			t.Errorf("by %s: %q is not %q", by, there.Detail, absent.Detail)
		}
	}
}

func TestPatchData(t *testing.T) {
	w := newWorld(t)
	patch := func(body string) result {
		return w.do(request{method: http.MethodPatch, target: at + "ns1/sec/web/data", by: "admin1", body: body})
	}
	patch(`[{"action":"add","name":"x","bytes":"` + base64.StdEncoding.EncodeToString([]byte("1")) + `"},{"action":"rename","name":"color","to":"colour"},{"action":"add","name":"y","string":"2"},{"action":"remove","name":"nothing"}]`).
		want(http.StatusNoContent)
	got := asJSON(t, into[[]wire.KeyValue](w.do(request{target: at + "ns1/sec/web/data?name=x&name=colour&name=y", by: "admin1"})))
	if want := `[{"name":"x","bytes":"MQ=="},{"name":"colour","bytes":"Ymx1ZQ=="},{"name":"y","bytes":"Mg=="}]`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for body, status := range map[string]int{
		`[{"action":"change","name":"y","string":"3"},{"action":"add","name":"x","string":"4"}]`: http.StatusConflict,
		`[{"action":"change","name":"y","string":"3"},{"action":"change","name":"absent"}]`:      http.StatusNotFound,
		`[{"action":"put","name":"y","string":"3"}]`:                                             http.StatusBadRequest,
		`[{"action":"change","name":"y","string":"3","bytes":"MQ=="}]`:                           http.StatusBadRequest,
		`[{"action":"change","name":"y","bytes":"!"}]`:                                           http.StatusBadRequest,
		`[{"action":"change","name":"y","value":"3"}]`:                                           http.StatusBadRequest,
		`[{"action":"add","name":"../y","string":"3"}]`:                                          http.StatusBadRequest,
		`[]`: http.StatusBadRequest,
		`{}`: http.StatusBadRequest,
		`[{"action":"rename","name":"y","to":"private_key"}]`:                                                         http.StatusBadRequest,
		`[{"action":"rename","name":"y","to":"fullpem"}]`:                                                             http.StatusBadRequest,
		`[{"action":"add","name":"serial_number","string":"1"}]`:                                                      http.StatusBadRequest,
		`[{"action":"add","name":"certificate","string":"x"},{"action":"add","name":"z","string":"x"}]`:               http.StatusBadRequest,
		`[{"action":"add","name":"big","string":"` + strings.Repeat("a", registry.MaxKeySize+1) + `"}]`:               http.StatusRequestEntityTooLarge,
		`[{"action":"add","name":"certificate_chain","string":"` + strings.Repeat("a", registry.MaxKeySize+1) + `"}]`: http.StatusRequestEntityTooLarge,
		`[{"action":"add","name":"big","string":"` + strings.Repeat("a", limitJSON) + `"}]`:                           http.StatusRequestEntityTooLarge,
	} {
		res := patch(body)
		res.what = body[:min(len(body), 100)]
		res.refused(status)
	}
	if got := string(w.do(request{target: at + "ns1/sec/web/data/key?name=y", by: "admin1"}).body); got != "2" {
		t.Errorf("a refused change changed y to %q", got)
	}
}

// TestRenameIsReading: renaming a key to another name must not make it readable.
func TestRenameIsReading(t *testing.T) {
	w := newWorld(t)
	w.do(request{method: http.MethodPost, target: at + "system/usr/none/data/key?name=password", by: "root", body: "secret words", media: "text/plain"}).want(http.StatusNoContent)
	for _, step := range []string{`{"action":"rename","name":"private_key","to":"x"}`, `{"action":"rename","name":"password","to":"x"}`} {
		w.do(request{method: http.MethodPatch, target: at + "system/usr/none/data", by: "adminsys", body: "[" + step + "]"}).refused(http.StatusForbidden)
	}
	w.do(request{method: http.MethodPatch, target: at + "system/usr/none/data", by: "root", body: `[{"action":"rename","name":"password","to":"x"}]`}).refused(http.StatusForbidden)
	all := into[[]wire.KeyValue](w.do(request{target: at + "system/usr/none/data", by: "root"}).want(http.StatusOK))
	if len(all) != 0 {
		t.Errorf("the password was given away: %v", all)
	}
}

func TestNotForHands(t *testing.T) {
	w := newWorld(t)
	for name, word := range map[string]string{
		"fullpem": "computed", "certificate_signing_request": "computed", "serial_number": "belongs to",
		"": "missing", strings.Repeat("x", 256): "at most 255", "pending/private_key": "kept for imports", "a%0Ab": "printed",
	} {
		for _, method := range []string{http.MethodPost, http.MethodPut} {
			w.do(request{method: method, target: at + "system/usr/none/data/key?name=" + name, by: "root", body: "x", media: "text/plain"}).refused(http.StatusBadRequest, word)
		}
	}
	big := strings.Repeat("x", registry.MaxKeySize+1)
	w.do(request{method: http.MethodPost, target: at + "ns1/sec/web/data/key?name=big", by: "admin1", body: big, media: "text/plain"}).refused(http.StatusRequestEntityTooLarge)
	w.do(request{method: http.MethodPost, target: at + "ns1/sec/web/data/key?name=big", by: "admin1", body: big[1:], media: "text/plain"}).want(http.StatusNoContent)
	// On a cfg these are names like any other.
	w.do(request{method: http.MethodPost, target: at + "ns1/cfg/plain/data/key?name=fullpem", by: "admin1", body: "x", media: "text/plain"}).want(http.StatusNoContent)
}

func TestComputedKeys(t *testing.T) {
	w := newWorld(t)
	full := string(w.do(request{target: at + "system/usr/guest1/data/key?name=fullpem", by: "guest1"}).want(http.StatusOK).body)
	if !strings.HasPrefix(full, "-----BEGIN PRIVATE KEY-----") || !strings.Contains(full, "-----BEGIN CERTIFICATE-----") {
		t.Errorf("fullpem is %.60q", full)
	}
	w.do(request{target: at + "ns1/sec/web/data/key?name=fullpem", by: "root"}).refused(http.StatusNotFound, "private_key")
	// The first request makes the key, the next one is for the same.
	var public []string
	for range 2 {
		text := w.do(request{target: at + "ns1/sec/web/data/key?name=certificate_signing_request", by: "admin1"}).want(http.StatusOK).body
		r := must(pki.ParseRequest(text))(t)
		public = append(public, asJSON(t, r.PublicKey()))
		if r.Subject().CommonName != "web.clu.mycorp" {
			t.Errorf("the request is for %q", r.Subject().CommonName)
		}
	}
	if public[0] != public[1] {
		t.Error("two requests have two keys")
	}
	w.do(request{target: at + "system/usr/none/data/key?name=certificate_signing_request", by: "guest1"}).refused(http.StatusForbidden)
	w.do(request{target: at + "system/usr/boss/data/key?name=certificate_signing_request", by: "adminsys"}).refused(http.StatusForbidden, "every grant")
}

func TestImport(t *testing.T) {
	w := newWorld(t)
	other := newWorld(t)
	take := func(name string) string {
		return string(other.do(request{target: at + "system/sec/cert/data/key?name=" + name, by: "root"}).want(http.StatusOK).body)
	}
	send := func(name, value string) result {
		return w.do(request{method: http.MethodPost, target: at + "system/sec/cert/data/key?name=" + name, by: "root", body: value, media: "application/octet-stream"})
	}
	send(ca.KeyChain, "nope").refused(http.StatusBadRequest, "certificate_chain")
	// Parts of a set come alone, or what came with them would be lost.
	part := asJSON(t, wire.KeyEdit{Action: "add", Name: ca.KeyChain, Bytes: []byte(take(ca.KeyChain))})
	note := asJSON(t, wire.KeyEdit{Action: "add", Name: "x", Bytes: []byte("y")})
	for _, steps := range []string{part + "," + note, note + "," + part} {
		w.do(request{method: http.MethodPatch, target: at + "system/sec/cert/data", by: "root", body: "[" + steps + "]"}).refused(http.StatusBadRequest, "one at a time")
	}
	res := send(ca.KeyChain, take(ca.KeyChain)).want(http.StatusNoContent)
	if notice := res.header.Get("Omca-Notice"); !strings.Contains(notice, "pending") || strings.ContainsAny(notice, "\r\n") {
		t.Errorf("notice %q", notice)
	}
	state := into[wire.CertificateState](w.do(request{target: at + "system/sec/cert/certificate", by: "root"}).want(http.StatusOK))
	if len(state.Pending) != 1 || state.SignedBy != "system/sec/ca" {
		t.Errorf("pending: %+v", state)
	}
	if res := send(ca.KeyPrivate, take(ca.KeyPrivate)).want(http.StatusNoContent); res.header.Get("Omca-Notice") != "" {
		t.Errorf("notice %q", res.header.Get("Omca-Notice"))
	}
	state = into[wire.CertificateState](w.do(request{target: at + "system/sec/cert/certificate", by: "root"}).want(http.StatusOK))
	if len(state.Pending) != 0 || state.SignedBy != "" || state.State != "valid" {
		t.Errorf("live: %+v", state)
	}
	create := request{method: http.MethodPost, target: at + "system/sec/cert/certificate", by: "root"}
	w.do(create).refused(http.StatusConflict, "not by this cluster", "--yes")
	create.body = `{"replace_external":true}`
	if got := into[wire.Issued](w.do(create).want(http.StatusOK)); got.Path != "system/sec/cert" || got.Serial == "" {
		t.Errorf("%+v", got)
	}
}

// TestImportCA: importing another CA says how many certificates it ends.
func TestImportCA(t *testing.T) {
	w := newWorld(t)
	other := newWorld(t)
	send := func(name string) string {
		t.Helper()
		value := other.do(request{target: at + "system/sec/ca/data/key?name=" + name, by: "root"}).want(http.StatusOK).body
		res := w.do(request{method: http.MethodPut, target: at + "system/sec/ca/data/key?name=" + name, by: "root", body: string(value), media: "text/plain"})
		return res.want(http.StatusNoContent).header.Get("Omca-Notice")
	}
	if notice := send(ca.KeyPrivate); !strings.Contains(notice, "pending") {
		t.Errorf("notice %q", notice)
	}
	notice := send(ca.KeyChain)
	if !strings.HasPrefix(notice, "2 certificates that system/sec/ca signed before are no longer accepted") || !strings.HasSuffix(notice, "\"omca ca rollback\" goes back") {
		t.Errorf("notice %q", notice)
	}
	// The same once more ends nothing more than is ended.
	w.issue("system/sec/cert")
	if notice := send(ca.KeyChain); notice != "" {
		t.Errorf("notice %q", notice)
	}
}
