package api

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"omca/internal/registry"
	"omca/internal/store"
	"omca/internal/wire"
)

// at is where the objects are.
const at = "/api/object/path/"

func TestListPaths(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct{ by, selector, want string }{
		{"root", "ns1/**", "ns1/cfg/plain ns1/sec/web"},
		{"guest1", "**", "ns1/cfg/plain ns1/sec/web system/usr/guest1"},
		{"guest1", "", "ns1/cfg/plain ns1/sec/web system/usr/guest1"},
		{"none", "**", "system/usr/none"},
		{"adminall", "**", "ns1/cfg/plain ns1/sec/web cluster system/usr/adminall"},
		{"root", "system/sec/*,cluster", "cluster system/sec/ca system/sec/cert system/sec/jwt"},
		{"root", "ns1/sec/absent", ""},
		{"guest1", "system/sec/ca", ""},
	} {
		res := w.do(request{target: "/api/object/path?path=" + tt.selector, by: tt.by}).want(http.StatusOK)
		if got := strings.Join(into[[]string](res), " "); got != tt.want {
			t.Errorf("%s: %s, want %s", res.what, got, tt.want)
		}
		list := into[wire.ObjectList](w.do(request{target: "/api/object?path=" + tt.selector, by: tt.by}).want(http.StatusOK))
		var paths []string
		for _, item := range list.Items {
			paths = append(paths, item.Meta.Object)
		}
		if got := strings.Join(paths, " "); got != tt.want {
			t.Errorf("objects by %s: %s, want %s", tt.by, got, tt.want)
		}
	}
}

func TestGetObject(t *testing.T) {
	w := newWorld(t)
	got := into[wire.ObjectItem](w.do(request{target: at + "ns1/sec/web", by: "guest1"}).want(http.StatusOK))
	want := wire.ObjectItem{Kind: "ObjectItem", Meta: wire.ObjectMeta{Object: "ns1/sec/web"}, Data: wire.ObjectData{
		CreatedAt: w.now, UpdatedAt: w.now, Keywords: map[string]string{"cn": "web.clu.mycorp"}, Keys: []wire.KeyInfo{{Name: "color", Size: 4}},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	w.do(request{target: at + "ns1/sec/absent", by: "guest1"}).refused(http.StatusNotFound, "ns1/sec/absent")
	cert := into[wire.ObjectItem](w.do(request{target: at + "system/sec/cert", by: "root"}).want(http.StatusOK)).Data.Certificate
	if cert == nil || cert.State != "valid" || cert.SignedBy != "system/sec/ca" || !strings.Contains(cert.CertificateChain, "BEGIN CERTIFICATE") {
		t.Errorf("certificate of the listener: %+v", cert)
	}
}

func TestCreateUser(t *testing.T) {
	w := newWorld(t)
	create := request{method: http.MethodPost, target: at + "system/usr/alice", by: "root", body: `{"keywords":["grant=admin:ns1"]}`}
	got := into[wire.Created](w.do(create).want(http.StatusCreated))
	if want := (wire.Created{Object: "system/usr/alice", Created: true, IsChanged: true}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	item := into[wire.ObjectItem](w.do(request{target: at + "system/usr/alice", by: "root"}).want(http.StatusOK))
	var keys []string
	for _, k := range item.Data.Keys {
		keys = append(keys, k.Name)
	}
	if got := strings.Join(keys, " "); got != "certificate certificate_chain private_key serial_number" {
		t.Errorf("keys %q", got)
	}
	serial := item.Data.Certificate.Serial

	// Again: nothing to change, and then something.
	if got := into[wire.Created](w.do(create).want(http.StatusOK)); got.Created || got.IsChanged {
		t.Errorf("again: %+v", got)
	}
	create.body = `{"keywords":["ou=web"]}`
	if got := into[wire.Created](w.do(create).want(http.StatusOK)); got.Created || !got.IsChanged {
		t.Errorf("with a keyword: %+v", got)
	}
	item = into[wire.ObjectItem](w.do(request{target: at + "system/usr/alice", by: "root"}).want(http.StatusOK))
	if item.Data.Certificate.Serial != serial || item.Data.Keywords["grant"] != "admin:ns1" || item.Data.Keywords["ou"] != "web" {
		t.Errorf("an update touched more than its keyword: %+v", item.Data)
	}

	// Force begins from nothing.
	create.body = `{"force":true}`
	w.do(create).want(http.StatusCreated)
	item = into[wire.ObjectItem](w.do(request{target: at + "system/usr/alice", by: "root"}).want(http.StatusOK))
	if item.Data.Certificate.Serial == serial || len(item.Data.Keywords) != 0 {
		t.Errorf("force left something: %+v", item.Data)
	}
}

func TestCreateRefuses(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		by, path, body string
		status         int
		word           string
	}{
		{"root", "system/usr/x", `{"keywords":["gramt=root"]}`, 400, `did you mean "grant"`},
		{"root", "system/usr/x", `{"keywords":["grant"]}`, 400, "operator"},
		{"root", "system/usr/x", `{"keywords":["grant=rot"]}`, 400, "role"},
		{"root", "system/usr/x", `{"keywords":["cn=y"]}`, 400, "common name"},
		{"root", "system/usr/x", `{"keyword":["cn=y"]}`, 400, `unknown field "keyword"`},
		{"root", "system/usr/x", `{"keywords":"cn=y"}`, 400, `"keywords" cannot be a string`},
		{"root", "system/usr/x", `{} {}`, 400, "goes on"},
		{"root", "system/usr/x", `{`, 400, "ends early"},
		{"root", "system/usr/x", `nope`, 400, "not JSON"},
		{"root", "system/usr/x", `{"config":"[nope"}`, 400, "line 1"},
		{"root", "system/usr/x", `{"config":"` + strings.Repeat("x", 2*limitConfig) + `"}`, 413, "too large"},
		{"root", "ns1/sec/web", `{"config":"[DEFAULT]\n"}`, 409, "exists"},
		{"root", "cluster/ccfg/x", `{}`, 400, "ccfg"},
		{"root", "root/ccfg/cluster", `{"force":true}`, 400, "cannot be deleted"},
		{"admin1", "ns1/sec/new", `{"keywords":["cn=x.clu.mycorp"]}`, 403, "cn"},
		{"admin1", "ns1/usr/new", `{"keywords":["grant=admin:ns1 root"]}`, 403, "root"},
		{"admin1", "ns2/sec/new", `{}`, 403, "ns2"},
		{"adminsys", "system/usr/x", `{"keywords":["grant=root"]}`, 403, `"root"`},
		{"adminsys", "system/usr/x", `{"keywords":["grant=guest:ns1"]}`, 403, "guest:ns1"},
		{"adminsys", "system/usr/x", `{"keywords":["names=*.mycorp"]}`, 403, "names"},
		{"adminsys", "system/usr/boss", `{"force":true}`, 403, "every grant"},
		{"adminsys", "system/usr/boss", `{"keywords":["ou=x"]}`, 403, "every grant"},
		{"adminsys", "system/sec/x", `{}`, 403, "root"},
		{"squatter", "ns1/sec/x", `{}`, 403, "ns1"},
		{"squatter", "system/sec/x", `{}`, 403, "system"},
		{"openid", "fresh/sec/x", `{}`, 403, "no object"},
	} {
		res := w.do(request{method: http.MethodPost, target: at + tt.path, by: tt.by, body: tt.body})
		res.refused(tt.status, tt.word)
	}
	w.do(request{target: at + "system/usr/x", by: "root"}).refused(http.StatusNotFound)
}

func TestCreateAsAdminOfSystem(t *testing.T) {
	w := newWorld(t)
	w.do(request{method: http.MethodPost, target: at + "system/usr/kid", by: "adminsys", body: `{"keywords":["grant=admin:system"]}`}).want(http.StatusCreated)
	w.do(request{target: "/whoami", by: "kid"}).want(http.StatusOK)
}

// TestForceChecksFirst: what may not be made again is not deleted.
func TestForceChecksFirst(t *testing.T) {
	w := newWorld(t)
	w.key("system/usr/none", "note", "kept")
	w.do(request{method: http.MethodPost, target: at + "system/usr/none", by: "adminsys", body: `{"force":true,"keywords":["grant=root"]}`}).refused(http.StatusForbidden, "root")
	w.do(request{target: at + "system/usr/none/data/key?name=note", by: "root"}).want(http.StatusOK)
}

// TestForceInOwnNamespace: the only object of a namespace can be recreated.
func TestForceInOwnNamespace(t *testing.T) {
	w := newWorld(t)
	w.do(request{method: http.MethodPost, target: at + "ns1/cfg/plain/action/delete", by: "root"}).want(http.StatusOK)
	w.do(request{method: http.MethodPost, target: at + "ns1/sec/web", by: "admin1", body: `{"force":true}`}).want(http.StatusCreated)
	if keys := into[wire.DataKeyList](w.do(request{target: at + "ns1/sec/web/data/keys", by: "admin1"})).Items; len(keys) != 0 {
		t.Errorf("force left %v", keys)
	}
}

// TestCreateIsWhole: when the certificate cannot be issued nothing remains.
func TestCreateIsWhole(t *testing.T) {
	w := newWorld(t)
	w.put("system/sec/ca-broken")
	create := request{method: http.MethodPost, target: at + "system/usr/alice", by: "root", body: `{"keywords":["ca=system/sec/ca-broken"]}`}
	w.do(create).refused(http.StatusConflict, "was not created", "certificate create")
	w.do(request{target: at + "system/usr/alice", by: "root"}).refused(http.StatusNotFound)
}

func TestCreateWithoutCA(t *testing.T) {
	w := emptyWorld(t)
	w.put("cluster", "cluster.name=clu")
	create := request{method: http.MethodPost, target: at + "system/usr/alice", by: "root"}
	res := w.do(create).want(http.StatusCreated)
	if notice := res.header.Get("Omca-Notice"); !strings.Contains(notice, "no certificate yet") {
		t.Errorf("notice %q", notice)
	}
	// Once there is a CA, the same command finishes the job.
	w.put("system/sec/ca")
	w.issue("system/sec/ca")
	if got := into[wire.Created](w.do(create).want(http.StatusOK)); got.Created || !got.IsChanged {
		t.Errorf("%+v", got)
	}
	w.do(request{target: "/ca.pem"}).want(http.StatusOK)
}

func TestUserElsewhere(t *testing.T) {
	w := newWorld(t)
	res := w.do(request{method: http.MethodPost, target: at + "ns1/usr/alice", by: "admin1"}).want(http.StatusCreated)
	if notice := res.header.Get("Omca-Notice"); !strings.Contains(notice, "system/usr/NAME") {
		t.Errorf("notice %q", notice)
	}
}

// TestNamespaceCannotBeProbed: who may not create learns nothing of a namespace.
func TestNamespaceCannotBeProbed(t *testing.T) {
	w := newWorld(t)
	there := w.do(request{method: http.MethodPost, target: at + "ns1/sec/x", by: "none"}).problem()
	absent := w.do(request{method: http.MethodPost, target: at + "ns9/sec/x", by: "none"}).problem()
	if there.Status != http.StatusForbidden || there.Detail != strings.ReplaceAll(absent.Detail, "ns9", "ns1") {
		t.Errorf("%q is not %q", there.Detail, absent.Detail)
	}
}

func TestSquatter(t *testing.T) {
	w := newWorld(t)
	w.alter("system/usr/squatter", "o=MyCorp")
	w.do(request{method: http.MethodPost, target: at + "fresh/sec/x", by: "squatter", body: `{"keywords":["o=MyCorp"]}`}).want(http.StatusCreated)
	got := into[wire.Whoami](w.do(request{target: "/whoami", by: "squatter"}).want(http.StatusOK))
	if got.RawGrant != "squatter admin:fresh" {
		t.Errorf("the squatter holds %q", got.RawGrant)
	}
	// Another one comes too late.
	w.put("system/usr/late", "grant=squatter")
	w.do(request{method: http.MethodPost, target: at + "fresh/sec/y", by: "late"}).refused(http.StatusForbidden, "fresh")
	if log := w.log.take(); !strings.Contains(log, `"claimed":"fresh"`) {
		t.Errorf("the audit trail does not say who claimed: %s", log)
	}
}

// TestSquattersAtOnce: a namespace has one first object, and one who claimed it.
func TestSquattersAtOnce(t *testing.T) {
	w := newWorld(t)
	var squatters sync.WaitGroup
	var made atomic.Int32
	for _, name := range []string{"s1", "s2", "s3", "s4"} {
		w.put("system/usr/"+name, "grant=squatter")
		squatters.Go(func() {
			if w.do(request{method: http.MethodPost, target: at + "fresh/sec/" + name, by: name}).status == http.StatusCreated {
				made.Add(1)
			}
		})
	}
	squatters.Wait()
	if got := made.Load(); got != 1 {
		t.Errorf("%d squatters made the first object", got)
	}
}

func TestDelete(t *testing.T) {
	w := newWorld(t)
	del := request{method: http.MethodPost, target: at + "ns1/sec/web/action/delete", by: "admin1"}
	if id := into[wire.Orchestration](w.do(del).want(http.StatusOK)).OrchestrationID; len(id) != 36 {
		t.Errorf("orchestration_id %q", id)
	}
	w.do(del).refused(http.StatusNotFound, "ns1/sec/web")
	w.do(request{method: http.MethodPost, target: at + "root/ccfg/cluster/action/delete", by: "root"}).refused(http.StatusBadRequest, "cluster")
}

func TestStoreFaults(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		fault  error
		status int
	}{
		{store.ErrFull, http.StatusInsufficientStorage},
		{store.ErrBroken, http.StatusServiceUnavailable},
		{store.ErrTooLarge, http.StatusBadRequest},
		{registry.ErrKeyTooLarge, http.StatusRequestEntityTooLarge},
	} {
		w.db.fault = tt.fault
		w.do(request{method: http.MethodPost, target: at + "ns1/sec/new", by: "root"}).refused(tt.status)
	}
	w.db.fault = errFault
	res := w.do(request{method: http.MethodPost, target: at + "ns1/sec/new", by: "root", header: map[string]string{"X-Request-Id": "find-me"}})
	res.refused(http.StatusInternalServerError)
	if strings.Contains(string(res.body), errFault.Error()) {
		t.Errorf("an error that nobody foresaw left: %s", res.body)
	}
	if log := w.log.take(); !strings.Contains(log, errFault.Error()) || !strings.Contains(log, "find-me") {
		t.Errorf("the log lacks the error or the request id: %s", log)
	}
}
