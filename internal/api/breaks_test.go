package api

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"omca/ca"
	"omca/internal/wire"
)

// breakingWorld is a world with a subordinate CA that signed two certificates, one of them
// below another CA, and with one user who is root.
func breakingWorld(t *testing.T) *world {
	t.Helper()
	w := caWorld(t)
	w.put("ns1/sec/below", "profile=ca", "ca=ns1/sec/sub", "cn=Below CA")
	w.put("ns1/sec/one", "ca=ns1/sec/sub", "cn=one.clu.mycorp")
	w.put("ns1/sec/two", "ca=ns1/sec/below", "cn=two.clu.mycorp")
	for _, path := range []string{"ns1/sec/below", "ns1/sec/one", "ns1/sec/two"} {
		w.issue(path)
	}
	return w
}

// TestAskedBeforeItBreaks: each call that breaks something for others is refused for a
// client that asks first, with the count, and changes nothing; without the header it is done.
func TestAskedBeforeItBreaks(t *testing.T) {
	const sub, boss = at + "ns1/sec/sub", at + "system/usr/boss"
	leads, root := "2 certificates lead to", "the last user with the grant root will be gone (boss)"
	for name, tt := range map[string]struct {
		request
		count int
		says  string
		done  int
	}{
		"deletion of a CA":               {request{method: "POST", target: sub + "/action/delete"}, 2, leads, 200},
		"deletion with a revocation":     {request{method: "POST", target: sub + "/action/delete?revoke=true"}, 2, "will be refused", 200},
		"purging a CA":                   {request{method: "POST", target: sub + "/action/purge"}, 2, leads, 200},
		"a CA made anew":                 {request{method: "POST", target: sub, body: `{"force":true,"keywords":["profile=ca"]}`}, 2, leads, 201},
		"another key of a CA":            {request{method: "POST", target: sub + "/certificate/renew", body: `{"rekey":true}`}, 2, leads, 200},
		"another key of the cluster's":   {request{method: "POST", target: at + "system/sec/ca/certificate/renew", body: `{"rekey":true}`}, 5, "will no longer be accepted", 200},
		"revocation of a CA":             {request{method: "POST", target: sub + "/certificate/revoke"}, 2, "will be refused", 200},
		"its replacement, with a revoke": {request{method: "POST", target: sub + "/certificate", body: `{"revoke":true}`}, 2, "will be refused", 200},
		"a CA that becomes none":         {request{method: "PATCH", target: sub + "/config?set=profile=listener"}, 2, leads, 200},
		"a CA without its key":           {request{method: "DELETE", target: sub + "/data/key?name=private_key"}, 2, leads, 204},
		"the last root deleted":          {request{method: "POST", target: boss + "/action/delete"}, 1, root, 200},
		"the last root disabled":         {request{method: "PATCH", target: boss + "/config?set=disabled=true"}, 1, root, 200},
		"the last root demoted":          {request{method: "PATCH", target: boss + "/config?set=grant=guest"}, 1, root, 200},
		"the last root without grants":   {request{method: "PATCH", target: boss + "/config?unset=grant"}, 1, root, 200},
		"the last root by a file":        {request{method: "PUT", target: boss + "/config/file", body: "[DEFAULT]\ngrant = guest\n", media: "text/plain"}, 1, root, 204},
		"the last root, by create":       {request{method: "POST", target: boss, body: `{"keywords":["grant=guest"]}`}, 1, root, 200},
		"the last root made anew":        {request{method: "POST", target: boss, body: `{"force":true}`}, 1, root, 201},
	} {
		t.Run(name, func(t *testing.T) {
			w := breakingWorld(t)
			before := w.holds()
			tt.by, tt.header = "root", map[string]string{headerAsk: "breaks"}
			refused := w.do(tt.request)
			refused.refused(http.StatusConflict, "nothing was changed", tt.says)
			problem := refused.problem()
			if len(problem.Breaks) != 1 || problem.Breaks[0].Count != tt.count || !strings.Contains(problem.Breaks[0].What, tt.says) || problem.Hint != "repeat it with --yes" {
				t.Errorf("%+v, want a count of %d and %q", problem, tt.count, tt.says)
			}
			if diff := cmp.Diff(before, w.holds()); diff != "" {
				t.Errorf("changed:\n%s", diff)
			}
			tt.header = nil
			w.do(tt.request).want(tt.done)
		})
	}
}

// TestRollbackAsks: a rollback ends what the present key of a CA signed.
func TestRollbackAsks(t *testing.T) {
	w := breakingWorld(t)
	const sub = at + "ns1/sec/sub/certificate"
	w.do(request{method: http.MethodPost, target: sub + "/renew", by: "root", body: `{"rekey":true}`}).want(http.StatusOK)
	w.issue("ns1/sec/one")
	before := w.holds()
	rollback := request{method: http.MethodPost, target: sub + "/rollback", by: "root", header: map[string]string{headerAsk: "breaks"}}
	w.do(rollback).refused(http.StatusConflict, "1 certificate leads to its present key")
	if diff := cmp.Diff(before, w.holds()); diff != "" {
		t.Errorf("changed:\n%s", diff)
	}
	rollback.header = nil
	w.do(rollback).want(http.StatusOK)
}

// TestAskedForNothing: calls that break nothing for others are done, whatever their client
// asks, and so are the manuals' own ways to another CA.
func TestAskedForNothing(t *testing.T) {
	w := breakingWorld(t)
	other := newWorld(t)
	w.put("system/usr/second", "grant=root")
	for name, r := range map[string]request{
		"another key of a leaf":        {method: "POST", target: at + "ns1/sec/web/certificate/renew", body: `{"rekey":true}`},
		"the same key of a CA":         {method: "POST", target: at + "ns1/sec/sub/certificate/renew"},
		"a leaf made anew":             {method: "POST", target: at + "ns1/sec/one", body: `{"force":true}`},
		"a leaf deleted":               {method: "POST", target: at + "ns1/sec/two/action/delete"},
		"a guest deleted":              {method: "POST", target: at + "system/usr/guest1/action/delete"},
		"a guest disabled":             {method: "PATCH", target: at + "system/usr/guest/config?set=disabled=true"},
		"one of two roots disabled":    {method: "PATCH", target: at + "system/usr/boss/config?set=disabled=true"},
		"revocation of a leaf":         {method: "POST", target: at + "ns1/sec/web/certificate/revoke"},
		"another CA of the cluster's":  {method: "POST", target: at + "system/sec/ca-clu", body: `{"keywords":["o=mycorp"]}`},
		"a comment on a CA":            {method: "PATCH", target: at + "ns1/sec/sub/config?set=comment=x"},
		"a note beside the key of one": {method: "DELETE", target: at + "ns1/sec/sub/data/key?name=note"},
	} {
		r.by, r.header = "root", map[string]string{headerAsk: "breaks"}
		if res := w.do(r); res.status >= 300 {
			t.Errorf("%s: status %d: %s", name, res.status, res.body)
		}
	}
	manual := func(r request) string {
		t.Helper()
		r.by, r.header = "root", map[string]string{headerAsk: "breaks"}
		res := w.do(r)
		if res.status >= 300 {
			t.Fatalf("%s %s: status %d: %s", r.method, r.target, res.status, res.body)
		}
		return res.header.Get("Omca-Notice")
	}
	for _, name := range []string{ca.KeyPrivate, ca.KeyChain} {
		value := other.do(request{target: at + "system/sec/ca/data/key?name=" + name, by: "root"}).want(http.StatusOK).body
		notice := manual(request{method: http.MethodPut, target: at + "system/sec/ca/data/key?name=" + name, body: string(value), media: "text/plain"})
		if name == ca.KeyChain && (!strings.Contains(notice, "no longer accepted") || !strings.Contains(notice, `"omca ca rollback" goes back`)) {
			t.Errorf("notice %q", notice)
		}
	}
	w.issue("system/sec/cert")
	notice := manual(request{method: http.MethodPost, target: at + "system/sec/ca-clu/certificate"})
	if !strings.HasPrefix(notice, "1 certificate that system/sec/ca signed before is no longer accepted") ||
		!strings.HasSuffix(notice, `"omca cluster config update --set cluster.ca+=system/sec/ca" has them accepted again`) {
		t.Errorf("notice %q", notice)
	}
	w.issue("system/sec/cert")
	w.do(request{method: http.MethodPatch, target: at + "system/sec/ca-clu/config?set=cn=Another", by: "root"}).want(http.StatusOK)
	if notice := manual(request{method: http.MethodPost, target: at + "system/sec/ca-clu/certificate"}); !strings.HasSuffix(notice, `"omca ca rollback" goes back`) {
		t.Errorf("notice %q", notice)
	}
}

// TestListBreaks: what is deleted together is counted together, for a caller who may
// delete it.
func TestListBreaks(t *testing.T) {
	w := breakingWorld(t)
	w.put("system/usr/second", "grant=root")
	for _, tt := range []struct {
		by, path string
		objects  int
		want     map[string]int
	}{
		{"root", "ns1/sec/*", 5, map[string]int{"ns1/sec/sub": 2, "ns1/sec/below": 1}},
		{"root", "system/usr/boss", 1, map[string]int{}},
		{"root", "system/usr/boss,system/usr/second", 2, map[string]int{"system/usr/boss": 2}},
		{"admin1", "ns1/sec/*", 5, map[string]int{}},
		{"guest1", "ns1/sec/*", 5, map[string]int{}},
		{"none", "ns1/sec/*", 0, map[string]int{}},
	} {
		list := into[wire.BreakList](w.do(request{target: "/api/object/breaks?path=" + tt.path, by: tt.by}).want(http.StatusOK))
		got := map[string]int{}
		for _, b := range list.Items {
			got[b.Object] = b.Count
		}
		if diff := cmp.Diff(tt.want, got); diff != "" || list.Objects != tt.objects {
			t.Errorf("%s, %s: %d objects, want %d (-want +got):\n%s", tt.by, tt.path, list.Objects, tt.objects, diff)
		}
	}
	w.do(request{target: "/api/object/breaks", by: "root"}).refused(http.StatusBadRequest, "path is missing")
}

// TestCAOfOthersAsks: a CA that signs elsewhere ends something for others while it is trusted,
// and nothing otherwise.
func TestCAOfOthersAsks(t *testing.T) {
	w := breakingWorld(t)
	const theirs = at + "system/sec/ca-theirs"
	chain := w.do(request{target: at + "ns1/sec/sub/data/key?name=certificate_chain", by: "root"}).body
	w.put("system/sec/ca-theirs", "profile=ca")
	w.do(request{method: http.MethodPost, target: theirs + "/data/key?name=certificate_chain", by: "root", body: string(chain), media: mediaAny}).want(http.StatusNoContent)
	anew := request{method: http.MethodPost, target: theirs, by: "root", body: `{"force":true,"keywords":["profile=ca"]}`, header: map[string]string{headerAsk: "breaks"}}
	trusted := request{method: http.MethodPatch, target: "/api/cluster/config?set=cluster.ca%2B%3Dsystem/sec/ca-theirs", by: "root"}
	w.do(trusted).want(http.StatusOK)
	before := w.holds()
	w.do(anew).refused(http.StatusConflict, "system/sec/ca-theirs: the certificates that CN=Sub CA has signed elsewhere will no longer be accepted")
	if diff := cmp.Diff(before, w.holds()); diff != "" {
		t.Errorf("changed:\n%s", diff)
	}
	trusted.target = strings.Replace(trusted.target, "%2B%3D", "-%3D", 1)
	w.do(trusted).want(http.StatusOK)
	w.do(anew).want(http.StatusCreated)
}
