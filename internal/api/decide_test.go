package api

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"omca/internal/object"
	"omca/internal/store"
	"omca/internal/wire"
	"omca/usr"
)

// alter changes keywords of an object behind the API's back.
func (w *world) alter(path string, exprs ...string) {
	w.t.Helper()
	if err := w.tryAlter(path, exprs...); err != nil {
		w.t.Error(err)
	}
}

func (w *world) tryAlter(path string, exprs ...string) error {
	p, err := object.ParsePath(path)
	if err != nil {
		return err
	}
	set, err := object.ParseExprs(exprs)
	if err != nil {
		return err
	}
	o, err := w.objects.Get(w.t.Context(), p)
	if err != nil {
		return err
	}
	next, _, err := o.Config.Apply(object.Update{Set: set})
	if err != nil {
		return err
	}
	return w.objects.Configure(w.t.Context(), p, o.Revision, next)
}

// holds is all that the store holds.
func (w *world) holds() map[string]string {
	w.t.Helper()
	all := map[string]string{}
	for r, more := (store.Range{}), true; more; {
		page := must(w.db.Scan(w.t.Context(), r))(w.t)
		for _, e := range page.Entries {
			all[e.Key] = string(e.Value)
			r.After = e.Key
		}
		more = page.More
	}
	return all
}

// reading tells when a body is read for the first time.
type reading struct {
	io.ReadCloser
	once  sync.Once
	begun chan struct{}
}

func (r *reading) Read(p []byte) (int, error) {
	r.once.Do(func() { close(r.begun) })
	return r.ReadCloser.Read(p)
}

// slowly makes a call over HTTP whose body arrives once meanwhile has happened.
func (w *world) slowly(r request, meanwhile func()) int {
	w.t.Helper()
	begun := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(to http.ResponseWriter, r *http.Request) {
		r.Body = &reading{ReadCloser: r.Body, begun: begun}
		w.handler.ServeHTTP(to, r)
	}))
	defer server.Close()
	body, pipe := io.Pipe()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	req := must(http.NewRequestWithContext(ctx, r.method, server.URL+r.target, body))(w.t)
	req.Header.Set("Content-Type", mediaAny)
	if r.media != "" {
		req.Header.Set("Content-Type", r.media)
	}
	req.Header.Set(callerHeader, r.by)
	go func() {
		select {
		case <-begun:
			meanwhile()
		case <-ctx.Done(): // it was refused before
		}
		_, err := io.WriteString(pipe, r.body)
		if err := pipe.CloseWithError(err); err != nil {
			w.t.Error(err)
		}
	}()
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer answer.Body.Close()
	return answer.StatusCode
}

// TestSlowBody: a request that was begun while its caller might does not go on when the caller may no longer, however
// short the time was.
func TestSlowBody(t *testing.T) {
	const web, none = at + "ns1/sec/web", at + "system/usr/none"
	password := request{method: http.MethodPut, target: none + "/data/key?name=password", body: "the attacker's", by: "adminsys"}
	key := request{method: http.MethodPut, target: web + "/data/key?name=color", body: "red", by: "admin1"}
	demoted := func(w *world) { w.alter("system/usr/admin1", "grant=guest:ns1") }
	for name, tt := range map[string]struct {
		request
		meanwhile func(*world)
		want      int
	}{
		"nothing happened":          {key, func(*world) {}, http.StatusNoContent},
		"nothing of that kind":      {key, func(w *world) { w.alter("cluster", "cluster.nodes=node3"); w.alter("system/usr/admin1", "comment=x") }, http.StatusNoContent},
		"the user got root":         {password, func(w *world) { w.alter("system/usr/none", "grant=root") }, http.StatusForbidden},
		"the caller lost a grant":   {key, demoted, http.StatusForbidden},
		"that wrote a whole config": {request{method: http.MethodPut, target: web + "/config/file", body: "[DEFAULT]\ncn = x\n", media: mediaText, by: "admin1"}, demoted, http.StatusForbidden},
		"that made an object":       {request{method: http.MethodPost, target: at + "ns1/cfg/new", body: `{"keywords":["env.a=1"]}`, media: mediaJSON, by: "admin1"}, demoted, http.StatusForbidden},
		"that edited keys":          {request{method: http.MethodPatch, target: web + "/data", body: `[{"action":"add","name":"k","string":"v"}]`, media: mediaJSON, by: "admin1"}, demoted, http.StatusForbidden},
		"that got a certificate":    {request{method: http.MethodPost, target: web + "/certificate", body: `{}`, media: mediaJSON, by: "admin1"}, demoted, http.StatusForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			// A password that is there can be changed.
			w.do(request{method: http.MethodPost, target: none + "/data/key?name=password", by: "root", body: "her own words", media: mediaAny}).want(http.StatusNoContent)
			var before map[string]string
			got := w.slowly(tt.request, func() { tt.meanwhile(w); before = w.holds() })
			if got != tt.want {
				t.Errorf("%d, want %d", got, tt.want)
			}
			if written := !maps.Equal(before, w.holds()); written != (tt.want < 300) {
				t.Errorf("something was written: %v", written)
			}
		})
	}
}

// aChange is a call that writes, and how its caller loses the right to make it.
type aChange struct {
	request
	want   int
	lose   string // the object of which a keyword is changed for that
	to     string // what it becomes
	denied int
}

// changes are calls of each kind that writes.
func changes(t *testing.T) map[string]aChange {
	const web, users = at + "ns1/sec/web", at + "system/usr/"
	admin1 := func(r request, want int) aChange {
		r.by = "admin1"
		return aChange{r, want, "system/usr/admin1", "grant=guest:ns1", http.StatusForbidden}
	}
	adminsys := func(r request, want int) aChange {
		r.by = "adminsys"
		return aChange{r, want, "system/usr/adminsys", "grant=guest", http.StatusForbidden}
	}
	boss := func(r request, want int) aChange {
		r.by = "boss"
		return aChange{r, want, "system/usr/boss", "grant=guest:ns1", http.StatusForbidden}
	}
	post, patch, put := http.MethodPost, http.MethodPatch, http.MethodPut
	signed := asJSON(t, wire.SignRequest{CSR: csr(t, "new.clu.mycorp")})
	return map[string]aChange{
		"change a key":       admin1(request{method: put, target: web + "/data/key?name=color", body: "red", media: mediaAny}, 204),
		"add a key":          admin1(request{method: post, target: web + "/data/key?name=size", body: "9", media: mediaAny}, 204),
		"remove a key":       admin1(request{method: http.MethodDelete, target: web + "/data/key?name=color"}, 204),
		"edit keys":          admin1(request{method: patch, target: web + "/data", body: `[{"action":"rename","name":"color","to":"hue"}]`}, 204),
		"set a keyword":      admin1(request{method: patch, target: web + "/config?set=comment%3Dx"}, 200),
		"write a config":     admin1(request{method: put, target: web + "/config/file", body: "[DEFAULT]\ncn = web.clu.mycorp\ncomment = x\n", media: mediaText}, 204),
		"create":             admin1(request{method: post, target: at + "ns1/cfg/new", body: `{"keywords":["env.a=1"]}`}, 201),
		"create by config":   admin1(request{method: post, target: at + "ns1/cfg/new/config/file", body: "[env]\na = 1\n", media: mediaText}, 204),
		"create anew":        admin1(request{method: post, target: web, body: `{"force":true,"revoke":true}`}, 201),
		"update":             admin1(request{method: post, target: web, body: `{"keywords":["comment=x"]}`}, 200),
		"delete":             admin1(request{method: post, target: web + "/action/delete"}, 200),
		"make a key by GET":  admin1(request{method: http.MethodGet, target: web + "/data/key?name=certificate_signing_request"}, 200),
		"make a key by POST": admin1(request{method: post, target: web + "/certificate/signing-request"}, 200),
		"set a password":     adminsys(request{method: post, target: users + "none/data/key?name=password", body: "correct horse", media: mediaAny}, 204),
		"create a user":      adminsys(request{method: post, target: users + "fresh"}, 201),
		"delete a user":      adminsys(request{method: post, target: users + "none/action/delete"}, 200),
		"disable a user":     adminsys(request{method: patch, target: users + "none/config?set=disabled%3Dtrue"}, 200),
		"end tokens":         adminsys(request{method: post, target: "/api/token/revoke?subject=none"}, 200),
		"issue":              boss(request{method: post, target: web + "/certificate"}, 200),
		"renew":              boss(request{method: post, target: at + "system/sec/cert/certificate/renew", body: `{"revoke":true}`}, 200),
		"rekey the CA":       boss(request{method: post, target: at + "system/sec/ca/certificate/renew", body: `{"rekey":true}`}, 200),
		"revoke":             boss(request{method: post, target: users + "guest1/certificate/revoke"}, 200),
		"rotate token keys":  boss(request{method: post, target: "/api/token/rotate-key"}, 200),
		"issue to another":   boss(request{method: post, target: "/api/auth/token?subject=guest"}, 200),
		"change the cluster": boss(request{method: patch, target: "/api/cluster/config?set=token.max_age%3D1h"}, 200),
		"ask a node":         boss(request{method: post, target: "/api/node/name/node1/daemon/action/drain"}, 200),
		"issue a token":      {request{method: post, target: "/api/auth/token?role=guest", by: "guest1"}, 200, "system/usr/guest1", "grant=", http.StatusForbidden},
		"sign":               {request{method: post, target: "/api/certificate", body: signed, by: "signer"}, 201, "system/usr/signer", "names=other.lan", http.StatusForbidden},
		"sign by policy":     {request{method: post, target: "/api/certificate", body: signed, by: "signer"}, 201, "system/sec/ca", "deny_names=new.clu.mycorp", http.StatusForbidden},
		"claim a namespace":  {request{method: post, target: at + "fresh/sec/x", by: "squatter"}, 201, "system/usr/squatter", "grant=guest", http.StatusForbidden},
	}
}

// TestLostMeanwhile: whoever loses a right between the decision and the commit writes nothing.
func TestLostMeanwhile(t *testing.T) {
	for name, tt := range changes(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if strings.HasSuffix(name, "tokens") {
				w.aToken("none", "access")
			}
			var before map[string]string
			w.db.before = func(store.Tx) {
				w.db.before = nil
				w.alter(tt.lose, tt.to)
				before = w.holds()
			}
			w.do(tt.request).want(tt.denied)
			if before == nil {
				t.Fatal("nothing was committed")
			}
			if !maps.Equal(before, w.holds()) {
				t.Errorf("something was written: %v", differs(before, w.holds()))
			}
		})
	}
}

func differs(a, b map[string]string) []string {
	var keys []string
	for key, value := range b {
		if a[key] != value {
			keys = append(keys, key)
		}
	}
	return keys
}

// TestUnrelatedMeanwhile: changes that have nothing to do with a call do not reach its caller, whichever of its commits
// they come before.
func TestUnrelatedMeanwhile(t *testing.T) {
	for name, tt := range changes(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if strings.HasSuffix(name, "tokens") {
				w.aToken("none", "access")
			}
			n := 0
			var meanwhile func(store.Tx)
			meanwhile = func(tx store.Tx) {
				if n++; n > 12 || n%2 == 0 { // before every other commit, so that some of them succeed
					return
				}
				w.db.before = nil
				w.alter("cluster", "cluster.nodes=n"+strconv.Itoa(n))
				w.alter("system/usr/"+tt.by, "comment=x"+strconv.Itoa(n))
				w.db.before = meanwhile
			}
			w.db.before = meanwhile
			w.do(tt.request).want(tt.want)
			w.db.before = nil
			if n < 2 {
				t.Errorf("%d commits", n)
			}
			if strings.Contains(name, "password") && w.passwords.Derived() != 1 {
				t.Errorf("%d hashes were made of one password", w.passwords.Derived())
			}
		})
	}
}

// TestPairMeanwhile: of an access and a refresh token each is decided by itself.
func TestPairMeanwhile(t *testing.T) {
	for n := range 3 {
		w := newWorld(t)
		commits := 0
		w.db.before = func(store.Tx) {
			if commits++; commits-1 == n {
				before := w.db.before
				w.db.before = nil
				w.alter("cluster", "cluster.nodes=other")
				w.db.before = before
			}
		}
		pair := into[wire.TokenPair](w.do(request{method: http.MethodPost, target: "/api/auth/token?subject=guest1&refresh=true", by: "root"}).want(http.StatusOK))
		w.db.before = nil
		if list := into[wire.TokenList](w.do(request{target: "/api/token?subject=guest1", by: "root"})); pair.RefreshToken == "" || len(list.Items) != 2 {
			t.Errorf("overtaken at commit %d: %+v", n, list.Items)
		}
	}
}

// TestAlwaysOvertaken: a call that is overtaken each time ends with a conflict.
func TestAlwaysOvertaken(t *testing.T) {
	w := newWorld(t)
	tries := 0
	var meanwhile func(store.Tx)
	meanwhile = func(store.Tx) {
		tries++
		w.db.before = nil
		w.alter("cluster", "cluster.nodes=n"+strconv.Itoa(tries))
		w.db.before = meanwhile
	}
	w.db.before = meanwhile
	w.do(request{method: http.MethodPost, target: "/api/certificate", body: asJSON(t, wire.SignRequest{CSR: csr(t, "new.clu.mycorp")}), by: "signer"}).
		refused(http.StatusConflict, "changed at the same moment", "repeat")
	if tries < 5 || tries > 10 {
		t.Errorf("%d tries", tries)
	}
}

// TestPromotedMeanwhile: a user who gets more than the caller holds, while the password is hashed, keeps the old one.
func TestPromotedMeanwhile(t *testing.T) {
	w := newWorld(t)
	w.db.before = func(store.Tx) {
		w.db.before = nil
		w.alter("system/usr/none", "grant=root")
	}
	w.do(request{method: http.MethodPost, target: at + "system/usr/none/data/key?name=password", body: "the attacker's", media: mediaAny, by: "adminsys"}).want(http.StatusForbidden)
	if hash := must(w.objects.PasswordHash(t.Context(), "none"))(t); !hash.IsZero() {
		t.Error("the password of root was set")
	}
}

// TestNamespaceMeanwhile: a namespace that somebody else begins meanwhile is not claimed.
func TestNamespaceMeanwhile(t *testing.T) {
	w := newWorld(t)
	w.db.before = func(store.Tx) {
		w.db.before = nil
		w.do(request{method: http.MethodPost, target: at + "fresh/cfg/first", by: "root"}).want(http.StatusCreated)
	}
	w.do(request{method: http.MethodPost, target: at + "fresh/sec/x", by: "squatter"}).refused(http.StatusForbidden, "fresh")
	if got := into[wire.Whoami](w.do(request{target: "/whoami", by: "squatter"}).want(http.StatusOK)); got.RawGrant != "squatter" {
		t.Errorf("the squatter holds %q", got.RawGrant)
	}
}

// TestClaimIsOneCommit: the first object of a namespace and the grant on it come together.
func TestClaimIsOneCommit(t *testing.T) {
	w := newWorld(t)
	var commits []store.Tx
	w.db.before = func(tx store.Tx) { commits = append(commits, tx) }
	w.do(request{method: http.MethodPost, target: at + "fresh/sec/x", by: "squatter"}).want(http.StatusCreated)
	w.db.before = nil
	if len(commits) != 1 {
		t.Fatalf("%d commits", len(commits))
	}
	puts := map[string]bool{}
	for _, p := range commits[0].Puts {
		puts[p.Key] = true
	}
	if !puts["obj/fresh/sec/x"] || !puts["obj/system/usr/squatter"] {
		t.Errorf("it puts %v", puts)
	}
}

// TestAdoptMeanwhile: an adoption comes to its end whatever else changes, and takes no user for the one of the cluster
// that it adopts who was made meanwhile.
func TestAdoptMeanwhile(t *testing.T) {
	const target = at + "system/sec/ca/import"
	w := newWorld(t)
	n := 0
	var meanwhile func(store.Tx)
	meanwhile = func(store.Tx) {
		if n++; n%2 == 0 {
			return
		}
		w.db.before = nil
		w.alter("system/usr/boss", "comment=x"+strconv.Itoa(n))
		w.db.before = meanwhile
	}
	w.db.before = meanwhile
	done := into[wire.Adopted](w.do(request{method: http.MethodPost, target: target, by: "boss", body: asJSON(t, adoption(t, w.now, "alice"))}).want(http.StatusOK))
	if !done.IsChanged || len(done.Users) != 1 || done.Recorded != 2 || done.Known != 0 || n < 4 {
		t.Errorf("after %d commits: %+v", n, done)
	}

	w = newWorld(t)
	w.db.before = func(tx store.Tx) {
		w.db.before = nil
		w.put("system/usr/alice", "grant=root")
	}
	w.do(request{method: http.MethodPost, target: target, by: "boss", body: asJSON(t, adoption(t, w.now, "alice"))}).refused(http.StatusConflict, "alice")
	if got := w.states("system/usr/alice"); got != "" {
		t.Errorf("the certificate of another alice is on record for her: %s", got)
	}
}

// TestManyWriters: of many calls at once, while others write what all of them are decided on, none is turned away.
func TestManyWriters(t *testing.T) {
	w := newWorld(t)
	w.passwords = must(usr.NewPasswords(usr.PasswordCost{Memory: 64, Passes: 1, Threads: 1}))(t)
	const callers, rounds = 6, 5
	var stop atomic.Bool
	var busy, done sync.WaitGroup
	for i := range 3 {
		busy.Go(func() {
			for n := 0; !stop.Load(); n++ {
				_, res := w.send(request{method: http.MethodPatch, target: fmt.Sprintf("/api/cluster/config?set=cluster.nodes%%3Dn%d-%d", i, n), by: "root"})
				res.want(http.StatusOK)
			}
		})
	}
	body := asJSON(t, wire.SignRequest{CSR: csr(t, "new.clu.mycorp")})
	for i := range callers {
		done.Go(func() {
			for n := range rounds {
				name := fmt.Sprintf("ns1/cfg/of-%d-%d", i, n)
				for _, r := range []request{
					{method: http.MethodPost, target: at + name, by: "admin1"},
					{method: http.MethodPost, target: at + name + "/data/key?name=k", by: "admin1", body: "v", media: mediaAny},
					{method: http.MethodPost, target: "/api/certificate", by: "signer", body: body},
					{method: http.MethodPost, target: "/api/auth/token?subject=guest1&refresh=true", by: "root"},
					{method: http.MethodPost, target: at + name + "/action/delete", by: "admin1"},
				} {
					if _, res := w.send(r); res.status >= 300 {
						t.Errorf("%s: %d %s", res.what, res.status, res.body)
					}
				}
			}
		})
	}
	done.Wait()
	stop.Store(true)
	busy.Wait()
}
