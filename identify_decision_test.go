package omca

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"omca/ca"
	"omca/internal/api"
	"omca/internal/object"
	"omca/internal/registry"
	"omca/pki"
	"omca/usr"
	"omca/usr/token"
)

func (f *front) path(text string) object.Path {
	f.Helper()
	p, err := object.ParsePath(text)
	if err != nil {
		f.Fatal(err)
	}
	return p
}

// chainOf is the certificate of an object and what is above it.
func (f *front) chainOf(path string) []*x509.Certificate {
	f.Helper()
	var chain []*x509.Certificate
	for _, p := range []string{path, "system/sec/ca"} {
		text, err := f.s.objects.Value(f.Context(), f.path(p), ca.KeyCertificate)
		if err != nil {
			f.Fatal(err)
		}
		certs, err := pki.ParseCertificates(text)
		if err != nil {
			f.Fatal(err)
		}
		chain = append(chain, certs[0])
	}
	return chain
}

// TestIdentityIsExpected: what is committed for a caller expects that what proved the name still does, although that
// is no object.
func TestIdentityIsExpected(t *testing.T) {
	const alice = userPath + "alice"
	for name, tt := range map[string]struct {
		by        func(*front, *http.Request)
		meanwhile func(*front)
	}{
		"certificate revoked": {byAlicesCertificate, func(f *front) { f.root("POST", alice+"/certificate/revoke", "") }},
		"user disabled":       {byAlicesCertificate, func(f *front) { f.root("PATCH", alice+"/config?set=disabled%3Dtrue", "") }},
		"token revoked":       {byAlicesToken, func(f *front) { f.root("POST", "/api/token/revoke?subject=alice", "") }},
		"token keys rotated":  {byAlicesToken, func(f *front) { f.root("POST", "/api/token/rotate-key?overlap=false", "") }},
		"session ended":       {byAlicesSession, func(f *front) { f.root("POST", "/api/session/revoke?user=alice", "") }},
		"password changed":    {byAlicesPassword, func(f *front) { f.root("PUT", alice+"/data/key?name=password", "another one") }},
		"address moved":       {byAlicesPassword, func(f *front) { f.root("PATCH", alice+"/config?set=allowed_ips%3D192.0.2.1", "") }},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFront(t)
			f.user("alice", "her own", "grant=admin:ns1")
			f.root("POST", "/api/object/path/ns1/cfg/target", "")
			p, tries := f.path("ns1/cfg/target"), 0
			r := httptest.NewRequest(http.MethodPut, "/x", http.NoBody)
			r.RemoteAddr = somewhere
			tt.by(f, r)
			connection := context.WithValue(t.Context(), memoKey{}, new(memo))
			if r.TLS != nil { // the certificate has spoken for its user before, and the connection remembers
				if _, err := f.s.identify(r.WithContext(connection)); err != nil {
					t.Fatal(err)
				}
			}
			err := f.s.objects.Decide(connection, func(ctx context.Context) error {
				if _, err := f.s.identify(r.WithContext(ctx)); err != nil {
					return err
				}
				if tries++; tries == 1 {
					tt.meanwhile(f)
				}
				return f.s.objects.Edit(ctx, p, []registry.Edit{{Action: registry.PutKey, Name: "color", Value: []byte("red")}})
			})
			if !errors.Is(err, usr.ErrUnauthenticated) || tries != 1 {
				t.Errorf("identified %d times, and then: %v", tries, err)
			}
			if o, err := f.s.objects.Get(t.Context(), p); err != nil || len(o.Keys) > 0 {
				t.Errorf("the caller wrote %v, %v", o.Keys, err)
			}
		})
	}
}

func byAlicesCertificate(f *front, r *http.Request) {
	r.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{f.chainOf("system/usr/alice")}}
}

func byAlicesToken(f *front, r *http.Request) {
	u, err := f.s.objects.User(f.Context(), "alice")
	if err != nil {
		f.Fatal(err)
	}
	issued, err := f.s.tokens.Issue(f.Context(), token.Request{Subject: "alice", Use: token.Access, Grants: u.Grants, By: rootCaller(usr.MethodSocket, "test")})
	if err != nil {
		f.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+issued.Token)
}

func byAlicesSession(f *front, r *http.Request) {
	w := f.call(f.Context(), somewhere, "POST", "/api/auth/login", `{"name":"alice","password":"her own"}`)
	f.want(w, http.StatusOK)
	r.Header.Set("Cookie", api.SessionCookie+"="+w.Result().Cookies()[0].Value)
}

func byAlicesPassword(_ *front, r *http.Request) { r.SetBasicAuth("alice", "her own") }

// atFirst calls a function when it is read for the first time.
type atFirst struct {
	io.Reader
	call func()
}

func (a *atFirst) Read(p []byte) (int, error) {
	if a.call != nil {
		a.call()
		a.call = nil
	}
	return a.Reader.Read(p)
}

// TestProvedOnce: a request that is decided twice proves its password once, and again when that is another one.
func TestProvedOnce(t *testing.T) {
	for name, tt := range map[string]struct {
		meanwhile func(*front)
		hashes    int64 // beside those of the change meanwhile
		want      int
	}{
		"nothing changed":  {func(*front) {}, 1, http.StatusNoContent},
		"the user changed": {func(f *front) { f.root("PATCH", userPath+"alice/config?set=comment%3Dy", "") }, 1, http.StatusNoContent},
		"another password": {func(f *front) { f.root("PUT", userPath+"alice/data/key?name=password", "another one") }, 3, http.StatusUnauthorized},
		"user made anew": {func(f *front) {
			f.root("POST", userPath+"alice/action/delete", "")
			f.user("alice", "her own", "grant=admin:ns1")
		}, 3, http.StatusNoContent},
		"user disabled": {func(f *front) { f.root("PATCH", userPath+"alice/config?set=disabled%3Dtrue", "") }, 1, http.StatusUnauthorized},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFront(t)
			f.user("alice", "her own", "grant=admin:ns1")
			f.root("POST", "/api/object/path/ns1/cfg/target", "")
			before := f.s.passwords.Derived()
			r := httptest.NewRequest(http.MethodPost, "/api/object/path/ns1/cfg/target/data/key?name=color", &atFirst{strings.NewReader("red"), func() { tt.meanwhile(f) }})
			r.RemoteAddr = somewhere
			r.Header.Set("Content-Type", "application/octet-stream")
			r.SetBasicAuth("alice", "her own")
			w := httptest.NewRecorder()
			f.s.handler.ServeHTTP(w, r)
			f.want(w, tt.want)
			if got := f.s.passwords.Derived() - before; got != tt.hashes {
				t.Errorf("%d hashes, want %d", got, tt.hashes)
			}
		})
	}
}
