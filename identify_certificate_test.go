package omca

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"omca/pki"
)

// verified is the chain of a user's certificate, as a handshake leaves it.
func (f *front) verified(user string) []*x509.Certificate {
	f.Helper()
	chain, err := pki.ParseCertificates(f.root("GET", userPath+user+"/data/key?name=certificate_chain", "").Body.Bytes())
	if err != nil {
		f.Fatal(err)
	}
	trusted, err := f.s.authority.Trust(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	return []*x509.Certificate{chain[0], trusted[0]}
}

// asks makes one request of a connection that came with the certificate.
func (f *front) asks(chain []*x509.Certificate) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", "/whoami", nil).WithContext(context.WithValue(f.Context(), memoKey{}, new(memo)))
	r.TLS = &tls.ConnectionState{PeerCertificates: chain[:1], VerifiedChains: [][]*x509.Certificate{chain}}
	w := httptest.NewRecorder()
	f.s.handler.ServeHTTP(w, r)
	return w
}

// TestRevokedOnAnOpenConnection: a connection that is about to be closed makes no request any more.
func TestRevokedOnAnOpenConnection(t *testing.T) {
	f := newFront(t)
	f.user("alice", "", "grant=root")
	chain := f.verified("alice")
	f.want(f.asks(chain), http.StatusOK)
	f.root("POST", userPath+"alice/certificate/revoke", "{}")
	f.want(f.asks(chain), http.StatusUnauthorized)
}

// TestCertificateOfAnEarlierUser: a user of the same name who was made later is
// somebody else, also to a certificate that was not taken back.
func TestCertificateOfAnEarlierUser(t *testing.T) {
	f := newFront(t)
	f.user("alice", "", "grant=root")
	chain := f.verified("alice")
	f.want(f.asks(chain), http.StatusOK)
	f.root("POST", userPath+"alice/action/delete?revoke=false", "")
	f.clock.Add(int64(time.Second))
	f.user("alice", "", "grant=guest:ns1")
	f.want(f.asks(f.verified("alice")), http.StatusOK)
	f.want(f.asks(chain), http.StatusUnauthorized)
}
