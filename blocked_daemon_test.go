package omca_test

import (
	"crypto"
	"crypto/tls"
	"net/http"
	"testing"
	"time"

	"omca"
	"omca/ca"
	"omca/pki"
)

// TestBlockedKeyOfAnotherPKI: a key that is revoked here as compromised ends the connections
// with a certificate that another PKI made for it, and begins none, also after a restart, and
// also where the compromise is found out later.
func TestBlockedKeyOfAnotherPKI(t *testing.T) {
	for name, reasons := range map[string][]string{"at once": {"keyCompromise"}, "found out later": {"superseded", "keyCompromise"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			home := t.TempDir() + "/home"
			r := runServer(t, omca.Config{Home: home})
			corp := newOtherPKI(t)
			local(t, r.Server, "POST", objectAt("system/sec/ca-corp"), map[string]any{})
			local(t, r.Server, "PATCH", objectAt("system/sec/ca-corp")+"/data", []map[string]string{
				{"action": "add", "name": ca.KeyChain, "string": string(pki.EncodeCertificates(corp.cert))}})
			local(t, r.Server, "PATCH", "/api/cluster/config?set=cluster.ca%3Dsystem/sec/ca-corp", nil)
			both := r.make(t, "system/usr/alice", "grant=guest:ns1")
			key, ok := both.PrivateKey.(crypto.Signer)
			if !ok {
				t.Fatal("no key")
			}
			cert := corp.sign(t, corp.issuer, "usr", "alice", key.Public())
			config := &tls.Config{RootCAs: r.pool, ServerName: "localhost", Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}}
			alice := &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
			t.Cleanup(alice.CloseIdleConnections)
			carol, _ := corp.client(t, r, "carol")
			local(t, r.Server, "POST", usersAt+"carol", map[string]any{"keywords": []string{"grant=guest:ns1"}})
			for user, c := range map[string]*http.Client{"alice": alice, "carol": carol} {
				if got := asks(c, r.address); got != http.StatusOK {
					t.Fatalf("%s, before: %d", user, got)
				}
			}
			open := streams(t, alice, r.address)
			for _, reason := range reasons {
				local(t, r.Server, "POST", objectAt("system/usr/alice")+"/certificate/revoke", map[string]string{"reason": reason})
			}
			within(t, 5*time.Second, "the end of the connection", open)
			for range 2 {
				alice.CloseIdleConnections()
				if got := asks(alice, r.address); got == http.StatusOK {
					t.Error("a blocked key is accepted")
				}
				if got := asks(carol, r.address); got != http.StatusOK {
					t.Errorf("carol: %d", got)
				}
				r.stop()
				r = runServer(t, omca.Config{Home: home})
			}
		})
	}
}
