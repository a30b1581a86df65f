package api

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"omca/internal/wire"
)

// exhausted fails unless the answer says what there is, how much there may be, and when
// there is room again.
func (r result) exhausted(t *testing.T, keyword string, after time.Duration, says ...string) {
	t.Helper()
	var p wire.Problem
	if err := json.Unmarshal(r.body, &p); err != nil || r.status != http.StatusTooManyRequests || p.Status != r.status {
		t.Fatalf("%d %s: %v", r.status, r.body, err)
	}
	for _, text := range append(says, keyword) {
		if !strings.Contains(p.Detail, text) {
			t.Errorf("%q does not say %q", p.Detail, text)
		}
	}
	if !strings.Contains(p.Hint, "--set "+keyword+"=N") {
		t.Errorf("hint %q", p.Hint)
	}
	seconds := ""
	if after > 0 {
		seconds = strconv.Itoa(int(after / time.Second))
		if !strings.HasPrefix(p.Hint, "try again in "+seconds+" s; ") {
			t.Errorf("hint %q, want %s s", p.Hint, seconds)
		}
	}
	if got := r.header.Get("Retry-After"); got != seconds {
		t.Errorf("Retry-After %q, want %q", got, seconds)
	}
}

// bound sets a keyword of the cluster.
func (w *world) bound(keyword string) {
	w.t.Helper()
	w.do(request{method: http.MethodPatch, target: "/api/cluster/config?set=" + strings.ReplaceAll(keyword, "=", "%3D"), by: "root"}).want(http.StatusOK)
}

// TestMaxTokens: a guest at full speed gets as many living tokens as the keyword says.
// Another user and root are served, a token that was taken back makes room, and so does
// one that expired.
func TestMaxTokens(t *testing.T) {
	w := newWorld(t)
	w.bound("cluster.max_tokens=5")
	issue := func(by, query string) wire.TokenPair {
		t.Helper()
		return into[wire.TokenPair](w.issues(by, query).want(http.StatusOK))
	}
	for i := range 5 {
		issue("guest1", "access_duration="+strconv.Itoa(10+i)+"m")
	}
	for range 20 {
		w.issues("guest1", "").exhausted(t, "cluster.max_tokens", 10*time.Minute, `"guest1" has 5 living tokens`, "is 5 for callers without root")
	}
	issue("admin1", "")
	for range 3 {
		issue("root", "subject=guest1&access_duration=1h") // they live too
	}
	w.now = w.now.Add(10*time.Minute + time.Second)
	w.issues("guest1", "").exhausted(t, "cluster.max_tokens", 3*time.Minute-time.Second, `has 7 living tokens`)
	w.now = w.now.Add(3 * time.Minute)
	issue("guest1", "access_duration=30m")
	list := into[wire.TokenList](w.do(request{method: http.MethodGet, target: "/api/token?state=valid", by: "guest1"}).want(http.StatusOK))
	if len(list.Items) != 5 {
		t.Fatalf("%d tokens live", len(list.Items))
	}
	w.do(request{method: http.MethodPost, target: "/api/token/" + list.Items[0].ID + "/revoke", by: "guest1"}).want(http.StatusOK)
	issue("guest1", "")
	w.bound("cluster.max_tokens=0")
	for range 10 {
		issue("guest1", "")
	}
}

// TestTokensTakenBackFillTheStore: a loop that makes tokens and takes them back comes to
// an end too.
func TestTokensTakenBackFillTheStore(t *testing.T) {
	w := newWorld(t)
	w.bound("cluster.max_tokens=2")
	for range 20 {
		into[wire.TokenPair](w.issues("guest1", "").want(http.StatusOK))
		w.do(request{method: http.MethodPost, target: "/api/token/revoke", by: "guest1"}).want(http.StatusOK)
	}
	w.issues("guest1", "").exhausted(t, "cluster.max_tokens", 10*time.Minute, `"guest1" has 20 tokens on record that have not expired, revoked ones among them: at most 20`)
}

// TestMaxCertificates: what a caller without root had is refused with what, how much and
// when. Other callers are served.
func TestMaxCertificates(t *testing.T) {
	w := newWorld(t)
	w.bound("cluster.max_certificates=3")
	body := asJSON(t, wire.SignRequest{CSR: csr(t, "a.clu.mycorp"), Validity: "24h"})
	for range 3 {
		w.sign("signer", body).want(http.StatusCreated)
	}
	for range 10 {
		w.sign("signer", body).exhausted(t, "cluster.max_certificates", time.Hour, `"signer" had 3 certificates issued within an hour`, "is 3 for callers without root")
	}
	w.sign("root", body).want(http.StatusCreated)
	w.sign("root", asJSON(t, wire.SignRequest{CSR: csr(t, "guest1"), Profile: "usr", Validity: "24h"})).want(http.StatusCreated)
	w.sign("guest1", asJSON(t, wire.SignRequest{CSR: csr(t, "guest1"), Profile: "usr", Validity: "24h"})).want(http.StatusCreated)
}

// TestValidityIsBounded: a validity beyond the bounds is 403 where it is asked for: in a
// request, in the keyword of an object that is there, and of one that is made.
func TestValidityIsBounded(t *testing.T) {
	w := newWorld(t)
	text := csr(t, "a.clu.mycorp")
	const most, least = "cluster.max_validity is 825d", "cluster.min_validity is 5m"
	w.sign("signer", asJSON(t, wire.SignRequest{CSR: text, Validity: "3y"})).refused(http.StatusForbidden, most)
	w.sign("signer", asJSON(t, wire.SignRequest{CSR: text, Validity: "20s"})).refused(http.StatusForbidden, least)
	w.sign("root", asJSON(t, wire.SignRequest{CSR: text, Validity: "3y"})).want(http.StatusCreated)
	set := func(by, value string) result {
		return w.do(request{method: http.MethodPatch, target: "/api/object/path/ns1/sec/web/config?set=validity%3D" + value, by: by})
	}
	set("admin1", "3y").refused(http.StatusForbidden, most)
	set("admin1", "20s").refused(http.StatusForbidden, least)
	set("admin1", "825d").want(http.StatusOK)
	set("root", "3y").want(http.StatusOK)
	w.do(request{method: http.MethodPatch, target: "/api/object/path/ns1/sec/web/config?set=comment%3Dx", by: "admin1"}).want(http.StatusOK)
	w.do(request{method: http.MethodPost, target: "/api/object/path/ns1/sec/new", by: "admin1", body: asJSON(t, wire.CreateRequest{Keywords: []string{"validity=20s"}})}).refused(http.StatusForbidden, least)

	own := func(by string) result {
		return w.do(request{method: http.MethodPatch, target: "/api/object/path/system/usr/guest1/config?set=max_validity%3D9y", by: by})
	}
	for _, by := range []string{"guest1", "adminsys", "admin1"} {
		own(by).want(http.StatusForbidden)
	}
	own("root").want(http.StatusOK)
}
