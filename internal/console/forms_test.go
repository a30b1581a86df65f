package console_test

import (
	"encoding/pem"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"software.sslmate.com/src/go-pkcs12"

	"omca/internal/wire"
)

// object is what there is of an object, as the API has it.
func (w *world) object(t *testing.T, path string) string {
	t.Helper()
	return string(w.api(t, "GET", "/api/object/path/"+path, nil))
}

func TestUsers(t *testing.T) {
	w := newWorld(t)
	boss := w.as(t, "boss")
	form := url.Values{"name": {"new"}, "grant": {"guest:ns1\r\n admin:ns2"}, "names": {"*.new.clu"}, "roles": {"api", "user"}, "password": {password}, "again": {password}}
	boss.submit("/adduser", form).want(303)
	if got := w.object(t, "system/usr/new"); !strings.Contains(got, `"grant":"guest:ns1 admin:ns2"`) || !strings.Contains(got, `"names":"*.new.clu"`) || !strings.Contains(got, `"roles":"api user"`) || !strings.Contains(got, `"certificate"`) {
		t.Errorf("%s", got)
	}
	boss.submit("/adduser", form).want(400, "There is a user of that name.", "*.new.clu").without(password)
	for field, wrong := range map[string]string{"grant": "gest:ns1", "names": "*..", "name": "No Name"} {
		bad := url.Values{"name": {"newer"}, "grant": {"guest:ns1"}}
		bad.Set(field, wrong)
		boss.submit("/adduser", bad).want(400, `id="e-`+field+`"`)
	}
	w.as(t, "new").get("/").want(200, "new")

	// Grants: keep one, drop one, add one.
	boss.submit("/users/new/grants", url.Values{"keep": {"guest:ns1"}, "role": {"operator"}, "scope": {"ns2, test*"}, "roles": {"api"}}).want(303)
	if got := w.object(t, "system/usr/new"); !strings.Contains(got, `"grant":"guest:ns1 operator:ns2,test*"`) || !strings.Contains(got, `"roles":"api"`) {
		t.Errorf("%s", got)
	}
	boss.submit("/users/new/grants", url.Values{"keep": {"guest:ns1"}, "role": {"squatter"}, "scope": {"ns2"}}).want(400, "squatter takes no namespace")
	boss.submit("/users/new/grants", url.Values{"keep": {"guest:ns1"}, "scope": {"ns2"}}).want(400, "choose the role")
	boss.submit("/users/new/grants", url.Values{"keep": {"guest:ns1", "nonsense"}}).want(400, `id="e-grant"`)
	boss.submit("/users/new/grants", url.Values{"keep": {"guest:ns1", "operator:ns2,test*"}, "roles": {"api"}}).want(303)

	v := w.as(t, "new")
	v.submit("/users/new/password", url.Values{"current": {"wrong horse battery"}, "password": {"another horse"}, "again": {"another horse"}}).want(403, "current password is wrong")
	v.submit("/users/new/password", url.Values{"current": {password}, "password": {"another horse"}, "again": {"one horse"}}).want(400, "twice")
	v.submit("/users/new/password", url.Values{"current": {password}, "password": {"another horse"}, "again": {"another horse"}}).want(303)
	v.get("/").want(200) // the session goes on with another secret
	boss.submit("/users/new/password", url.Values{"password": {password}, "again": {password}}).want(303)
	v.get("/").want(303) // and that of the former password does not
	v = w.as(t, "new")
	boss.submit("/users/new/state", url.Values{"state": {"disabled"}}).want(303)
	v.get("/").want(303)
	boss.get("/users/new").want(200, "disabled", "Enable").without(">Disable<")
	boss.submit("/users/new/state", url.Values{"state": {"enabled"}}).want(303)
	boss.submit("/users/new/state", url.Values{"state": {"gone"}}).want(400)
	boss.submit("/users/new/unlock", nil).want(303)
	v = w.as(t, "new")
	boss.submit("/users/new/sessions", nil).want(303)
	v.get("/").want(303)
	boss.submit("/delete/system/usr/new", nil).want(400, "tick the box")
	boss.submit("/delete/system/usr/new", url.Values{"confirm": {"yes"}}).want(303)
	boss.get("/users/new").want(404)
	boss.get("/users?search=BAD!").want(200, "no user is called so")
}

// TestGrantsWithin: who gives can give what it holds, and no more.
func TestGrantsWithin(t *testing.T) {
	w := newWorld(t)
	w.api(t, "PATCH", "/api/object/path/system/usr/admin/config?set="+url.QueryEscape("grant=admin:ns2 admin:system"), nil)
	admin := w.as(t, "admin")
	admin.get("/users/none/grants").want(200, `<option value="admin"`, `<option value="guest"`).without(`<option value="root"`, `<option value="squatter"`)
	admin.submit("/users/none/grants", url.Values{"role": {"guest"}, "scope": {"ns2"}}).want(303)
	admin.submit("/users/none/grants", url.Values{"keep": {"guest:ns2"}, "role": {"guest"}, "scope": {"ns1"}}).want(400, `id="e-grant"`, "guest:ns1")
	admin.submit("/users/none/grants", url.Values{"keep": {"root"}}).want(400, "root")
	if got := w.object(t, "system/usr/none"); !strings.Contains(got, `"grant":"guest:ns2"`) {
		t.Errorf("%s", got)
	}
}

var confirms = regexp.MustCompile(`name="confirms" value="([0-9a-f]{64})"`)

// TestIssue: what is signed is what was looked at.
func TestIssue(t *testing.T) {
	w := newWorld(t)
	boss := w.as(t, "boss")
	form := url.Values{"for": {"node"}, "path": {"ns2/sec/node9"}, "name": {"node9.clu"}, "validity": {"30d"}}
	look := func(form url.Values) url.Values {
		t.Helper()
		found := confirms.FindStringSubmatch(boss.submit("/issue/preview", form).want(200, "Nothing is signed yet").body)
		if found == nil {
			t.Fatal("nothing to confirm")
		}
		form.Set("confirms", found[1])
		return form
	}
	boss.submit("/issue", form).want(409, "not what you looked at")
	look(form)
	changed := url.Values{}
	for name, values := range form {
		changed[name] = values
	}
	changed.Set("name", "other.clu")
	boss.submit("/issue", changed).want(409, "not what you looked at", "other.clu")
	boss.get("/objects/ns2/sec/node9").want(404)
	in := boss.submit("/issue", form).want(303)
	boss.get(in.header.Get("Location")).want(200, "signed and in place", "node9.clu", "node")
	boss.submit("/issue/preview", url.Values{"for": {"user"}, "path": {"nobody"}}).want(404, "there is no user nobody", "add the user first")
	boss.submit("/issue/preview", url.Values{"for": {"user"}, "path": {"guest"}}).want(200, "CN=guest", "It says the same")
	boss.submit("/issue/preview", url.Values{"for": {"listener"}, "path": {"ns2/sec/bad"}, "name": {"x.clu"}, "validity": {"soon"}}).want(400, "soon")
	boss.submit("/issue/preview", url.Values{"for": {"nothing"}, "path": {"x"}}).want(400)
}

func TestIssueFromRequest(t *testing.T) {
	w := newWorld(t)
	csr := string(w.api(t, "POST", "/api/object/path/ns2/sec/web2/certificate/signing-request", nil))
	admin := w.as(t, "admin")
	form := url.Values{"for": {"request"}, "csr": {csr}, "profile": {"listener"}, "validity": {"24h"}}
	found := confirms.FindStringSubmatch(admin.submit("/issue/preview", form).want(200, "CN=web2.clu", "system/usr/admin").body)
	form.Set("confirms", found[1])
	in := admin.submit("/issue", form).want(303)
	chain := strings.Split(in.header.Get("Location"), "?")[0] + "/chain"
	if n := strings.Count(admin.get(chain).want(200).body, "BEGIN CERTIFICATE"); n != 2 {
		t.Errorf("%d certificates in the chain", n)
	}
	admin.submit("/issue/preview", url.Values{"for": {"request"}, "csr": {""}}).want(400, "paste the signing request")
	admin.submit("/issue/preview", url.Values{"for": {"request"}, "csr": {"nonsense"}, "profile": {"listener"}}).want(400, "nonsense")
	admin.submit("/issue/preview", url.Values{"for": {"request"}, "csr": {csr}, "profile": {"node"}}).want(403)
}

func TestPKCS12(t *testing.T) {
	w := newWorld(t)
	admin := w.as(t, "admin") // of itself
	at := "/certificates/" + w.serial(t, "system/usr/admin") + "/pkcs12"
	admin.submit(at, url.Values{"password": {"s3cret"}, "again": {"secret"}}).want(400, "The two passwords differ.").without("s3cret")
	admin.submit(at, nil).want(400, "Enter a password")
	for _, format := range []string{"", "legacy"} {
		a := admin.submit(at, url.Values{"password": {"s3cret"}, "again": {"s3cret"}, "format": {format}}).want(200)
		_, cert, _, err := pkcs12.DecodeChain([]byte(a.body), "s3cret")
		if err != nil || cert.Subject.CommonName != "admin" || !strings.Contains(a.header.Get("Content-Disposition"), `filename="admin.p12"`) {
			t.Errorf("%q: %v", format, err)
		}
	}
}

// TestTokens: who has the role api gets tokens for ClusterCockpit, and an
// administrator for anyone.
func TestTokens(t *testing.T) {
	w := newWorld(t)
	w.api(t, "POST", "/api/object/path/system/usr/script", wire.CreateRequest{Keywords: []string{"roles=api"}})
	w.api(t, "PATCH", "/api/object/path/system/usr/script/data", []map[string]string{{"action": "add", "name": "password", "string": password}})
	script := w.as(t, "script")
	script.get("/tokens/new").want(200, "clustercockpit").without("metric-store", `name="subject"`)
	made := script.submit("/tokens/new", url.Values{"for": {"clustercockpit"}, "duration": {"2000h"}}).want(200, "only time", "curl", "api")
	if strings.Contains(made.header.Get("Cache-Control"), "public") {
		t.Error("the page with the token may be kept")
	}
	script.submit("/tokens/new", url.Values{"for": {"clustercockpit"}, "subject": {"guest"}}).want(403, "needs the role admin")
	script.submit("/tokens/new", url.Values{"for": {"metric-store"}}).want(403)
	boss := w.as(t, "boss")
	boss.submit("/tokens/new", url.Values{"for": {"clustercockpit"}, "subject": {"script"}, "duration": {"1h"}}).want(200, "script")
	boss.submit("/tokens/new", url.Values{"for": {"clustercockpit"}, "subject": {"nobody"}}).want(404, "no user")
	boss.submit("/tokens/new", url.Values{"for": {"api"}, "duration": {"soon"}}).want(400, "soon")
	a := boss.submit("/tokens/new", url.Values{"for": {"api"}, "role": {"guest"}, "scope": {"ns1"}, "duration": {"5m"}}).want(200)
	token := regexp.MustCompile(`readonly spellcheck="false">([^<]+)<`).FindStringSubmatch(a.body)[1]
	w.visitor(t).do("GET", "/whoami", nil, "Authorization", "Bearer "+token).want(200, `"raw_grant":"guest:ns1"`)
	boss.get("/tokens").want(200, "script", "clustercockpit").without(token)
	boss.submit("/tokens/revoke", nil).want(400, "no token was named")
	boss.submit("/tokens/revoke", url.Values{"subject": {"boss"}}).want(303)
	w.visitor(t).do("GET", "/whoami", nil, "Authorization", "Bearer "+token).want(401)
}

func TestObjectsAndKeywords(t *testing.T) {
	w := newWorld(t)
	plain := w.as(t, "plain")
	plain.submit("/objects/new", url.Values{"path": {"ns2/cfg/app"}, "keywords": {"comment=the application\r\n\r\n"}}).want(303)
	plain.submit("/objects/new", url.Values{"path": {"ns2/cfg/app"}}).want(409, "is there already")
	plain.submit("/objects/new", url.Values{"path": {"ns2"}}).want(400, "NAMESPACE/KIND/NAME")
	plain.submit("/objects/new", url.Values{"path": {"ns1/cfg/app"}}).want(403)
	plain.get("/objects?search=ns2&kind=cfg").want(200, "ns2/cfg/app", "the application").without("ns2/sec/web2")
	plain.get("/objects?search=ns2/app").want(200, "ns2/cfg/app").without("web2")
	plain.get("/objects?search=A%20B").want(200, "nothing is called so")

	w.api(t, "PATCH", "/api/object/path/system/usr/plain/config?set="+url.QueryEscape("o=Mine")+"&set="+url.QueryEscape("ou=fine")+"&set="+url.QueryEscape("names=*.clu"), nil)
	edit := "/edit/ns2/sec/web2"
	plain.submit(edit, url.Values{"kw.o": {"Mine"}, "kw.alt_names": {"a.clu\r\n b.clu"}, "was.cn": {"web2.clu"}, "kw.cn": {"web2.clu"}, "was.validity": {"20d"}, "kw.validity": {"20d"}}).want(303)
	if got := w.object(t, "ns2/sec/web2"); !strings.Contains(got, `"alt_names":"a.clu b.clu"`) || !strings.Contains(got, `"o":"Mine"`) || !strings.Contains(got, `"validity":"20d"`) {
		t.Errorf("%s", got)
	}
	// Each field has its own message; all or none.
	a := plain.submit(edit, url.Values{"kw.c": {"Germany"}, "kw.cn": {"other.lan"}, "was.cn": {"web2.clu"}, "kw.ou": {"fine"}}).want(400, "Nothing was changed", `id="e.c"`, `id="e.cn"`)
	a.without(`id="e.ou"`)
	// What somebody else changed since the form was made stays.
	w.api(t, "PATCH", "/api/object/path/ns2/sec/web2/config?set="+url.QueryEscape("ou=theirs"), nil)
	plain.submit(edit, url.Values{"was.ou": {""}, "kw.ou": {""}, "was.o": {"Mine"}, "kw.o": {""}}).want(303)
	if got := w.object(t, "ns2/sec/web2"); !strings.Contains(got, `"ou":"theirs"`) || strings.Contains(got, `"o":`) {
		t.Errorf("%s", got)
	}
	plain.submit(edit, nil).want(303)
	plain.submit("/delete/ns2/cfg/app", url.Values{"confirm": {"yes"}}).want(303)
	plain.get("/objects/ns2/cfg/app").want(404)
	boss := w.as(t, "boss")
	boss.submit("/cluster/edit", url.Values{"kw.listener.session_max_age": {"4h"}}).want(303)
	boss.get("/cluster").want(200, "4h")
	boss.submit("/cluster/edit", url.Values{"kw.cluster.name": {"other"}, "was.cluster.name": {"clu"}}).want(400, "name the cluster")
}

// TestHands: what needs a hand has the button that gives it, for who may.
func TestHands(t *testing.T) {
	w := newWorld(t)
	boss := w.as(t, "boss")
	boss.submit("/certificates/"+w.serial(t, "ns2/sec/web2")+"/revoke", url.Values{"confirm": {"yes"}}).want(303)
	boss.get("/hands").want(200, "its certificate was revoked", "/issue?rekey=yes&amp;path=ns2%2Fsec%2Fweb2", "omca backup FILE")
	w.as(t, "guest").get("/hands").want(200, "its certificate was revoked", "omca ns2/sec/web2 certificate renew --rekey").without("/issue?rekey", "backup")
	boss.get("/hands", "HX-Request", "true", "HX-Target", "results").want(200, `id="results"`).without("<html")
	boss.submit("/lists", nil).want(404, "cluster.crl") // there is none to fetch
}

// TestPages: a list that is longer than a page goes on behind it.
func TestPages(t *testing.T) {
	w := newWorld(t)
	for _, c := range "abcdefghijklmnopqrstuvwxyz" {
		for _, n := range []string{"1", "2", "3"} {
			w.api(t, "POST", "/api/object/path/many/cfg/"+string(c)+n, wire.CreateRequest{})
		}
	}
	boss := w.as(t, "boss")
	next := regexp.MustCompile(`rel="next" href="([^"]+)"`)
	page, seen := "/objects?search=many", 0
	for range 3 {
		a := boss.get(page).want(http.StatusOK)
		seen += strings.Count(a.body, `data-label="Object"`)
		found := next.FindStringSubmatch(a.body)
		if found == nil {
			break
		}
		page = strings.ReplaceAll(found[1], "&amp;", "&")
	}
	if seen != 78 {
		t.Errorf("%d objects on all pages, there are 78", seen)
	}
	if block, _ := pem.Decode([]byte(boss.get("/certificates/" + w.serial(t, "ns2/sec/web2") + "/pem").body)); block == nil {
		t.Error("no PEM")
	}
}
