package api

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"omca/ca"
	"omca/internal/wire"
	"omca/pki"
	"omca/usr"
	"omca/usr/token"
)

// sign has a request signed, and returns the serial number.
func (w *world) signedFor(by, cn, owner string) string {
	w.t.Helper()
	body := asJSON(w.t, wire.SignRequest{CSR: csr(w.t, cn), Owner: owner})
	return into[wire.Signed](w.do(request{method: http.MethodPost, target: "/api/certificate", by: by, body: body}).want(http.StatusCreated)).Serial
}

func (w *world) record(serial, by string) result {
	w.t.Helper()
	return w.do(request{target: "/api/certificate/" + serial, by: by})
}

func (w *world) revokes(serial, by string) result {
	w.t.Helper()
	return w.do(request{method: http.MethodPost, target: "/api/certificate/" + serial + "/revoke", by: by})
}

func (w *world) stateOf(serial string) string {
	w.t.Helper()
	return into[wire.FullRecord](w.record(serial, "root").want(http.StatusOK)).State
}

func (w *world) deletes(path, by string) result {
	w.t.Helper()
	return w.do(request{method: http.MethodPost, target: at + path + "/action/delete", by: by})
}

// TestUserRootIsReserved: the user with the name of the machine's root is made by root
// alone, by each way that makes a user. Other names are not reserved.
func TestUserRootIsReserved(t *testing.T) {
	for name, r := range map[string]request{
		"create":         {method: "POST", target: at + "system/usr/NAME", body: `{}`},
		"by file":        {method: "POST", target: at + "system/usr/NAME", body: `{"config":"[DEFAULT]\ncomment = x\n"}`},
		"config file":    {method: "POST", target: at + "system/usr/NAME/config/file", body: "[DEFAULT]\ncomment = x\n", media: mediaText},
		"one to look at": {method: "POST", target: at + "system/usr/NAME/certificate/preview", body: `{"keywords":["comment=x"]}`},
	} {
		w := newWorld(t)
		ask := func(user, by string) result {
			one := r
			one.by, one.target = by, strings.Replace(r.target, "NAME", user, 1)
			return w.do(one)
		}
		ask("root", "adminsys").refused(http.StatusForbidden, "the machine's root", "needs root")
		w.do(request{target: at + "system/usr/root", by: "root"}).want(http.StatusNotFound)
		if res := ask("root", "root"); res.status >= 300 {
			t.Errorf("%s by root: status %d: %s", name, res.status, res.body)
		}
		if res := ask("root2", "adminsys"); res.status >= 300 {
			t.Errorf("%s of another: status %d: %s", name, res.status, res.body)
		}
	}
	w := newWorld(t)
	if v := into[wire.Verdict](w.do(canIAsk("adminsys", "create", "system/usr/root", "", ""))); v.Allowed {
		t.Error("can-i says that an administrator makes the user root")
	}
	w.put("system/usr/root")
	force := request{method: "POST", target: at + "system/usr/root", body: `{"force":true}`, by: "adminsys"}
	w.do(force).refused(http.StatusForbidden, "the machine's root")
	// One that root has made is a user like any other.
	w.do(request{method: "PATCH", target: at + "system/usr/root/config?set=comment%3Dx", by: "adminsys"}).want(http.StatusOK)
}

// TestMachineRootOwns: what the machine's root has signed is its own, whatever
// becomes of the user of its name, and others see nothing of it.
func TestMachineRootOwns(t *testing.T) {
	w := newWorld(t)
	w.put("system/usr/guestsys", "grant=guest:system")
	serial := w.signedFor("root", "a.clu.mycorp", "")
	kept := into[wire.FullRecord](w.record(serial, "root").want(http.StatusOK))
	r := must(w.door.Authority.Record(t.Context(), pki.Serial(serial)))(t)
	if kept.Owner != "ux:root" || r.By != "ux:root" {
		t.Errorf("owned by %q, by %q", kept.Owner, r.By)
	}
	list := into[wire.CertificateList](w.do(request{target: "/api/certificate?owner=ux:root", by: "root"}).want(http.StatusOK))
	if len(list.Items) != 1 || list.Items[0].Serial != serial {
		t.Errorf("%+v", list.Items)
	}
	seen := func(by string) bool {
		all := into[wire.CertificateList](w.do(request{target: "/api/certificate", by: by}).want(http.StatusOK))
		return slices.ContainsFunc(all.Items, func(r wire.Record) bool { return r.Serial == serial })
	}
	other := func() {
		t.Helper()
		for _, by := range []string{"adminsys", "guestsys", "adminall", "guest1"} {
			w.record(serial, by).refused(http.StatusNotFound)
			w.revokes(serial, by).refused(http.StatusNotFound)
			if seen(by) {
				t.Errorf("%s is shown what the machine's root owns", by)
			}
		}
	}
	other()
	// The user of the name comes and goes.
	w.do(request{method: "POST", target: at + "system/usr/root", body: `{}`, by: "root"}).want(http.StatusCreated)
	other()
	w.record(serial, "theroot").refused(http.StatusNotFound)
	w.revokes(serial, "theroot").refused(http.StatusNotFound)
	w.do(request{method: "POST", target: at + "system/usr/root", body: `{"force":true,"revoke":true}`, by: "root"}).want(http.StatusCreated)
	w.deletes("system/usr/root", "root").want(http.StatusOK)
	if state := w.stateOf(serial); state != "valid" {
		t.Errorf("%s, once the user root had come and gone", state)
	}
	w.signedFor("boss", "b.clu.mycorp", "ux:root")
	if got := w.states("ux:root"); got != "valid, valid" {
		t.Errorf("another root has one signed for the machine's: %s", got)
	}
	w.revokes(serial, "boss").want(http.StatusOK)
	if state := w.stateOf(serial); state != stateRevoked {
		t.Errorf("%s, once a root had revoked it", state)
	}
}

// TestOwnerOfAnEarlierBuild: earlier builds kept what the machine's root had signed
// as that of the user root. Where that user came later, it is not theirs.
func TestOwnerOfAnEarlierBuild(t *testing.T) {
	w := newWorld(t)
	serial := w.signedFor("root", "a.clu.mycorp", userRoot) // nothing is there that it could belong to
	w.now = w.now.Add(time.Hour)
	for _, by := range []string{"adminsys", "guest1"} {
		w.record(serial, by).refused(http.StatusNotFound)
		w.revokes(serial, by).refused(http.StatusNotFound)
	}
	w.do(request{method: "POST", target: at + userRoot, body: `{"keywords":["grant=guest:system"]}`, by: "root"}).want(http.StatusCreated)
	own := w.held(userRoot)
	for _, by := range []string{"theroot", "adminsys"} {
		w.record(serial, by).refused(http.StatusNotFound)
		w.revokes(serial, by).refused(http.StatusNotFound)
	}
	w.record(own, "theroot").want(http.StatusOK)
	w.deletes(userRoot, "root").want(http.StatusOK)
	if state, mine := w.stateOf(serial), w.stateOf(own); state != "valid" || mine != stateRevoked {
		t.Errorf("of the machine's root: %s; of the user: %s", state, mine)
	}
}

// TestOwnerIsGone: what belonged to an object that is not there, or not any more,
// is root's, also where another one has the path now.
func TestOwnerIsGone(t *testing.T) {
	w := newWorld(t)
	w.put("system/usr/tess", "names=*.clu.mycorp", "grant=guest:ns1")
	w.issue("system/usr/tess")
	w.issue("ns1/sec/web")
	tess, hers, web := w.held("system/usr/tess"), w.signedFor("tess", "t.clu.mycorp", ""), w.held("ns1/sec/web")
	// As long as the objects are there, all is as ever.
	w.record(hers, "tess").want(http.StatusOK)
	w.record(web, "admin1").want(http.StatusOK)
	w.now = w.now.Add(time.Minute)
	w.do(request{method: "POST", target: at + "system/usr/tess/action/delete?revoke=false", by: "root"}).want(http.StatusOK)
	w.deletes("ns1/sec/web", "admin1").want(http.StatusOK)
	gone := func(when string) {
		t.Helper()
		for serial, by := range map[string][]string{tess: {"adminsys", "tess"}, hers: {"adminsys", "tess"}, web: {"admin1", "adminall"}} {
			for _, who := range by {
				if res := w.record(serial, who); res.status != http.StatusNotFound {
					t.Errorf("%s: %s is shown %s: %d", when, who, serial, res.status)
				}
				if res := w.revokes(serial, who); res.status != http.StatusNotFound {
					t.Errorf("%s: %s revokes %s: %d", when, who, serial, res.status)
				}
			}
		}
	}
	w.put("system/usr/tess2")
	gone("deleted")
	w.put("system/usr/tess", "grant=guest:system")
	w.put("ns1/sec/web", "cn=web.clu.mycorp")
	gone("made anew")
	// Nor does the next one take it along.
	w.issue("ns1/sec/web")
	w.issue("system/usr/tess")
	newer := w.held("ns1/sec/web")
	w.deletes("system/usr/tess", "adminsysguest").want(http.StatusOK)
	w.do(request{method: "POST", target: at + "ns1/sec/web/action/delete?revoke=true", by: "admin1"}).want(http.StatusOK)
	for serial, want := range map[string]string{tess: "valid", hers: "valid", web: "valid", newer: stateRevoked} {
		if got := w.stateOf(serial); got != want {
			t.Errorf("%s is %s, want %s", serial, got, want)
		}
	}
	w.revokes(web, "root").want(http.StatusOK)
	w.revokes(tess, "boss").want(http.StatusOK)
}

// TestClockSaysNotWhose: a record names the object that it was issued for. Where a
// clock was put back meanwhile, it is still that object's.
func TestClockSaysNotWhose(t *testing.T) {
	w := newWorld(t)
	w.put("ns1/sec/late", "cn=late.clu.mycorp")
	w.now = w.now.Add(-time.Hour)
	w.issue("ns1/sec/late")
	serial := w.held("ns1/sec/late")
	w.record(serial, "admin1").want(http.StatusOK)
	w.do(request{method: "POST", target: at + "ns1/sec/late/action/delete?revoke=true", by: "admin1"}).want(http.StatusOK)
	if state := w.stateOf(serial); state != stateRevoked {
		t.Errorf("deleted with its object, and %s", state)
	}
}

// TestImportedOfAnotherOwner: a certificate that was signed for another owner is not
// revoked by way of an object that it was imported into.
func TestImportedOfAnotherOwner(t *testing.T) {
	w := newWorld(t)
	w.put("ns1/sec/shop", "cn=shop.clu.mycorp")
	key := must(pki.GenerateKey("ec-p256"))(t)
	request64 := must(pki.CreateSigningRequest(key, pki.Subject{CommonName: "shop.clu.mycorp"}, pki.Names{}))(t)
	signed := into[wire.Signed](w.do(request{method: "POST", target: "/api/certificate", by: "root", body: asJSON(t, wire.SignRequest{CSR: string(request64)})}).want(http.StatusCreated))
	for name, value := range map[string]string{"private_key": string(must(pki.EncodePrivateKey(key))(t)), "certificate_chain": signed.CertificateChain} {
		w.do(request{method: "POST", target: at + "ns1/sec/shop/data/key?name=" + name, by: "admin1", body: value, media: mediaAny}).want(http.StatusNoContent)
	}
	if w.held("ns1/sec/shop") != signed.Serial {
		t.Fatal("the imported certificate is not live")
	}
	for _, r := range []request{
		{method: "POST", target: at + "ns1/sec/shop/certificate/revoke"},
		{method: "POST", target: at + "ns1/sec/shop/certificate/renew", body: `{"revoke":true}`},
		{method: "POST", target: at + "ns1/sec/shop/certificate", body: `{"revoke":true}`},
	} {
		r.by = "admin1"
		w.do(r).refused(http.StatusForbidden, "needs root", "ux:root")
	}
	if state := w.stateOf(signed.Serial); state != "valid" {
		t.Errorf("it is %s", state)
	}
	w.do(request{method: "POST", target: at + "ns1/sec/shop/certificate/revoke", by: "root"}).want(http.StatusOK)
}

// TestMachineRootsTokens: a token of the machine's root is not one of the user of its
// name: in lists, and when that user's tokens are taken back, or it is disabled or deleted.
func TestMachineRootsTokens(t *testing.T) {
	w := newWorld(t)
	w.put("system/usr/root", "grant=guest:system")
	mine := into[wire.TokenPair](w.issues("root", "").want(http.StatusOK))
	w.issues("root", "subject=ux:root").want(http.StatusOK)
	his := into[wire.TokenPair](w.issues("root", "subject=root").want(http.StatusOK))
	for compact, socket := range map[string]bool{mine.AccessToken: true, his.AccessToken: false} {
		c := must(w.tokens.Verify(t.Context(), compact, token.Access))(t)
		if c.Subject != "root" || c.Socket != socket {
			t.Errorf("%+v, want that of the machine's root: %v", c, socket)
		}
	}
	if v := into[wire.VerifiedToken](w.do(request{method: "POST", target: "/api/token/verify", by: "root", body: asJSON(t, wire.VerifyRequest{Token: mine.AccessToken})}).want(http.StatusOK)); v.Subject != "ux:root" {
		t.Errorf("the subject of the machine's root's token is shown as %q", v.Subject)
	}
	count := func(by, query string) string {
		t.Helper()
		n := make(map[string]int)
		for _, item := range into[wire.TokenList](w.do(request{target: "/api/token" + query, by: by}).want(http.StatusOK)).Items {
			n[item.Subject+" by "+item.IssuedBy+" "+item.State]++
		}
		return fmt.Sprint(n)
	}
	const machine, user = "ux:root by ux:root valid:2", "root by ux:root valid:1"
	for _, tt := range []struct{ by, query, want string }{
		{"root", "", "map[" + user + " " + machine + "]"},
		{"root", "?subject=ux:root", "map[" + machine + "]"},
		{"root", "?subject=root", "map[" + user + "]"},
		{"machine", "", "map[" + machine + "]"}, // by a token that holds little
		{"theroot", "", "map[" + user + "]"},
		{"adminsys", "", "map[" + user + "]"},
		{"adminsys", "?subject=ux:root", "map[]"},
	} {
		if got := count(tt.by, tt.query); got != tt.want {
			t.Errorf("%s, %q: %s, want %s", tt.by, tt.query, got, tt.want)
		}
	}
	revoke := func(by, query string) result {
		return w.do(request{method: "POST", target: "/api/token/revoke" + query, by: by})
	}
	revoke("adminsys", "?subject=ux:root").refused(http.StatusForbidden, "needs root")
	revoke("theroot", "").want(http.StatusOK)
	w.do(request{method: "PATCH", target: at + "system/usr/root/config?set=disabled%3Dtrue", by: "root"}).want(http.StatusOK)
	w.deletes("system/usr/root", "root").want(http.StatusOK)
	if got := count("root", "?subject=ux:root"); got != "map["+machine+"]" {
		t.Errorf("once the user root is gone: %s", got)
	}
	if _, err := w.tokens.Verify(t.Context(), mine.AccessToken, token.Access); err != nil {
		t.Errorf("once the user root is gone: %v", err)
	}
	w.issues("root", "subject=root").refused(http.StatusForbidden, `no user "root"`, "leave the subject out")
	if got := into[wire.TokensRevoked](revoke("machine", "").want(http.StatusOK)); got.Revoked != 2 {
		t.Errorf("the machine's root took back %d of its tokens", got.Revoked)
	}
}

// TestTokensOfAnEarlierUser: the next user of a name does not see them and does not end
// them. Once the user is deleted, root alone does.
func TestTokensOfAnEarlierUser(t *testing.T) {
	w := newWorld(t)
	w.put("system/usr/tess", "grant=guest:ns1")
	id := w.aToken("tess", token.Access).ID
	see := func(by string) int {
		return len(into[wire.TokenList](w.do(request{target: "/api/token?subject=tess", by: by}).want(http.StatusOK)).Items)
	}
	if see("tess") != 1 || see("adminsys") != 1 {
		t.Error("the token is not shown to its user")
	}
	w.now = w.now.Add(2 * time.Second)
	w.deletes("system/usr/tess", "root").want(http.StatusOK)
	revoke := request{method: "POST", target: "/api/token/" + id + "/revoke", by: "adminsys"}
	w.do(revoke).refused(http.StatusNotFound)
	w.do(request{method: "POST", target: "/api/token/revoke?subject=tess", by: "adminsys"}).refused(http.StatusForbidden, "needs root")
	w.do(request{target: "/api/session?user=tess", by: "adminsys"}).refused(http.StatusForbidden, "needs root")
	w.do(request{method: "POST", target: "/api/session/revoke?user=tess", by: "adminsys"}).refused(http.StatusForbidden, "needs root")
	w.put("system/usr/tess")
	if see("tess") != 0 || see("adminsys") != 0 || see("root") != 1 {
		t.Error("the next user of the name is shown the token of the one before")
	}
	revoke.by = "tess"
	w.do(revoke).refused(http.StatusNotFound)
	w.do(request{target: "/api/session?user=tess", by: "adminsys"}).want(http.StatusOK)
}

// TestMachineRootIsNoUser: what is done for oneself, and is about a user, the machine's
// root does not do as the user of its name.
func TestMachineRootIsNoUser(t *testing.T) {
	w := newWorld(t)
	w.put("system/usr/root", "grant=guest:ns1", "roles=api")
	w.do(request{method: "POST", target: "/api/token/profile/clustercockpit", body: `{}`, by: "root"}).refused(http.StatusNotFound, "machine's root", "--subject")
	w.do(request{method: "POST", target: "/api/token/profile/clustercockpit", body: `{"subject":"root"}`, by: "root"}).want(http.StatusCreated)
	for _, by := range []string{"root", "machine"} {
		if list := into[wire.SessionList](w.do(request{target: "/api/session", by: by}).want(http.StatusOK)); len(list.Items) != 0 {
			t.Errorf("%s has %d sessions", by, len(list.Items))
		}
		if got := into[wire.SessionsEnded](w.do(request{method: "POST", target: "/api/session/revoke", by: by}).want(http.StatusOK)); got.Ended != 0 {
			t.Errorf("%s ends %d sessions", by, got.Ended)
		}
	}
	// Asking for the user of the name is asking for that user.
	if v := into[wire.Verdict](w.do(canIAsk("root", "administer", "", "", "root"))); v.Allowed {
		t.Error("the user root, who is a guest, may administer")
	}
	if v := into[wire.Verdict](w.do(canIAsk("root", "administer", "", "", "ux:root"))); !v.Allowed {
		t.Error("the machine's root may not administer")
	}
	// A token of the machine's root that holds squatter claims nothing for the user.
	w.do(request{method: "POST", target: at + "fresh/cfg/x", body: `{}`, by: "machinesquatter"}).refused(http.StatusForbidden, "object")
	if got := w.grantOf("root"); got != "guest:ns1" {
		t.Errorf("the user root holds %q", got)
	}
	res := w.do(request{target: "/api/auth/verify", by: "machine"}).want(http.StatusNoContent)
	if got := res.header.Get("X-Auth-User"); got != "ux:root" {
		t.Errorf("X-Auth-User is %q for the machine's root", got)
	}
	if got := into[wire.Whoami](w.do(request{target: "/whoami", by: "machine"}).want(http.StatusOK)); got.Name != "root" {
		t.Errorf("whoami calls the machine's root %q", got.Name)
	}
}

// TestByInTheTrail: lines of the trail tell the two apart.
func TestByInTheTrail(t *testing.T) {
	w := newWorld(t)
	w.put("system/usr/root", "grant=root")
	for by, want := range map[string]string{"root": `"by":"ux:root"`, "machineroot": `"by":"ux:root"`, "theroot": `"by":"root"`} {
		w.log.take()
		w.do(request{method: "PATCH", target: at + "ns1/cfg/plain/config?set=comment%3D" + by, by: by}).want(http.StatusOK)
		if log := w.log.take(); !strings.Contains(log, want) {
			t.Errorf("%s: %s, want %s", by, log, want)
		}
	}
	w.do(request{method: "POST", target: at + "system/sec/ca/certificate/renew", body: `{"rekey":true}`, by: "root"}).want(http.StatusOK)
	h := into[wire.History](w.do(request{target: at + "system/sec/ca/certificate/history", by: "root"}).want(http.StatusOK))
	if len(h.Items) != 1 || h.Items[0].ReplacedBy != "ux:root" {
		t.Errorf("%+v", h.Items)
	}
	serial := w.signedFor("theroot", "a.clu.mycorp", "")
	r := must(w.door.Authority.Record(t.Context(), pki.Serial(serial)))(t)
	if r.Owner != "system/usr/root" || r.By != "root" {
		t.Errorf("of the user: owned by %q, by %q", r.Owner, r.By)
	}
	w.revokes(serial, "root").want(http.StatusOK)
	revoked, _, err := w.door.Authority.RevocationOf(t.Context(), r.Certificate)
	if err != nil || revoked.By != "ux:root" {
		t.Errorf("revoked by %q: %v", revoked.By, err)
	}
}

// rootsOf are the callers called root that the tests have beside the socket.
func (w *world) rootsOf(name string) (usr.Caller, bool) {
	machine := usr.Caller{Name: "root", Method: usr.MethodToken, Machine: true, TokenID: "T"}
	var err error
	switch name {
	case "machine":
	case "machinesquatter":
		machine.Grants, err = usr.ParseGrants("squatter")
	case "machineroot":
		machine.Grants = usr.RootGrants()
	case "theroot": // the user
		u, err := w.objects.User(w.t.Context(), "root")
		return usr.Caller{Name: "root", Method: usr.MethodX509, Grants: u.Grants, Roles: u.Roles}, err == nil
	case "adminsysguest":
		grants, err := usr.ParseGrants("admin:system guest:system")
		return usr.Caller{Name: "adminsys", Method: usr.MethodX509, Grants: grants}, err == nil
	default:
		return usr.Caller{}, false
	}
	return machine, err == nil
}

// The name is one that no path and no user can have.
func TestOwnerRootIsNoPath(t *testing.T) {
	w := newWorld(t)
	w.do(request{target: at + "system/usr/ux:root", by: "root"}).refused(http.StatusBadRequest)
	w.do(request{method: "POST", target: "/api/certificate", by: "none", body: asJSON(t, wire.SignRequest{CSR: csr(t, "none"), Profile: "usr", Owner: ca.OwnerRoot})}).refused(http.StatusForbidden, "only root")
}
