package api

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"omca/ca"
	"omca/internal/object"
	"omca/internal/wire"
	"omca/pki"
	"omca/usr"
	"omca/usr/session"
	"omca/usr/token"
)

// speaker is what a user has that a revocation may end.
type speaker struct {
	token   token.Issued
	session string
}

func (w *world) speaker(user string) speaker {
	w.t.Helper()
	return speaker{token: w.aToken(user, token.Access), session: w.aSession(user)}
}

// alive reports how much of it there is: both, one, or nothing.
func (w *world) alive(s speaker) (what string) {
	w.t.Helper()
	if !w.objects.Revoked(s.token.ID) {
		what += "token "
	}
	switch _, err := w.objects.Session(w.t.Context(), s.session); {
	case err == nil:
		what += "session"
	case !errors.Is(err, session.ErrNone):
		w.t.Fatal(err)
	}
	return strings.TrimSpace(what)
}

const both = "token session"

// rootsToken is one of the machine's root.
func (w *world) rootsToken() token.Issued {
	w.t.Helper()
	root := usr.Caller{Name: "root", Method: usr.MethodSocket, Grants: usr.RootGrants()}
	return must(w.tokens.Issue(w.t.Context(), token.Request{Subject: "root", Use: token.Access, Grants: root.Grants, Socket: true, By: root}))(w.t)
}

// signed has a request signed, and returns the serial number.
func (w *world) signed(by string, r wire.SignRequest) string {
	w.t.Helper()
	return into[wire.Signed](w.sign(by, asJSON(w.t, r)).want(http.StatusCreated)).Serial
}

func (w *world) revokesFor(by, serial, reason string) result {
	w.t.Helper()
	return w.do(request{method: http.MethodPost, target: "/api/certificate/" + serial + "/revoke", by: by, body: `{"reason":"` + reason + `"}`})
}

// older puts a certificate of profile usr on record as build e10a22b did for root: for whatever owner was named, or for root.
func (w *world) older(user, owner string) string {
	w.t.Helper()
	return w.olderAt(user, owner, w.now)
}

// olderAt is older, at another time.
func (w *world) olderAt(user, owner string, issued time.Time) string {
	w.t.Helper()
	ctx := w.t.Context()
	at := must(object.ParsePath("system/sec/ca"))(w.t)
	key := must(pki.ParsePrivateKey(must(w.objects.Value(ctx, at, ca.KeyPrivate))(w.t), nil))(w.t)
	chain := must(pki.ParseCertificates(must(w.objects.Value(ctx, at, ca.KeyChain))(w.t)))(w.t)
	serial := must(rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)))(w.t)
	der := must(x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: user}, NotBefore: issued.Add(-time.Minute), NotAfter: issued.Add(24 * time.Hour),
		URIs: []*url.URL{{Scheme: "spiffe", Host: "clu", Path: "/usr/" + user}}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, chain[0], must(pki.GenerateKey("ec-p256"))(w.t).Public(), key))(w.t)
	r := ca.Record{Certificate: must(x509.ParseCertificate(der))(w.t), Issuer: "system/sec/ca", Owner: owner, Profile: ca.ProfileUser, By: "root", IssuedAt: issued}
	if err := w.objects.Commit(ctx, ca.Change{Records: []ca.Record{r}}); err != nil {
		w.t.Fatal(err)
	}
	return string(r.Serial())
}

func (w *world) state(serial string) string {
	w.t.Helper()
	r := into[wire.FullRecord](w.do(request{target: "/api/certificate/" + serial, by: "root"}).want(http.StatusOK))
	return strings.TrimSpace(r.State + " " + r.Reason)
}

// TestRevocationEndsWhatItSpeaksFor: a revocation ends the tokens and the sessions of the user that the certificate speaks for, also
// when another user had it signed, and of no other user.
func TestRevocationEndsWhatItSpeaksFor(t *testing.T) {
	for name, tt := range map[string]struct {
		serial func(w *world) string
		reason string
		guest  string // what is left to that user
	}{
		"signed by root":             {func(w *world) string { return w.signed("root", wire.SignRequest{CSR: csr(t, "guest"), Profile: "usr"}) }, "keyCompromise", ""},
		"signed by root, no reason":  {func(w *world) string { return w.signed("root", wire.SignRequest{CSR: csr(t, "guest"), Profile: "usr"}) }, "", ""},
		"signed by a user like root": {func(w *world) string { return w.signed("boss", wire.SignRequest{CSR: csr(t, "guest"), Profile: "usr"}) }, "keyCompromise", ""},
		"signed by the user": {func(w *world) string {
			return w.signed("guest", wire.SignRequest{CSR: csr(t, "guest"), Profile: "usr"})
		}, "privilegeWithdrawn", ""},
		"of an older build, for root": {func(w *world) string { return w.older("guest", "system/usr/root") }, "keyCompromise", ""},
		"of an older build, for boss": {func(w *world) string { return w.older("guest", "system/usr/boss") }, "keyCompromise", ""},
		"of an older build, no user":  {func(w *world) string { return w.older("guest", "ns1/sec/web") }, "keyCompromise", ""},
		"superseded":                  {func(w *world) string { return w.signed("root", wire.SignRequest{CSR: csr(t, "guest"), Profile: "usr"}) }, "superseded", both},
		"a server's, signed by root":  {func(w *world) string { return w.signed("root", wire.SignRequest{CSR: csr(t, "a.clu.mycorp")}) }, "keyCompromise", both},
		"a node's, of the same name": {func(w *world) string {
			return w.signed("root", wire.SignRequest{CSR: csr(t, "guest"), Profile: "node"})
		}, "keyCompromise", both},
		"of another user": {func(w *world) string {
			return w.signed("root", wire.SignRequest{CSR: csr(t, "none"), Profile: "usr"})
		}, "keyCompromise", both},
		"of one whose name goes on": {func(w *world) string {
			w.put("system/usr/guest.x")
			return w.signed("root", wire.SignRequest{CSR: csr(t, "guest.x"), Profile: "usr"})
		}, "keyCompromise", both},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			guest, boss, root := w.speaker("guest"), w.speaker("boss"), w.rootsToken()
			serial := tt.serial(w)
			if tt.reason == "" {
				w.do(request{method: http.MethodPost, target: "/api/certificate/" + serial + "/revoke", by: "root"}).want(http.StatusOK)
			} else {
				w.revokesFor("root", serial, tt.reason).want(http.StatusOK)
			}
			if got := w.alive(guest); got != tt.guest {
				t.Errorf("left to the user that it speaks for: %q, want %q", got, tt.guest)
			}
			if got := w.alive(boss); got != both {
				t.Errorf("left to another: %q, want %q", got, both)
			}
			if w.objects.Revoked(root.ID) {
				t.Error("the token of the machine's root has ended")
			}
		})
	}
}

// TestRevocationOfTheAdopted: the same for the certificate of a user that came from Flocker, which has no mark of ours.
func TestRevocationOfTheAdopted(t *testing.T) {
	w := newWorld(t)
	body := adoption(t, w.now.Add(-time.Hour), "alice")
	w.do(request{method: http.MethodPost, target: at + "system/sec/ca/import", by: "root", body: asJSON(t, body)}).want(http.StatusOK)
	alice, boss := w.speaker("boss"), w.speaker("boss")
	alice.session = w.aSession("alice")
	alice.token = must(w.tokens.Issue(t.Context(), token.Request{Subject: "alice", Use: token.Access}))(t)
	w.revokesFor("root", w.held("system/usr/alice"), "keyCompromise").want(http.StatusOK)
	if got := w.alive(alice); got != "" {
		t.Errorf("left to the user that it speaks for: %q", got)
	}
	if got := w.alive(boss); got != both {
		t.Errorf("left to another: %q", got)
	}
}

// TestUsersOwnWhatSpeaksForThem: the certificate of a user is on record for that user, also when root has it signed.
func TestUsersOwnWhatSpeaksForThem(t *testing.T) {
	w := newWorld(t)
	for _, owner := range []string{"", "system/usr/guest"} {
		serial := w.signed("root", wire.SignRequest{CSR: csr(t, "guest"), Profile: "usr", Owner: owner})
		if r := into[wire.FullRecord](w.do(request{target: "/api/certificate/" + serial, by: "guest"}).want(http.StatusOK)); r.Owner != "system/usr/guest" {
			t.Errorf("asked for %q: owned by %s", owner, r.Owner)
		}
		w.revokesFor("guest", serial, "superseded").want(http.StatusOK)
	}
	for _, tt := range []struct {
		by     string
		r      wire.SignRequest
		status int
		word   string
	}{
		{"root", wire.SignRequest{CSR: csr(t, "guest"), Profile: "usr", Owner: "system/usr/root"}, 400, `belongs to "system/usr/guest"`},
		{"boss", wire.SignRequest{CSR: csr(t, "guest"), Profile: "usr", Owner: "system/usr/boss"}, 400, `belongs to "system/usr/guest"`},
		{"root", wire.SignRequest{CSR: csr(t, "guest"), Profile: "usr", Owner: "ns1/sec/web"}, 400, `belongs to "system/usr/guest"`},
		{"root", wire.SignRequest{CSR: csr(t, "Alice Smith"), Profile: "usr"}, 400, "speaks for the user"},
		{"root", wire.SignRequest{CSR: csr(t, "../sec/ca"), Profile: "usr"}, 400, "speaks for the user"},
		{"guest", wire.SignRequest{CSR: csr(t, "guest"), Profile: "usr", Owner: "system/usr/boss"}, 403, "only root names another owner"},
		{"guest", wire.SignRequest{CSR: csr(t, "boss"), Profile: "usr"}, 403, "the request names user"},
	} {
		w.sign(tt.by, asJSON(t, tt.r)).refused(tt.status, tt.word)
	}
	if got := w.states("system/usr/guest"); got != "revoked superseded, revoked superseded" {
		t.Errorf("on record: %s", got)
	}
}

// TestDeletionEndsWhatSpeaksForTheUser: deleting a user revokes what speaks for it, also what an older build has on record for another
// owner, and not what speaks for another user.
func TestDeletionEndsWhatSpeaksForTheUser(t *testing.T) {
	w := newWorld(t)
	w.put("system/usr/guest.x", "grant=guest")
	const revoked = "revoked cessationOfOperation"
	serials := map[string]string{
		"signed by root":               w.signed("root", wire.SignRequest{CSR: csr(t, "guest"), Profile: "usr"}),
		"of an older build, for root":  w.older("guest", "system/usr/root"),
		"of an older build, for boss":  w.older("guest", "system/usr/boss"),
		"of a user whose name goes on": w.older("guest.x", "system/usr/guest"),
		"of boss, for guest":           w.older("boss", "system/usr/guest"),
		"of boss":                      w.signed("root", wire.SignRequest{CSR: csr(t, "boss"), Profile: "usr"}),
		"of a server, signed for root": w.signed("root", wire.SignRequest{CSR: csr(t, "a.clu.mycorp")}),
		"revoked before, older build":  w.older("guest", "system/usr/root"),
	}
	w.revokesFor("root", serials["revoked before, older build"], "superseded").want(http.StatusOK)
	expired := w.olderAt("guest", "system/usr/root", w.now.Add(-48*time.Hour)) // as a clock says that is ahead
	check := func(when string, want map[string]string) {
		t.Helper()
		for name, serial := range serials {
			wanted := "valid"
			if want[name] != "" {
				wanted = want[name]
			}
			if name == "revoked before, older build" {
				wanted = "revoked superseded" // which stays
			}
			if got := w.state(serial); got != wanted {
				t.Errorf("%s: %s is %q, want %q", when, name, got, wanted)
			}
		}
	}
	del := func(query string) {
		t.Helper()
		w.do(request{method: http.MethodPost, target: at + "system/usr/guest/action/delete" + query, by: "root"}).want(http.StatusOK)
	}
	del("?revoke=false")
	check("deleted, and told to leave it", nil)
	w.put("system/usr/guest", "grant=guest")
	del("")
	if got := w.state(expired); got != revoked {
		t.Errorf("one that has expired is %q, want %q", got, revoked)
	}
	ended := map[string]string{"signed by root": revoked, "of an older build, for root": revoked, "of an older build, for boss": revoked}
	check("deleted", ended)
	w.do(request{method: http.MethodPost, target: at + "system/usr/boss", by: "root", body: `{"force":true,"revoke":true}`}).want(http.StatusCreated)
	ended["of boss"], ended["of boss, for guest"] = "revoked superseded", "revoked superseded"
	check("boss made anew", ended)
}

// TestStraysAreTheirUsers: users see and take back what speaks for them, though an older build has it on record for another owner.
func TestStraysAreTheirUsers(t *testing.T) {
	w := newWorld(t)
	mine, bosses := w.older("guest1", "system/usr/root"), w.older("boss", "system/usr/root")
	w.do(request{target: "/api/certificate/" + mine, by: "guest1"}).want(http.StatusOK)
	w.do(request{target: "/api/certificate/" + bosses, by: "guest1"}).want(http.StatusNotFound)
	w.revokesFor("guest1", bosses, "keyCompromise").want(http.StatusNotFound)
	list := into[wire.CertificateList](w.do(request{target: "/api/certificate", by: "guest1"}).want(http.StatusOK))
	found := false
	for _, item := range list.Items {
		found = found || item.Serial == mine
		if item.Serial == bosses {
			t.Error("the certificate of boss is listed")
		}
	}
	if !found {
		t.Error("the user's own certificate is not listed")
	}
	w.revokesFor("guest1", mine, "keyCompromise").want(http.StatusOK)
	if got := w.state(mine) + ", " + w.state(bosses); got != "revoked keyCompromise, valid" {
		t.Error(got)
	}
}
