package omca_test

import (
	"crypto/tls"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"omca"
	"omca/internal/store/etcd/etcdtest"
	"omca/internal/wire"
	"omca/pki"
)

// signedFor has root sign a certificate for a user over a key that is elsewhere.
func (r *running) signedFor(t testing.TB, user string) (*tls.Certificate, string) {
	t.Helper()
	key, err := pki.GenerateKey(pki.ECP256)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := pki.CreateSigningRequest(key, pki.Subject{CommonName: user}, pki.Names{})
	if err != nil {
		t.Fatal(err)
	}
	var signed wire.Signed
	if err := json.Unmarshal(local(t, r.Server, "POST", "/api/certificate", map[string]string{"csr": string(csr), "profile": "usr"}), &signed); err != nil {
		t.Fatal(err)
	}
	secret, err := pki.EncodePrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair([]byte(signed.CertificateChain), secret)
	if err != nil {
		t.Fatal(err)
	}
	return &pair, signed.Serial
}

// token gets a token for a day, for the user of the browser.
func (b *browser) token(query string) string {
	b.t.Helper()
	status, text := b.do("POST", "/api/auth/token?access_duration=24h"+query, "", "")
	var pair wire.TokenPair
	if err := json.Unmarshal([]byte(text), &pair); err != nil || status != http.StatusOK {
		b.t.Fatalf("a token: %d %s", status, text)
	}
	return pair.AccessToken
}

// by calls whoami with a token, and reports whether that opens the door.
func (r *running) by(t testing.TB, compact string) bool {
	t.Helper()
	status, text := r.browser(t, nil).do("GET", "/whoami", "", "", "Authorization", "Bearer "+compact)
	if status != http.StatusOK && status != http.StatusUnauthorized {
		t.Fatalf("whoami by token: %d %s", status, text)
	}
	return status == http.StatusOK
}

// cookie is a browser on a node, with the cookie of another browser.
func (r *running) cookie(t testing.TB, of *browser) *browser {
	t.Helper()
	b := r.browser(t, nil)
	b.cookie = of.cookie
	return b
}

// inside reports whether the session of a browser opens the door.
func (b *browser) inside() bool {
	b.t.Helper()
	status, text := b.do("GET", "/whoami", "", "")
	if status != http.StatusOK && status != http.StatusUnauthorized {
		b.t.Fatalf("whoami by session: %d %s", status, text)
	}
	return status == http.StatusOK
}

// TestRevokedSpeaker: a certificate that root had signed for a user is revoked. All that the user has ends, by whichever way it began,
// and nothing of root's, of another user's, or of what is not the user's own. A successor ends the session that began with the former
// certificate, and nothing else.
func TestRevokedSpeaker(t *testing.T) {
	for reason, ends := range map[string]bool{"keyCompromise": true, "unspecified": true, "superseded": false} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			r := runServer(t, omca.Config{})
			const password = "correct horse battery"
			r.withPassword(t, "tk", "guest:ns1", password)
			r.withPassword(t, "bob", "guest:ns1", password)
			pair, serial := r.signedFor(t, "tk")
			mine := r.browser(t, pair)
			tokens := map[string]string{
				"tk's, by the certificate": mine.token(""), "bob's": r.browser(t, r.pair(t, "bob", "guest:ns1")).token(""), "root's": rootsToken(t, r),
			}
			if status, text := mine.do("POST", "/api/auth/login", "", ""); status != http.StatusOK {
				t.Fatalf("login: %d %s", status, text)
			}
			byPassword, bobs := r.browser(t, nil), r.browser(t, nil)
			byPassword.login("tk", password)
			bobs.login("bob", password)
			tokens["tk's, by password"] = byPassword.token("")
			sessions := map[string]*browser{"tk's, by the certificate": r.cookie(t, mine), "tk's, by password": byPassword, "bob's": bobs}
			check := func(when string, gone func(name string) (token, session bool)) {
				t.Helper()
				for name, compact := range tokens {
					if want, _ := gone(name); r.by(t, compact) == want {
						t.Errorf("%s: the token of %s is good: %v", when, name, want)
					}
				}
				for name, b := range sessions {
					if _, want := gone(name); b.inside() == want {
						t.Errorf("%s: the session of %s goes on: %v", when, name, want)
					}
				}
			}
			check("before", func(string) (token, session bool) { return false, false })
			local(t, r.Server, "POST", "/api/certificate/"+serial+"/revoke", map[string]string{"reason": reason})
			check("revoked for "+reason, func(name string) (token, session bool) {
				all := ends && strings.HasPrefix(name, "tk")
				return all, all || name == "tk's, by the certificate"
			})
			byPassword.cookie = ""
			byPassword.login("tk", password) // the user is no worse off than that
			byPassword.in("logged in again", true)
		})
	}
}

func rootsToken(t testing.TB, r *running) string {
	t.Helper()
	var pair wire.TokenPair
	if err := json.Unmarshal(local(t, r.Server, "POST", "/api/auth/token?access_duration=24h", nil), &pair); err != nil {
		t.Fatal(err)
	}
	return pair.AccessToken
}

// TestDeletedSpeaker: with a user goes what root had signed for it, so that no successor of the name can be called by it, and a list
// tells others.
func TestDeletedSpeaker(t *testing.T) {
	r := runServer(t, omca.Config{})
	r.withPassword(t, "tk", "guest:ns1", "correct horse battery")
	pair, serial := r.signedFor(t, "tk")
	if !r.browser(t, pair).inside() {
		t.Fatal("the certificate does not open the door")
	}
	local(t, r.Server, "POST", usersAt+"tk/action/delete", nil)
	var record wire.FullRecord
	if err := json.Unmarshal(local(t, r.Server, "GET", "/api/certificate/"+serial, nil), &record); err != nil {
		t.Fatal(err)
	}
	if record.State != "revoked" || record.Owner != "system/usr/tk" {
		t.Errorf("with the user deleted its certificate is %s, owned by %s", record.State, record.Owner)
	}
	r.withPassword(t, "tk", "root", "correct horse battery")
	if status, text := r.browser(t, pair).do("GET", "/whoami", "", ""); status == http.StatusOK {
		t.Errorf("the certificate of the former user: %d %s", status, text)
	}
}

// TestRevokedSpeakerOnEveryNode: what was made on one node with a certificate of another ends on all, when a third revokes it; and a
// token that one node has just issued opens the door of every other at once.
func TestRevokedSpeakerOnEveryNode(t *testing.T) {
	nodes := runNodes(t, 3, storeURL(etcdtest.Start(t, 1, nil), "omca"))
	one, two, three := nodes[0], nodes[1], nodes[2]
	local(t, one.Server, "POST", usersAt+"tk", map[string]any{"keywords": []string{"grant=guest:ns1"}})
	pair, serial := one.signedFor(t, "tk")
	mine := two.browser(t, pair)
	eventually(t, "the user on another node", mine.inside)
	for range 20 {
		compact := mine.token("")
		for _, n := range nodes {
			if !n.by(t, compact) {
				t.Fatal("a token that another node has just issued is refused")
			}
		}
	}
	compact := mine.token("")
	if status, text := mine.do("POST", "/api/auth/login", "", ""); status != http.StatusOK {
		t.Fatalf("login: %d %s", status, text)
	}
	for _, n := range nodes {
		eventually(t, "the session on every node", n.cookie(t, mine).inside)
	}
	local(t, three.Server, "POST", "/api/certificate/"+serial+"/revoke", map[string]string{"reason": "keyCompromise"})
	for _, n := range nodes {
		eventually(t, "the end of the token on every node", func() bool { return !n.by(t, compact) })
		eventually(t, "the end of the session on every node", func() bool { return !n.cookie(t, mine).inside() })
	}
}

// TestExternalListEndsSessions: a session that began with a certificate of another PKI ends when the list of that PKI names the
// certificate. That of another user of the PKI goes on.
func TestExternalListEndsSessions(t *testing.T) {
	r := runServer(t, omca.Config{})
	other := newOtherPKI(t)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(*other.list.Load()) // who asked sees when it is cut off
	}))
	defer web.Close()
	local(t, r.Server, "POST", "/api/object/path/system/sec/ca-external", map[string]any{})
	local(t, r.Server, "PATCH", "/api/object/path/system/sec/ca-external/data", []map[string]string{{
		"action": "add", "name": "certificate_chain", "string": string(pki.EncodeCertificates(other.cert)),
	}})
	local(t, r.Server, "PATCH", "/api/cluster/config?set=cluster.ca%3Dsystem/sec/ca-external&set=cluster.crl%3D"+web.URL, nil)
	refreshed := func() bool {
		status, _ := try(t, r.Server, "POST", "/api/crl/refresh", map[string]string{"source": web.URL})
		return status == http.StatusNoContent
	}
	until(t, "the list came", refreshed)
	carol, cert := other.client(t, r, "carol")
	dave, _ := other.client(t, r, "dave")
	sessions := map[string]*browser{}
	for name, c := range map[string]*http.Client{"carol": carol, "dave": dave} {
		local(t, r.Server, "POST", usersAt+name, map[string]any{"keywords": []string{"grant=guest:ns1"}})
		b := r.browser(t, nil)
		b.client = c
		if status, text := b.do("POST", "/api/auth/login", "", ""); status != http.StatusOK {
			t.Fatalf("login of %s: %d %s", name, status, text)
		}
		sessions[name] = r.cookie(t, b)
		if !sessions[name].inside() {
			t.Fatalf("the session of %s", name)
		}
	}
	other.publish(t, cert)
	if !refreshed() {
		t.Fatal("the next list did not come")
	}
	for name, want := range map[string]bool{"carol": false, "dave": true} {
		if sessions[name].inside() != want {
			t.Errorf("the session of %s goes on: %v, want %v", name, !want, want)
		}
	}
}
