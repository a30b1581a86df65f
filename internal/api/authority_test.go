package api

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"omca/internal/wire"
	"omca/pki"
)

// caWorld is a world with a CA in the namespace of admin1.
func caWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.put("ns1/sec/sub", "profile=ca", "ca=system/sec/ca", "cn=Sub CA")
	w.issue("ns1/sec/sub")
	w.key("ns1/sec/sub", "note", "kept beside it")
	w.issue("ns1/sec/web")
	return w
}

// TestCAIsRoots: whichever route there is, an administrator of the namespace does
// not change a CA in it and reads none of its keys. What is shown of any object is
// shown of a CA. A route that is new is refused here until it is among those.
func TestCAIsRoots(t *testing.T) {
	w := caWorld(t)
	shown := []string{"getObject", "getConfigFile", "getConfig", "validateConfig", "listKeys", "getCertificate"}
	rootsAnyway := []string{"pkcs12", "adoptCluster", "getHistory", "rollback"}
	w.db.fault = errFault // nothing comes of what is let in
	asked := 0
	for _, r := range w.door.routes() {
		if !strings.Contains(r.path, "{kind}") || r.id == "unlockUser" {
			continue
		}
		asked++
		key := ""
		if r.id == "getData" || r.id == "getKey" {
			key = "note"
		}
		status := func(by, object string) int { return w.ask(r, cell{caller: by, object: object, key: key}, r.method) }
		if got, shows := status("admin1", "ns1/sec/sub"), slices.Contains(shown, r.id); (got == http.StatusForbidden) == shows {
			t.Errorf("%s by the administrator, on a CA: status %d", r.id, got)
		}
		if got := status("root", "ns1/sec/sub"); got == http.StatusForbidden {
			t.Errorf("%s by root, on a CA: status %d", r.id, got)
		}
		if got := status("admin1", "ns1/sec/web"); (got == http.StatusForbidden) != slices.Contains(rootsAnyway, r.id) {
			t.Errorf("%s by the administrator, on what is no CA: status %d", r.id, got)
		}
	}
	if asked < 20 {
		t.Errorf("%d routes: is the table of routes there?", asked)
	}
}

// TestNoDeedToACA: each way to change a CA, with a body that does so to any other
// object, leaves it as it was.
func TestNoDeedToACA(t *testing.T) {
	w := caWorld(t)
	pem := string(must(pki.EncodePrivateKey(must(pki.GenerateKey("ec-p256"))(t)))(t))
	serial := w.serialOf("ns1/sec/sub")
	const sub = at + "ns1/sec/sub"
	before := w.do(request{target: sub, by: "root"}).want(http.StatusOK).body
	for name, r := range map[string]request{
		"a keyword":               {method: "PATCH", target: sub + "/config?set=comment%3Dx"},
		"another issuer":          {method: "PATCH", target: sub + "/config?set=ca%3Dsystem/sec/ca"},
		"a keyword less":          {method: "PATCH", target: sub + "/config?unset=ca"},
		"no keywords":             {method: "PATCH", target: sub + "/config?delete=DEFAULT"},
		"another profile":         {method: "PATCH", target: sub + "/config?set=profile%3Dlistener"},
		"a config file":           {method: "PUT", target: sub + "/config/file", body: "[DEFAULT]\nprofile = ca\ncn = Sub CA\nca = system/sec/ca\ncomment = x\n", media: mediaText},
		"create":                  {method: "POST", target: sub, body: `{"keywords":["comment=x"]}`},
		"create anew":             {method: "POST", target: sub, body: `{"force":true}`},
		"create anew and revoke":  {method: "POST", target: sub, body: `{"force":true,"revoke":true}`},
		"a key":                   {method: "POST", target: sub + "/data/key?name=other", body: "x", media: mediaAny},
		"another private key":     {method: "PUT", target: sub + "/data/key?name=private_key", body: pem, media: mediaAny},
		"a chain":                 {method: "POST", target: sub + "/data/key?name=certificate_chain", body: "x", media: mediaAny},
		"a certificate":           {method: "POST", target: sub + "/data/key?name=certificate", body: "x", media: mediaAny},
		"no private key":          {method: "DELETE", target: sub + "/data/key?name=private_key"},
		"no chain":                {method: "DELETE", target: sub + "/data/key?name=certificate_chain"},
		"keys, all or none":       {method: "PATCH", target: sub + "/data", body: `[{"action":"remove","name":"certificate_chain"}]`},
		"a key renamed":           {method: "PATCH", target: sub + "/data", body: `[{"action":"rename","name":"note","to":"other"}]`},
		"a new certificate":       {method: "POST", target: sub + "/certificate", body: `{}`},
		"a renewed one":           {method: "POST", target: sub + "/certificate/renew", body: `{"rekey":true}`},
		"one to look at":          {method: "POST", target: sub + "/certificate/preview", body: `{}`},
		"a request":               {method: "POST", target: sub + "/certificate/signing-request"},
		"revocation":              {method: "POST", target: sub + "/certificate/revoke", body: `{}`},
		"revocation by serial":    {method: "POST", target: "/api/certificate/" + serial + "/revoke", body: `{}`},
		"a former set":            {method: "POST", target: sub + "/certificate/rollback", body: `{}`},
		"a whole cluster":         {method: "POST", target: sub + "/import", body: `{"private_key":"","certificate":""}`},
		"deletion":                {method: "POST", target: sub + "/action/delete"},
		"deletion and revocation": {method: "POST", target: sub + "/action/purge?revoke=true"},
	} {
		r.by = "admin1"
		if res := w.do(r); res.status != http.StatusForbidden {
			t.Errorf("%s: status %d: %.300s", name, res.status, res.body)
		}
	}
	if after := w.do(request{target: sub, by: "root"}).want(http.StatusOK).body; string(after) != string(before) {
		t.Errorf("the CA is\n%s\nand was\n%s", after, before)
	}
	// Using it is another matter, and so is what is no CA.
	w.do(request{method: "PATCH", target: at + "ns1/sec/web/config?set=ca%3Dns1/sec/sub", by: "admin1"}).want(http.StatusOK)
	w.do(request{method: "PATCH", target: at + "ns1/sec/web/config?set=comment%3Dx", by: "admin1"}).want(http.StatusOK)
	// Root is let in.
	w.do(request{method: "PATCH", target: sub + "/config?set=comment%3Dx", by: "root"}).want(http.StatusOK)
	w.do(request{method: "POST", target: sub + "/certificate/renew", body: `{}`, by: "root"}).want(http.StatusOK)
	w.do(request{method: "POST", target: sub + "/certificate/revoke", body: `{}`, by: "root"}).want(http.StatusOK)
	w.do(request{method: "POST", target: sub + "/action/delete", by: "root"}).want(http.StatusOK)
}

// TestBecomingACA: each way in which an object becomes a CA is root's too.
func TestBecomingACA(t *testing.T) {
	const ini = "[DEFAULT]\nprofile = ca\ncn = Mine\n"
	ways := map[string]request{
		"create":             {method: "POST", target: at + "ns1/sec/mine", body: `{"keywords":["profile=ca"]}`},
		"create, by file":    {method: "POST", target: at + "ns1/sec/mine", body: `{"config":"[DEFAULT]\nprofile = ca\n"}`},
		"create anew":        {method: "POST", target: at + "ns1/sec/web", body: `{"force":true,"keywords":["profile=ca"]}`},
		"config file of new": {method: "POST", target: at + "ns1/sec/mine/config/file", body: ini, media: mediaText},
		"one to look at":     {method: "POST", target: at + "ns1/sec/mine/certificate/preview", body: `{"keywords":["profile=ca","cn=Mine"]}`},
		"a keyword":          {method: "PATCH", target: at + "ns1/sec/web/config?set=profile%3Dca"},
		"create, as update":  {method: "POST", target: at + "ns1/sec/web", body: `{"keywords":["profile=ca"]}`},
		"a config file":      {method: "PUT", target: at + "ns1/sec/web/config/file", body: ini, media: mediaText},
		"by its path":        {method: "POST", target: at + "system/sec/ca-mine", body: `{}`},
		"by a claim":         {method: "POST", target: at + "fresh/sec/mine", body: `{"keywords":["profile=ca"]}`},
	}
	made := []string{"ns1/sec/mine", "system/sec/ca-mine", "fresh/sec/mine"}
	w := caWorld(t)
	profile := func() string {
		return into[wire.ObjectItem](w.do(request{target: at + "ns1/sec/web", by: "root"}).want(http.StatusOK)).Data.Keywords["profile"]
	}
	for name, r := range ways {
		for _, by := range []string{"admin1", "adminall", "adminsys", "squatter"} {
			r.by = by
			if res := w.do(r); res.status != http.StatusForbidden {
				t.Errorf("%s by %s: status %d: %.300s", name, by, res.status, res.body)
			}
			for _, path := range made {
				w.do(request{target: at + path, by: "root"}).want(http.StatusNotFound)
			}
			if profile() != "" {
				t.Errorf("%s by %s: ns1/sec/web has the profile %q", name, by, profile())
			}
		}
		r.by = "root"
		if res := w.do(r); res.status >= 300 {
			t.Errorf("%s by root: status %d: %.300s", name, res.status, res.body)
		}
		for _, path := range made {
			w.deletes(path, "root") // if it was made
		}
		w.do(request{method: "POST", target: at + "ns1/sec/web", body: `{"force":true}`, by: "root"}).want(http.StatusCreated)
	}
}

// TestKeysOfACA: what a CA holds is read by root alone, by each way that gives a value.
func TestKeysOfACA(t *testing.T) {
	w := caWorld(t)
	const sub = at + "ns1/sec/sub"
	for _, name := range []string{"note", "certificate", "certificate_chain", "serial_number", "private_key", "fullpem", "certificate_signing_request"} {
		w.do(request{target: sub + "/data/key?name=" + name, by: "admin1"}).refused(http.StatusForbidden, "needs root")
		w.do(request{target: sub + "/data?name=" + name, by: "admin1"}).refused(http.StatusForbidden, "needs root")
		w.do(request{target: sub + "/data/key?name=" + name, by: "root"}).want(http.StatusOK)
		if v := into[wire.Verdict](w.do(canIAsk("admin1", "read-key", "ns1/sec/sub", name, ""))); v.Allowed {
			t.Errorf("the administrator may read %s, says can-i", name)
		}
	}
	if all := into[[]wire.KeyValue](w.do(request{target: sub + "/data", by: "admin1"}).want(http.StatusOK)); len(all) != 0 {
		t.Errorf("the administrator reads %d keys", len(all))
	}
	if all := into[[]wire.KeyValue](w.do(request{target: at + "ns1/sec/web/data", by: "admin1"}).want(http.StatusOK)); len(all) == 0 {
		t.Error("the administrator reads no keys of what is no CA")
	}
	state := into[wire.CertificateState](w.do(request{target: sub + "/certificate", by: "admin1"}).want(http.StatusOK))
	if state.Certificate+state.CertificateChain != "" || state.Serial == "" {
		t.Errorf("the administrator is shown %+v", state)
	}
}
