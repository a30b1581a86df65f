package faults

import (
	"bytes"
	"compress/gzip"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"omca/internal/client"
	"omca/internal/interop/lab"
	"omca/internal/wire"
)

// A fixture is what a build of lab.EarlierCommit left: testdata/e10a22b/README.md lists it.
type fixture struct {
	lab.Home // unpacked for this test alone
	made     time.Time
	pool     *x509.CertPool
}

// unpacked unpacks the fixture.
func unpacked(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{Home: lab.NewHome(t)}
	file, err := os.Open("testdata/e10a22b/home.tar.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	r, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := lab.Unpack(r, filepath.Dir(f.Dir)); err != nil {
		t.Fatal(err)
	}
	if f.made, err = time.Parse(time.RFC3339, strings.TrimSpace(string(f.read(t, "made")))); err != nil {
		t.Fatal(err)
	}
	f.pool = x509.NewCertPool()
	if !f.pool.AppendCertsFromPEM(f.read(t, "ca.pem")) {
		t.Fatal("ca.pem is no PEM")
	}
	return f
}

// read reads a file of the fixture.
func (f *fixture) read(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(filepath.Dir(f.Dir), name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// json decodes a file of the fixture.
func (f *fixture) json(t *testing.T, name string, into any) {
	t.Helper()
	if err := json.Unmarshal(f.read(t, name), into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// then returns a clock that began a minute after the fixture was made: its tokens live.
func (f *fixture) then() *clock {
	c := new(clock)
	c.set(time.Until(f.made.Add(time.Minute)))
	return c
}

// A bearer has a certificate of the fixture, in the file of that name in clients/.
type bearer struct {
	file   string
	user   string // that the certificate speaks for, when it is not called like the file
	in     bool   // it gets in
	reason string // of its revocation here; "" when there was none
	silent bool   // no list and no OCSP answer of ours speaks of it: the key of its CA is not here
	others bool   // another PKI issued it: it is not in the inventory
	later  bool   // it was issued after the backup was made
}

// bearers are all certificates of the fixture.
func bearers() []bearer {
	return []bearer{
		{file: "alice", in: true},
		{file: "bob", reason: "keyCompromise"},
		{file: "early"}, // its CA was replaced
		{file: "gone", reason: "keyCompromise"},
		{file: "frank", in: true},
		// Below a subordinate CA; below one whose object was deleted, and its key with it.
		{file: "vic", in: true},
		{file: "vera", reason: "privilegeWithdrawn"},
		{file: "lea", in: true, silent: true},
		{file: "leo", reason: "keyCompromise", silent: true},
		// Below a CA without a key identifier.
		{file: "nora", in: true},
		{file: "nick", reason: "keyCompromise"},

		{file: "carl", in: true, later: true},
		{file: "carl-before", reason: "superseded", later: true},
		{file: "dora", reason: "affiliationChanged", later: true},
		{file: "eve", reason: "cessationOfOperation", later: true}, // the user was deleted
		{file: "gus", later: true},                                 // the user is disabled
		{file: "signed-living", user: "alice", in: true, later: true},
		{file: "signed-revoked", reason: "unspecified", later: true},
		// Below a CA of a subordinate CA; below one that was revoked; below one that has another name and key now.
		{file: "wanda", in: true, later: true},
		{file: "wilma", reason: "cessationOfOperation", later: true},
		{file: "tara", later: true},
		{file: "mia", in: true, later: true},
		{file: "max", reason: "superseded", later: true},
		// Below two CAs with one key identifier.
		{file: "tina", in: true, later: true},
		{file: "tom", reason: "affiliationChanged", later: true},
		{file: "tess", in: true, later: true},
		// Of a CA whose key is elsewhere, and which publishes a list of its own.
		{file: "hugo", in: true, silent: true, others: true, later: true},
		{file: "hans", silent: true, others: true, later: true},
	}
}

// name returns the user that a certificate speaks for.
func (h bearer) name() string {
	if h.user != "" {
		return h.user
	}
	return h.file
}

// pair returns the certificate and the key of a bearer.
func (f *fixture) pair(t *testing.T, h bearer) *tls.Certificate {
	t.Helper()
	text := f.read(t, "clients/"+h.file+".pem")
	pair, err := tls.X509KeyPair(text, text)
	if err != nil {
		t.Fatalf("%s: %v", h.file, err)
	}
	return &pair
}

// issuer returns the CA of a bearer's certificate. Chains end with the CA; a chain of one
// certificate is that of the company, which has none here.
func (f *fixture) issuer(t *testing.T, h bearer) *x509.Certificate {
	t.Helper()
	chain := f.pair(t, h).Certificate
	if len(chain) < 2 {
		t.Fatalf("%s: a chain without the CA", h.file)
	}
	issuer, err := x509.ParseCertificate(chain[1])
	if err != nil {
		t.Fatal(err)
	}
	return issuer
}

// A site is an authority that serves the fixture, or what became of it.
type site struct {
	*fixture
	api     *client.Client // as root
	address string
	now     func() time.Time
	bearers []bearer
}

// http returns a client with connections of its own; it presents pair unless that is nil.
func (s *site) http(t *testing.T, pair *tls.Certificate) *http.Client {
	c := &tls.Config{RootCAs: s.pool, ServerName: "localhost", Time: s.now}
	if pair != nil {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair, nil }
	}
	transport := &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: lab.Patience}
}

// whoami returns the name of the caller as the authority knows it, or "refused".
func (s *site) whoami(t *testing.T, c *http.Client, edit func(*http.Request)) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+s.address+"/whoami", nil)
	if err != nil {
		t.Fatal(err)
	}
	if edit != nil {
		edit(r)
	}
	answer, err := c.Do(r)
	if errors.Is(err, syscall.ECONNREFUSED) || os.IsTimeout(err) {
		t.Fatal(err)
	}
	if err != nil {
		return "refused"
	}
	defer answer.Body.Close()
	switch answer.StatusCode {
	case http.StatusOK:
		var who struct{ Name string }
		if err := json.NewDecoder(answer.Body).Decode(&who); err != nil {
			t.Fatal(err)
		}
		return who.Name
	case http.StatusUnauthorized:
		return "refused"
	}
	t.Fatalf("/whoami: %s", answer.Status)
	return ""
}

// get returns what a public URL answers, and its status.
func (s *site) get(t *testing.T, path string) ([]byte, int) {
	t.Helper()
	answer, err := s.http(t, nil).Get("https://" + s.address + path)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return body, answer.StatusCode
}

// admits checks that each certificate gets in, for its user, or is refused.
func (s *site) admits(t *testing.T) {
	t.Helper()
	for _, h := range s.bearers {
		want := "refused"
		if h.in {
			want = h.name()
		}
		if got := s.whoami(t, s.http(t, s.pair(t, h)), nil); got != want {
			t.Errorf("%s: %s, expected %s", h.file, got, want)
		}
	}
}

// settles repeats a check until it finds nothing, for a while, and reports what it found last:
// lists are made in the background.
func settles(t *testing.T, check func() []string) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(10 * time.Second); ; {
		found := check()
		if len(found) == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			for _, text := range found {
				t.Error(text)
			}
			return
		}
	}
}

// lists checks the revocation lists: each is where it was, its number goes on, and it has what
// the CA revoked and nothing else. It returns the numbers.
func (s *site) lists(t *testing.T, above map[string]*x509.RevocationList) map[string]*x509.RevocationList {
	t.Helper()
	all := make(map[string]*x509.RevocationList)
	settles(t, func() (found []string) {
		for name, before := range above {
			der, status := s.get(t, "/crl/"+name)
			if status != http.StatusOK {
				found = append(found, fmt.Sprintf("%s: status %d", name, status))
				continue
			}
			list, err := x509.ParseRevocationList(der)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			all[name] = list
			found = append(found, s.follows(t, name, before, list)...)
		}
		return found
	})
	return all
}

// follows returns what is wrong with a list that follows another.
func (s *site) follows(t *testing.T, name string, before, list *x509.RevocationList) (found []string) {
	t.Helper()
	wrong := func(format string, args ...any) { found = append(found, name+": "+fmt.Sprintf(format, args...)) }
	has := map[string]x509.RevocationListEntry{}
	for _, e := range list.RevokedCertificateEntries {
		has[e.SerialNumber.Text(16)] = e
		if e.RevocationTime.After(list.ThisUpdate) {
			wrong("of %s, and %x was revoked at %s", list.ThisUpdate, e.SerialNumber, e.RevocationTime)
		}
	}
	switch d := list.Number.Cmp(before.Number); {
	case d < 0:
		wrong("number %d, and %d was published", list.Number, before.Number)
	case d == 0 && !bytes.Equal(list.RawTBSRevocationList, before.RawTBSRevocationList):
		wrong("number %d has two contents", list.Number)
	}
	others := map[string]bool{} // serial numbers that are of another CA's
	for _, h := range s.bearers {
		if h.silent {
			continue
		}
		serial, ours := s.pair(t, h).Leaf.SerialNumber.Text(16), list.CheckSignatureFrom(s.issuer(t, h)) == nil
		e, listed := has[serial]
		others[serial] = !ours
		switch {
		case ours && h.reason != "" && !listed:
			wrong("%s is not on it", h.file)
		case listed && (h.reason == "" || !ours):
			wrong("%s is on it", h.file)
		case listed && reasonName(e.ReasonCode) != h.reason:
			wrong("%s: reason %s, expected %s", h.file, reasonName(e.ReasonCode), h.reason)
		}
	}
	for _, e := range before.RevokedCertificateEntries {
		if serial := e.SerialNumber.Text(16); has[serial].SerialNumber == nil && !others[serial] {
			wrong("%s was on it, and is no more", serial)
		}
	}
	return found
}

// reasonName returns the name of a reason of RFC 5280, 5.3.1.
func reasonName(code int) string {
	names := []string{"unspecified", "keyCompromise", "cACompromise", "affiliationChanged", "superseded", "cessationOfOperation", 9: "privilegeWithdrawn", 10: "aACompromise"}
	if code < 0 || code >= len(names) {
		return ""
	}
	return names[code]
}

// published returns the lists that the earlier build published, by the names that last.
func (f *fixture) published(t *testing.T) map[string]*x509.RevocationList {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(filepath.Dir(f.Dir), "lists", "*.crl"))
	if err != nil || len(names) < 8 {
		t.Fatalf("%d lists: %v", len(names), err)
	}
	all := map[string]*x509.RevocationList{}
	for _, name := range names {
		list, err := x509.ParseRevocationList(f.read(t, filepath.Join("lists", filepath.Base(name))))
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(name)] = list
	}
	return all
}

// answers checks what OCSP answers about every certificate whose CA has its key here.
func (s *site) answers(t *testing.T) {
	t.Helper()
	c := s.http(t, nil)
	settles(t, func() (found []string) {
		for _, h := range s.bearers {
			if h.silent {
				continue
			}
			want := ocsp.Good
			if h.reason != "" {
				want = ocsp.Revoked
			}
			leaf, issuer := s.pair(t, h).Leaf, s.issuer(t, h)
			request, err := ocsp.CreateRequest(leaf, issuer, &ocsp.RequestOptions{Hash: crypto.SHA256})
			if err != nil {
				t.Fatal(err)
			}
			answer, err := c.Post("https://"+s.address+"/ocsp", "application/ocsp-request", bytes.NewReader(request))
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(answer.Body)
			if err := errors.Join(err, answer.Body.Close()); err != nil {
				t.Fatal(err)
			}
			parsed, err := ocsp.ParseResponseForCert(body, leaf, issuer)
			if err != nil {
				found = append(found, fmt.Sprintf("OCSP about %s: %v", h.file, err))
			} else if parsed.Status != want {
				found = append(found, fmt.Sprintf("OCSP about %s: status %d, expected %d", h.file, parsed.Status, want))
			}
		}
		return found
	})
}

// blocked checks that a key that was revoked as compromised gets no certificate.
func (s *site) blocked(t *testing.T) {
	t.Helper()
	for _, h := range s.bearers {
		if h.reason != "keyCompromise" {
			continue
		}
		pair := s.pair(t, h)
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
			Subject: pkix.Name{CommonName: "blocked.example.com"}, DNSNames: []string{"blocked.example.com"},
		}, pair.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		request := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
		var refused *client.Error
		if _, err := s.api.Sign(t.Context(), wire.SignRequest{CSR: string(request), Profile: "listener"}); !errors.As(err, &refused) || refused.Status >= http.StatusInternalServerError {
			t.Errorf("a request with the compromised key of %s: %v, expected that it is refused", h.file, err)
		} else if !strings.Contains(err.Error()+refused.Hint, "key") {
			t.Errorf("a request with the compromised key of %s: refused for another reason: %v", h.file, err)
		}
		if _, err := s.api.RenewCertificate(t.Context(), path(t, "system/usr/"+h.name()), wire.Renewal{}); err != nil {
			continue
		}
		state := s.state(t, "system/usr/"+h.name())
		if block, _ := pem.Decode([]byte(state.Certificate)); block == nil {
			t.Errorf("%s: no certificate", h.file)
		} else if cert, err := x509.ParseCertificate(block.Bytes); err != nil || publicKey(pair.Leaf).Equal(cert.PublicKey) {
			t.Errorf("the compromised key of %s has a certificate again (%v)", h.file, err)
		}
	}
}

// publicKey returns the key of a certificate.
func publicKey(cert *x509.Certificate) interface{ Equal(crypto.PublicKey) bool } {
	return cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
}

// state returns the certificate of an object as it stands.
func (s *site) state(t *testing.T, text string) wire.CertificateState {
	t.Helper()
	state, err := s.api.Certificate(t.Context(), path(t, text))
	if err != nil {
		t.Fatal(err)
	}
	return state
}

// known returns the bearers that a home has which was restored from the backup, and what has
// become of the others: not in the inventory, so refused.
func known() []bearer {
	all := bearers()
	for i := range all {
		if all[i].later {
			all[i].in, all[i].reason, all[i].silent = false, "", true
		}
	}
	return all
}

// lasting returns the lists of the CAs that a home has which was restored from the backup.
func lasting(all map[string]*x509.RevocationList, paths ...string) map[string]*x509.RevocationList {
	some := map[string]*x509.RevocationList{}
	for name, list := range all {
		if slices.ContainsFunc(paths, func(p string) bool { return strings.HasPrefix(name, p) }) {
			some[name] = list
		}
	}
	return some
}
