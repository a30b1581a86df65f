package api

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"omca/internal/wire"
	"omca/pki"
)

// The attacks of somebody who is somebody, each by its aim. What comes of them
// is looked at where it would show, and not in the status alone.

// attackWorld is a world with secrets, and with users who want more.
func attackWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.put("system/usr/mallory", "grant=admin:system admin squatter", "allowed_ips=192.0.2.0/24")
	w.put("system/usr/worker", "roles=api")
	w.put("ns2/sec/theirs", "cn=theirs.clu.mycorp")
	w.issue("system/usr/boss")
	w.issue("ns1/sec/web")
	w.issue("ns2/sec/theirs")
	return w
}

// grantOf is what a user holds, as root sees it; "-" when there is none.
func (w *world) grantOf(name string) string {
	w.t.Helper()
	u, err := w.objects.User(w.t.Context(), name)
	if err != nil {
		return "-"
	}
	return u.Grants.String()
}

// TestAdminOfSystemMakesNoRoot: every way from admin:system, and all namespaces
// beside, to a user who is root.
func TestAdminOfSystemMakesNoRoot(t *testing.T) {
	w := attackWorld(t)
	const boss, mine, fresh = at + "system/usr/boss", at + "system/usr/mallory", at + "system/usr/fresh"
	const ini = "[DEFAULT]\ngrant = root\n"
	key := must(pki.GenerateKey("ec-p256"))(t)
	pem := string(must(pki.EncodePrivateKey(key))(t))
	before := w.serialOf("system/usr/boss")
	for name, r := range map[string]request{
		"create":                       {method: "POST", target: fresh, body: `{"keywords":["grant=root"]}`},
		"create, with more":            {method: "POST", target: fresh, body: `{"keywords":["grant=guest root"]}`},
		"create, appended":             {method: "POST", target: fresh, body: `{"keywords":["grant+=root"]}`},
		"create, by file":              {method: "POST", target: fresh, body: `{"config":"[DEFAULT]\ngrant = root\n"}`},
		"create, elsewhere":            {method: "POST", target: at + "ns1/usr/fresh", body: `{"keywords":["grant=root"]}`},
		"config file of a new one":     {method: "POST", target: fresh + "/config/file", body: ini, media: "text/plain"},
		"itself":                       {method: "PATCH", target: mine + "/config?set=grant%3Droot"},
		"itself, appended":             {method: "PATCH", target: mine + "/config?set=grant%2B%3Droot"},
		"itself, with another name":    {method: "PATCH", target: mine + "/config?set=DEFAULT.grant%3Droot"},
		"itself, by file":              {method: "PUT", target: mine + "/config/file", body: ini, media: "text/plain"},
		"itself, made again":           {method: "POST", target: mine, body: `{"force":true,"keywords":["grant=root"]}`},
		"another":                      {method: "PATCH", target: at + "system/usr/none/config?set=grant%3Droot"},
		"another, with a wider glob":   {method: "PATCH", target: at + "system/usr/none/config?set=grant%3Djoin"},
		"root's password, a new key":   {method: "POST", target: boss + "/data/key?name=password", body: "known", media: mediaAny},
		"root's password, changed":     {method: "PUT", target: boss + "/data/key?name=password", body: "known", media: mediaAny},
		"root's password, in a change": {method: "PATCH", target: boss + "/data", body: `[{"action":"add","name":"password","string":"known"}]`},
		"root's certificate":           {method: "POST", target: boss + "/certificate", body: "{}"},
		"root's certificate, renewed":  {method: "POST", target: boss + "/certificate/renew", body: `{"rekey":true}`},
		"root's private key":           {method: "GET", target: boss + "/data/key?name=private_key"},
		"root's PKCS #12":              {method: "POST", target: boss + "/certificate/pkcs12", body: `{"password":"x"}`},
		"root's key, brought":          {method: "PUT", target: boss + "/data/key?name=private_key", body: pem, media: mediaAny},
		"root's request":               {method: "POST", target: boss + "/certificate/signing-request"},
		"root, deleted to be made":     {method: "POST", target: boss + "/action/delete"},
		"root, made again":             {method: "POST", target: boss, body: `{"force":true,"keywords":["grant=admin:system"]}`},
		"root, fewer grants first":     {method: "PATCH", target: boss + "/config?set=grant%3Dguest"},
		"root, no grant":               {method: "PATCH", target: boss + "/config?unset=grant"},
		"root's certificate, signed":   {method: "POST", target: "/api/certificate", body: asJSON(t, wire.SignRequest{CSR: csr(t, "boss"), Profile: "usr"})},
		"a node's certificate":         {method: "POST", target: "/api/certificate", body: asJSON(t, wire.SignRequest{CSR: csr(t, "boss"), Profile: "node"})},
		"for another owner":            {method: "POST", target: "/api/certificate", body: asJSON(t, wire.SignRequest{CSR: csr(t, "mallory"), Profile: "usr", Owner: "system/usr/boss"})},
		"a user of another namespace":  {method: "PATCH", target: at + "ns1/sec/web/config?set=profile%3Dusr"},
		"a CA of its own":              {method: "PATCH", target: at + "ns1/sec/web/config?set=profile%3Dca"},
		"the cluster's CA":             {method: "PUT", target: at + "system/sec/ca/data/key?name=private_key", body: pem, media: mediaAny},
		"another CA for clients":       {method: "PATCH", target: "/api/cluster/config?set=cluster.ca%3Dns1/sec/web"},
		"by the path of the cluster":   {method: "PATCH", target: at + "root/ccfg/cluster/config?set=cluster.ca%3Dns1/sec/web"},
		"the keys that sign tokens":    {method: "GET", target: at + "system/sec/jwt/data/key?name=x"},
		"to sign tokens with":          {method: "POST", target: at + "system/sec/jwt/data/key?name=x", body: pem, media: mediaAny},
		"the sessions of root":         {method: "GET", target: "/api/session?user=boss"},
		"to be asked for":              {method: "GET", target: "/api/auth/can-i?verb=administer&as=boss"},
		"new signing keys":             {method: "POST", target: "/api/token/rotate-key"},
		"a token for root":             {method: "POST", target: "/api/auth/token?subject=boss"},
		"a token with root":            {method: "POST", target: "/api/auth/token?role=root"},
		"a whole cluster":              {method: "POST", target: at + "system/sec/ca/import", body: `{"private_key":"","certificate":""}`},
	} {
		r.by = "mallory"
		res := w.do(r)
		granted := res.status < 300
		if name == "a token with root" { // which has no grant in it: what is not held is left out
			granted = strings.Contains(tokenPayload(res.body), "root")
		}
		if granted || res.status >= 500 {
			t.Errorf("%s: %s: status %d: %.300s", name, res.what, res.status, res.body)
		}
	}
	for user, want := range map[string]string{"boss": "root", "mallory": "admin:system admin squatter", "none": "", "fresh": "-"} {
		if got := w.grantOf(user); got != want {
			t.Errorf("%s holds %q, want %q", user, got, want)
		}
	}
	if after := w.serialOf("system/usr/boss"); after != before {
		t.Errorf("root has certificate %s, had %s", after, before)
	}
	for _, path := range []string{"system/usr/boss", "system/sec/jwt"} {
		for _, k := range into[wire.DataKeyList](w.do(request{target: at + path + "/data/keys", by: "root"})).Items {
			if k.Name == "password" || k.Name == "x" {
				t.Errorf("%s has the key %s", path, k.Name)
			}
		}
	}
}

// tokenPayload is what the access token in an answer says, "" when there is none.
func tokenPayload(body []byte) string {
	var pair struct {
		AccessToken string `json:"access_token"`
	}
	if json.Unmarshal(body, &pair) != nil {
		return ""
	}
	parts := strings.Split(pair.AccessToken, ".")
	if len(parts) != 3 {
		return ""
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var claims struct {
		Grant []string `json:"grant"`
	}
	if json.Unmarshal(payload, &claims) != nil {
		return string(payload)
	}
	return strings.Join(claims.Grant, " ")
}

func (w *world) serialOf(path string) string {
	w.t.Helper()
	return into[wire.CertificateState](w.do(request{target: at + path + "/certificate", by: "root"}).want(http.StatusOK)).Serial
}

// TestOthersHoldings: what a user has beside grants is not to be had by setting
// its password either.
func TestOthersHoldings(t *testing.T) {
	w := attackWorld(t)
	for _, user := range []string{"worker", "signer"} { // who has a role; who has names
		for _, r := range []request{
			{method: "PUT", target: "/data/key?name=password", body: "known", media: mediaAny},
			{method: "POST", target: "/certificate", body: "{}"},
			{method: "PATCH", target: "/config?set=comment%3Dx"},
			{method: "POST", target: "/action/delete"},
		} {
			r.by, r.target = "mallory", at+"system/usr/"+user+r.target
			w.do(r).refused(http.StatusForbidden, "role and name")
		}
	}
	for set, word := range map[string]string{"roles=api": "giving roles", "names=*.mycorp": `"names"`, "cn=x": "", "ca=system/sec/ca-other": `"ca"`} {
		res := w.do(request{method: "POST", target: at + "system/usr/fresh", by: "mallory", body: asJSON(t, wire.CreateRequest{Keywords: []string{set}})})
		if res.status != http.StatusForbidden && res.status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", set, res.status, res.body)
		} else {
			res.refused(res.status, word)
		}
	}
	// Whoever has the role may give it.
	w.put("system/usr/apiadmin", "grant=admin:system", "roles=api")
	w.do(request{method: "POST", target: at + "system/usr/fresh", by: "apiadmin", body: `{"keywords":["roles=api"]}`}).want(http.StatusCreated)
	w.do(request{method: "PATCH", target: at + "system/usr/fresh/config?set=roles%2B%3Dadmin", by: "apiadmin"}).refused(http.StatusForbidden, "admin")
}

// TestOwnUser: nobody is more, or elsewhere, by their own word.
func TestOwnUser(t *testing.T) {
	w := attackWorld(t)
	const mine = at + "system/usr/mallory"
	for _, set := range []string{"cn=boss", "names=*.mycorp", "roles=admin", "disabled=true", "allowed_ips=0.0.0.0/0", "profile=node", "ca=ns1/sec/web", "grant=root", "grant+=join"} {
		key, value, _ := strings.Cut(set, "=")
		res := w.do(request{method: "PATCH", target: mine + "/config?set=" + strings.ReplaceAll(key, "+", "%2B") + "%3D" + strings.ReplaceAll(value, "/", "%2F"), by: "mallory"})
		if res.status != http.StatusForbidden && res.status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", set, res.status, res.body)
		}
	}
	for name, r := range map[string]request{
		"unset":        {method: "PATCH", target: mine + "/config?unset=allowed_ips"},
		"emptied":      {method: "PATCH", target: mine + "/config?set=allowed_ips-%3D192.0.2.0/24"},
		"section gone": {method: "PATCH", target: mine + "/config?delete=DEFAULT"},
		"by file":      {method: "PUT", target: mine + "/config/file", body: "[DEFAULT]\ngrant = admin:system admin squatter\n", media: "text/plain"},
		"made again":   {method: "POST", target: mine, body: `{"force":true,"keywords":["grant=admin:system"]}`},
		"created":      {method: "POST", target: mine, body: `{"keywords":["allowed_ips=::/0"]}`},
	} {
		r.by = "mallory"
		if res := w.do(r); res.status != http.StatusForbidden && res.status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", name, res.status, res.body)
		}
	}
	o := into[wire.ObjectItem](w.do(request{target: mine, by: "root"})).Data.Keywords
	if o["allowed_ips"] != "192.0.2.0/24" || o["grant"] != "admin:system admin squatter" || len(o) != 2 {
		t.Errorf("the user made of itself: %v", o)
	}
	// A user without grants changes nothing of itself at all.
	for _, r := range []request{
		{method: "PATCH", target: "/config?set=grant%3Dguest"}, {method: "PATCH", target: "/config?set=cn%3Dboss"}, {method: "PATCH", target: "/config?set=comment%3Dx"},
		{method: "POST", target: "/certificate", body: "{}"}, {method: "POST", target: "/data/key?name=x", body: "x", media: mediaAny}, {method: "POST", target: "/action/delete"},
	} {
		r.by, r.target = "none", at+"system/usr/none"+r.target
		w.do(r).refused(http.StatusForbidden, "needs")
	}
	// It may give up what it holds.
	w.do(request{method: "PATCH", target: mine + "/config?set=grant-%3Dsquatter", by: "mallory"}).want(http.StatusOK)
}

// TestWhichCA: an object is signed for by a CA that the caller may use.
func TestWhichCA(t *testing.T) {
	w := attackWorld(t)
	w.put("ns1/sec/sub", "profile=ca", "ca=system/sec/ca", "cn=Sub CA")
	w.issue("ns1/sec/sub")
	w.put("system/sec/ca-other", "cn=Other CA")
	w.issue("system/sec/ca-other")
	set := func(by, path, value string) result {
		return w.do(request{method: "PATCH", target: at + path + "/config?set=ca%3D" + value, by: by})
	}
	set("admin1", "ns1/sec/web", "system/sec/ca-other").refused(http.StatusForbidden, `"ca"`, "needs root")
	set("admin1", "ns1/sec/web", "ns2/sec/theirs").refused(http.StatusForbidden, `"ca"`, "ns2")
	set("mallory", "system/usr/none", "system/sec/ca-other").refused(http.StatusForbidden, `"ca"`)
	set("admin1", "ns1/sec/web", "ns1/sec/sub").want(http.StatusOK)
	set("admin1", "ns1/sec/web", "system/sec/ca").want(http.StatusOK) // which signs for all
	w.do(request{method: "PATCH", target: at + "ns1/sec/web/config?unset=ca", by: "admin1"}).want(http.StatusOK)
	w.do(request{method: "POST", target: at + "ns1/sec/new", by: "admin1", body: `{"keywords":["ca=system/sec/ca-other"]}`}).refused(http.StatusForbidden, `"ca"`)
	set("root", "ns1/sec/web", "system/sec/ca-other").want(http.StatusOK)
}

// TestTrustedCA: what client certificates are believed by is root's, in
// whatever namespace it is.
func TestTrustedCA(t *testing.T) {
	w := attackWorld(t)
	w.put("ns1/sec/ext")
	w.key("ns1/sec/ext", "note", "x")
	w.do(request{method: "PATCH", target: "/api/cluster/config?set=cluster.ca%3Dns1/sec/ext", by: "root"}).want(http.StatusOK)
	for name, r := range map[string]request{
		"chain":      {method: "POST", target: at + "ns1/sec/ext/data/key?name=certificate_chain", body: "x", media: mediaAny},
		"created":    {method: "POST", target: at + "ns1/sec/ext/certificate", body: "{}"},
		"made again": {method: "POST", target: at + "ns1/sec/ext", body: `{"force":true}`},
		"deleted":    {method: "POST", target: at + "ns1/sec/ext/action/delete"},
		"keyword":    {method: "PATCH", target: at + "ns1/sec/ext/config?set=comment%3Dx"},
	} {
		r.by = "admin1"
		res := w.do(r)
		if res.refused(http.StatusForbidden, "cluster.ca"); res.status != http.StatusForbidden {
			t.Errorf("%s got through", name)
		}
	}
	w.do(request{method: "PATCH", target: at + "ns1/sec/web/config?set=comment%3Dx", by: "admin1"}).want(http.StatusOK)
	// Nor is it made by who claims the namespace first.
	w.do(request{method: "PATCH", target: "/api/cluster/config?set=cluster.ca%3Dlater/sec/ext", by: "root"}).want(http.StatusOK)
	w.do(request{method: "POST", target: at + "later/sec/ext", by: "squatter"}).refused(http.StatusForbidden, "cluster.ca")
	w.do(request{method: "POST", target: at + "later/sec/other", by: "squatter"}).want(http.StatusCreated)
}

// forms are the shapes in which a secret could leave.
func forms(secret []byte) [][]byte {
	quoted, _ := json.Marshal(string(secret))
	all := [][]byte{
		secret, []byte(hex.EncodeToString(secret)), []byte(strings.ToUpper(hex.EncodeToString(secret))), bytes.Trim(quoted, `"`),
		[]byte(base64.RawStdEncoding.EncodeToString(secret)), []byte(base64.RawURLEncoding.EncodeToString(secret)),
	}
	// In base64 of something longer, what is before it decides how it reads.
	for shift := 1; shift < 3; shift++ {
		text := base64.RawStdEncoding.EncodeToString(append(make([]byte, shift), secret...))
		all = append(all, []byte(text[4:len(text)-2]))
	}
	return all
}

// leaks reports whether text has the secret in one of its forms.
func leaks(text, secret []byte) bool {
	for _, form := range forms(secret) {
		if bytes.Contains(text, form) {
			return true
		}
	}
	return false
}

// TestGuestReadsNoSecret: whoever may look and no more gets no value out of a
// sec or a usr, by any route that reads.
func TestGuestReadsNoSecret(t *testing.T) {
	w := attackWorld(t)
	secrets := map[string][]byte{"a value": []byte("blue-canary-7391")}
	w.key("ns1/sec/web", "color", string(secrets["a value"]))
	w.key("ns1/sec/web", "fullpem2", string(secrets["a value"]))
	for name, path := range map[string]string{"the key of a server": "ns1/sec/web", "the key of a user": "system/usr/boss", "the key of the CA": "system/sec/ca"} {
		pem := w.do(request{target: at + path + "/data/key?name=private_key", by: "root"}).want(http.StatusOK).body
		secrets[name] = []byte(strings.Split(string(pem), "\n")[1])
	}
	for i, grants := range []string{"guest", "guest:ns1", "guest:system", "guest:ns1,system", "operator", "operator:ns1,system", "join", "heartbeat", "squatter", "blacklistadmin prioritizer leave"} {
		name := "looker" + string(rune('a'+i))
		w.put("system/usr/"+name, "grant="+grants)
		for _, r := range w.door.routes() {
			for _, object := range []string{"ns1/sec/web", "system/usr/boss", "system/sec/ca", "system/sec/cert"} {
				target := strings.NewReplacer("{namespace}/{kind}/{name}", object, "{profile}", "goroutine", "{request}", "AAAA", "{id}", strings.Repeat("a", 64),
					"{serial}", w.serialOf2(object), "{node}", "node1", "/crl/{name}", "/crl/ca").Replace(r.path)
				var queries = []string{""}
				if r.id == "getData" || r.id == "getKey" {
					queries = []string{"?name=color", "?name=private_key", "?name=fullpem", "?name=password"}
				}
				for _, query := range queries {
					req := request{method: r.method, target: target + query, by: name}
					if r.body.media != "" {
						req.body, req.media = "{}", mediaJSON
					}
					_, res := w.send(req)
					for what, secret := range secrets {
						if leaks(res.body, secret) {
							t.Errorf("%q gets %s by %s", grants, what, res.what)
						}
					}
				}
				if !strings.Contains(r.path, "{kind}") {
					break
				}
			}
		}
	}
	if !leaks(w.do(request{target: at + "ns1/sec/web/data?name=color", by: "admin1"}).body, secrets["a value"]) {
		t.Error("who may read it is not seen to: the test looks for the wrong thing")
	}
}

// serialOf2 is the serial number that the object's certificate has, "abc" when it has none.
func (w *world) serialOf2(path string) string {
	w.t.Helper()
	if serial := w.serialOf(path); serial != "" {
		return serial
	}
	return "abc"
}

// TestNoEnumeration: to whoever may not know, what is there and what is not
// give the same answer, byte for byte but for the path that was asked for.
func TestNoEnumeration(t *testing.T) {
	w := attackWorld(t)
	w.put("ns1/usr/there", "grant=guest")
	serial := w.serialOf("ns1/sec/web")
	type pair struct{ there, absent string }
	for _, r := range w.door.routes() {
		if r.rule.public && r.rule.check == nil {
			continue
		}
		var pairs []pair
		switch {
		case strings.Contains(r.path, "{kind}"):
			for there, absent := range map[string]string{
				"ns1/sec/web": "ns1/sec/nop", "ns2/sec/theirs": "ns9/sec/theirs", "system/usr/boss": "system/usr/nono", "system/sec/ca": "system/sec/xx", "ns1/usr/there": "ns1/usr/nope1", "ns1/cfg/plain": "ns1/cfg/nopes",
			} {
				pairs = append(pairs, pair{strings.Replace(r.path, "{namespace}/{kind}/{name}", there, 1), strings.Replace(r.path, "{namespace}/{kind}/{name}", absent, 1)})
			}
		case strings.Contains(r.path, "{serial}"):
			pairs = append(pairs, pair{strings.Replace(r.path, "{serial}", serial, 1), strings.Replace(r.path, "{serial}", strings.Repeat("a", len(serial)), 1)})
		}
		queries := []string{""}
		if r.id == "getData" || r.id == "getKey" {
			queries = []string{"?name=color", "?name=private_key", "?name=certificate", "?name=certificate_signing_request", "?name=password"}
		}
		for _, p := range pairs {
			for _, query := range queries {
				answer := func(target string) (int, string) {
					req := request{method: r.method, target: target + query, by: "none", header: map[string]string{"X-Request-Id": "same"}}
					if r.body.media == mediaJSON {
						req.body = "{}"
					} else if r.body.media != "" {
						req.body, req.media = "x = y", mediaText
					}
					_, res := w.send(req)
					return res.status, string(res.body)
				}
				status, text := answer(p.there)
				other, absent := answer(p.absent)
				from, to := strings.Split(p.absent, "/"), strings.Split(p.there, "/")
				for i := range from {
					if i < len(to) && from[i] != to[i] {
						absent = strings.ReplaceAll(absent, from[i], to[i])
					}
				}
				if status != other || text != absent {
					t.Errorf("%s: %d %s\nbut %s: %d %s", p.there, status, text, p.absent, other, absent)
				}
			}
		}
	}
}

// TestDenialsNameTheRule: a refusal says what was needed, and of what is held
// the caller's own only.
func TestDenialsNameTheRule(t *testing.T) {
	w := attackWorld(t)
	w.put("system/usr/other", "grant=admin:hidden1 guest:hidden2", "roles=manager", "names=hidden4.mycorp")
	w.db.fault = errFault
	for _, r := range w.door.routes() {
		for _, object := range []string{"ns2/sec/theirs", "system/usr/boss", "system/usr/other", "system/sec/ca", "fresh/cfg/x"} {
			target := strings.NewReplacer("{namespace}/{kind}/{name}", object, "{profile}", "goroutine", "{request}", "AAAA", "{id}", strings.Repeat("a", 64), "{serial}", "abc", "{node}", "node1", "/crl/{name}", "/crl/ca").Replace(r.path)
			if r.id == "getData" || r.id == "getKey" {
				target += "?name=color"
			}
			for _, by := range []string{"none", "guest1", "admin1", "adminsys"} {
				_, res := w.send(request{method: r.method, target: target, by: by, body: "{", media: "text/wrong"})
				if res.status != http.StatusForbidden {
					continue
				}
				p := res.problem()
				if !strings.Contains(p.Detail, "needs ") {
					t.Errorf("%s: %q does not name the need", res.what, p.Detail)
				}
				if strings.Contains(p.Detail+p.Hint, "hidden") {
					t.Errorf("%s: %q tells what another holds", res.what, p.Detail)
				}
			}
		}
	}
}
