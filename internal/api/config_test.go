package api

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"omca/internal/wire"
)

var errFault = errors.New("sector 17 at /dev/sda")

func TestConfigGet(t *testing.T) {
	w := newWorld(t)
	values := func(target, by string) string {
		t.Helper()
		var words []string
		for _, v := range into[wire.KeywordList](w.do(request{target: target, by: by}).want(http.StatusOK)).Items {
			text := v.Object + ":" + v.Keyword + "=" + v.Value
			if v.Evaluated != nil {
				text += "=>" + *v.Evaluated + "@" + v.EvaluatedAs
			}
			words = append(words, text)
		}
		return strings.Join(words, " ")
	}
	for target, want := range map[string]string{
		at + "ns1/sec/web/config":                                 "ns1/sec/web:cn=web.clu.mycorp",
		at + "ns1/sec/web/config?kw=cn&kw=ou":                     "ns1/sec/web:cn=web.clu.mycorp ns1/sec/web:ou=",
		at + "ns1/sec/web/config?kw=DEFAULT.cn&kw=":               "ns1/sec/web:DEFAULT.cn=web.clu.mycorp",
		at + "ns1/sec/web/config?kw=key_type&evaluate=true":       "ns1/sec/web:key_type==>ec-p256@node1",
		"/api/cluster/config?kw=cluster.name":                     "cluster:cluster.name=clu",
		at + "root/ccfg/cluster/config?kw=cluster.name":           "cluster:cluster.name=clu",
		"/api/cluster/config?kw=listener.port&evaluate=1":         "cluster:listener.port==>1215@node1",
		at + "system/usr/admin1/config?kw=cn&kw=grant&evaluate=1": "system/usr/admin1:cn==>admin1@node1 system/usr/admin1:grant=admin:ns1=>admin:ns1@node1",
	} {
		if got := values(target, "root"); got != want {
			t.Errorf("%s: %s, want %s", target, got, want)
		}
	}
	w.do(request{target: at + "ns1/sec/web/config?kw=gramt", by: "guest1"}).refused(http.StatusBadRequest, "gramt")
	if got := values(at+"ns1/sec/web/config?kw=cn&evaluate=true&impersonate=node2", "root"); got != "ns1/sec/web:cn=web.clu.mycorp=>web.clu.mycorp@node2" {
		t.Errorf("for another node: %s", got)
	}
	w.do(request{target: at + "ns1/sec/web/config?kw=cn&impersonate=node1", by: "guest1"}).refused(http.StatusBadRequest, "goes with evaluate=true")
	w.do(request{target: at + "ns1/sec/web/config?kw=cn&evaluate=true&impersonate=node9", by: "guest1"}).refused(http.StatusBadRequest, `"node9"`)
	if got := values(at+"ns1/sec/web/config?kw=cn&evaluate=false&impersonate=", "guest1"); got != "ns1/sec/web:cn=web.clu.mycorp" {
		t.Errorf("with empty parameters: %s", got)
	}
	w.do(request{target: at + "ns1/sec/web/config?evaluate=maybe", by: "guest1"}).refused(http.StatusBadRequest, "maybe")
	w.do(request{target: at + "ns1/sec/absent/config", by: "guest1"}).refused(http.StatusNotFound)
}

func patch(path string, set ...string) string {
	return at + path + "/config?delete=&unset=&" + url.Values{"set": set}.Encode()
}

func TestConfigPatch(t *testing.T) {
	w := newWorld(t)
	w.alter("system/usr/admin1", "o=MyCorp", "names=*.clu.mycorp")
	change := func(by, target string) bool {
		t.Helper()
		return into[wire.Changed](w.do(request{method: http.MethodPatch, target: target, by: by}).want(http.StatusOK)).IsChanged
	}
	if !change("admin1", patch("ns1/sec/web", "o=MyCorp", "alt_names+=a.clu.mycorp b.clu.mycorp")) {
		t.Error("unchanged")
	}
	if change("admin1", patch("ns1/sec/web", "alt_names|=a.clu.mycorp")) {
		t.Error("changed by what was there")
	}
	if !change("admin1", at+"ns1/sec/web/config?unset=o&set=alt_names-%3Da.clu.mycorp") {
		t.Error("unchanged")
	}
	if !change("root", "/api/cluster/config?set=cluster.vip%3D192.0.2.1") {
		t.Error("unchanged")
	}
	got := string(w.do(request{target: at + "ns1/sec/web/config/file", by: "guest1"}).want(http.StatusOK).body)
	if want := "[DEFAULT]\ncn = web.clu.mycorp\nalt_names = b.clu.mycorp\n"; got != want {
		t.Errorf("config %q, want %q", got, want)
	}
}

// TestConfigPatchAtOnce: of changes made at once none is lost that was answered
// with 200, and one that could not be made is a conflict.
func TestConfigPatchAtOnce(t *testing.T) {
	w := newWorld(t)
	w.alter("system/usr/admin1", "names=*.clu.mycorp")
	var writers sync.WaitGroup
	var made atomic.Int32
	for _, name := range []string{"a", "b", "c", "d"} {
		writers.Go(func() {
			res := w.do(request{method: http.MethodPatch, target: patch("ns1/sec/web", "alt_names+="+name+".clu.mycorp"), by: "admin1"})
			switch res.status {
			case http.StatusOK:
				made.Add(1)
			default:
				res.refused(http.StatusConflict)
			}
		})
	}
	writers.Wait()
	item := into[wire.ObjectItem](w.do(request{target: at + "ns1/sec/web", by: "admin1"}))
	if names := strings.Fields(item.Data.Keywords["alt_names"]); made.Load() == 0 || len(names) != int(made.Load()) {
		t.Errorf("of %d changes made there are %q", made.Load(), names)
	}
}

func TestConfigPatchRefuses(t *testing.T) {
	w := newWorld(t)
	w.put("system/usr/kid")
	for _, tt := range []struct {
		by, target string
		status     int
		word       string
	}{
		{"root", patch("ns1/sec/web"), 400, "nothing to change"},
		{"root", patch("ns1/sec/web", "cluster.crl=x"), 400, "unknown keyword"},
		{"root", patch("ns1/sec/web", "validity=soon"), 400, "soon"},
		{"root", patch("ns1/sec/web", "o=x", "gramt=y"), 400, "gramt"},
		{"root", patch("ns1/sec/absent", "o=x"), 404, "absent"},
		{"admin1", patch("ns1/sec/web", "cn=other"), 403, "cn"},
		{"admin1", patch("ns1/sec/web", "profile=ca"), 403, "profile"},
		{"guest1", patch("ns1/sec/web", "o=x"), 403, "ns1"},
		{"adminsys", patch("system/usr/kid", "grant=root"), 403, "root"},
		{"adminsys", patch("system/usr/kid", "grant+=admin:ns1"), 403, "ns1"},
		{"adminsys", patch("system/usr/boss", "grant-=root"), 403, "boss"},
		{"guest1", patch("system/usr/guest1", "grant+=root"), 403, "system"},
		{"adminall", patch("root/ccfg/cluster", "cluster.vip=x"), 403, "cluster"},
		{"root", patch("root/ccfg/cluster", "cluster.id=0b5d8a1e-3f0c-4f7e-9a55-7d1c2f3e4b6b"), 400, "cluster.id"},
		{"root", patch("root/ccfg/cluster", "cluster.name=other"), 409, "--cluster-name"},
	} {
		w.do(request{method: http.MethodPatch, target: tt.target, by: tt.by}).refused(tt.status, tt.word)
	}
	if got := into[wire.ObjectItem](w.do(request{target: at + "ns1/sec/web", by: "root"})).Data.Keywords; len(got) != 1 {
		t.Errorf("a refused change changed something: %v", got)
	}
	if got := into[wire.ObjectItem](w.do(request{target: at + "system/usr/kid", by: "root"})).Data.Keywords; len(got) != 0 {
		t.Errorf("a refused change changed something: %v", got)
	}
}

// TestClusterName: before there are users the name can still be changed.
func TestClusterName(t *testing.T) {
	w := emptyWorld(t)
	w.put("cluster", "cluster.name=clu")
	w.do(request{method: http.MethodPatch, target: patch("root/ccfg/cluster", "cluster.name=other"), by: "root"}).want(http.StatusOK)
}

func TestConfigFile(t *testing.T) {
	w := newWorld(t)
	w.alter("system/usr/admin1", "o=MyCorp", "ou=Web")
	file := request{method: http.MethodPost, target: at + "ns1/sec/new/config/file", by: "admin1", media: "application/octet-stream", body: "[DEFAULT]\no = MyCorp\n"}
	w.do(file).want(http.StatusNoContent)
	w.do(file).refused(http.StatusConflict, "exists", "PUT")
	file.method, file.body, file.media = http.MethodPut, "[DEFAULT]\nou = Web\n", "text/plain; charset=utf-8"
	w.do(file).want(http.StatusNoContent)
	res := w.do(request{target: at + "ns1/sec/new/config/file", by: "guest1"}).want(http.StatusOK)
	if string(res.body) != file.body || res.header.Get("Om-Last-Modified") == "" {
		t.Errorf("%q, header %v", res.body, res.header)
	}
	for _, tt := range []struct {
		target, by, media, body string
		status                  int
	}{
		{at + "ns1/sec/new/config/file", "admin1", "text/plain", "[DEFAULT]\ncn = x\n", 403},
		{at + "ns1/sec/new/config/file", "admin1", "text/plain", "[DEFAULT]\ngramt = x\n", 400},
		{at + "ns1/sec/new/config/file", "admin1", "text/plain; charset=utf-16", "[DEFAULT]\n", 415},
		{at + "ns1/sec/new/config/file", "admin1", "application/json", "[DEFAULT]\n", 415},
		{at + "ns1/sec/new/config/file", "admin1", "text/plain", "#" + strings.Repeat("x", limitConfig), 413},
		{at + "ns1/sec/absent/config/file", "admin1", "text/plain", "[DEFAULT]\n", 404},
		{"/api/cluster/config/file", "root", "text/plain", "[cluster]\nvip = x\n", 400},
	} {
		w.do(request{method: http.MethodPut, target: tt.target, by: tt.by, media: tt.media, body: tt.body}).refused(tt.status)
	}
	cluster := string(w.do(request{target: "/api/cluster/config/file", by: "root"}).want(http.StatusOK).body)
	w.do(request{method: http.MethodPut, target: "/api/cluster/config/file", by: "root", media: "text/plain", body: cluster + "vip = 192.0.2.9\n"}).want(http.StatusNoContent)
}

func TestValidateConfig(t *testing.T) {
	w := newWorld(t)
	if got := into[wire.Findings](w.do(request{target: at + "ns1/sec/web/config/validate", by: "guest1"}).want(http.StatusOK)); len(got.Items) != 0 {
		t.Errorf("findings %v", got)
	}
}

func TestKeywords(t *testing.T) {
	w := newWorld(t)
	for target, least := range map[string]int{"?kind=sec": 10, "?kind=usr": 10, "?kind=cfg": 1, "?kind=cluster": 10, "?kind=cluster&kw=listener.crl": 1} {
		got := into[wire.KeywordDocs](w.do(request{target: "/api/keyword" + target, by: "none"}).want(http.StatusOK)).Items
		if len(got) < least || got[0].Doc == "" {
			t.Errorf("%s: %v", target, got)
		}
	}
}
