package omca_test

import (
	"bytes"
	"crypto/x509"
	"io"
	"math/big"
	"net/http"
	"path/filepath"
	"testing"

	"filippo.io/age"
	"golang.org/x/crypto/ocsp"

	"omca"
	"omca/ca"
	"omca/pki"
)

// backedUp returns a backup of a server, decrypted.
func (r *running) backedUp(t *testing.T) []byte {
	t.Helper()
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	sealed := local(t, r.Server, "POST", "/api/backup", map[string]string{"recipient": identity.Recipient().String()})
	plain, err := age.Decrypt(bytes.NewReader(sealed), identity)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(plain)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// signed is a certificate and the CA that signed it.
type signed struct{ cert, issuer *x509.Certificate }

// laterCA makes the object of a CA at path, or another key of it when it is there, and a certificate below it.
func (r *running) laterCA(t *testing.T, path, owner string) signed {
	t.Helper()
	at := "/api/object/path/"
	if path == ca.PathCA {
		local(t, r.Server, "POST", at+path+"/certificate/renew", map[string]any{"rekey": true})
	} else {
		r.make(t, path)
	}
	pair := r.make(t, owner, "cn=lamp.demo.lan", "ca="+path)
	chain, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	issuers, err := pki.ParseCertificates(local(t, r.Server, "GET", at+path+"/data/key?name=certificate_chain", nil))
	if err != nil {
		t.Fatal(err)
	}
	return signed{chain, issuers[0]}
}

// list is the list of a CA that the object at path held; nil while it is not served.
func (r *running) list(t *testing.T, path string, issuer *x509.Certificate) *x509.RevocationList {
	t.Helper()
	status, der := try(t, r.Server, "GET", "/crl/"+ca.LastingName(path, issuer)+".crl", nil)
	if status != http.StatusOK {
		return nil
	}
	list, err := x509.ParseRevocationList(der)
	if err == nil {
		err = list.CheckSignatureFrom(issuer)
	}
	if err != nil {
		t.Fatalf("%s: no list of %s: %v", path, issuer.Subject, err)
	}
	return list
}

// status is what OCSP says of a certificate, -1 for nothing.
func (r *running) status(t *testing.T, s signed) int {
	t.Helper()
	request, err := ocsp.CreateRequest(s.cert, s.issuer, nil)
	if err != nil {
		t.Fatal(err)
	}
	post, err := http.NewRequestWithContext(t.Context(), "POST", "http://omca/ocsp", bytes.NewReader(request))
	if err != nil {
		t.Fatal(err)
	}
	post.Header.Set("Content-Type", "application/ocsp-request")
	answer, err := r.Transport().RoundTrip(post)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	der, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	said, err := ocsp.ParseResponseForCert(der, s.cert, s.issuer)
	if err != nil {
		return -1
	}
	return said.Status
}

// TestRestoreKeepsLists: the lists and the OCSP answers of CAs that got their key after the backup go on after a restore beside the old
// home: of a subordinate with a revoked certificate, of one whose certificate lives, and of the cluster's CA that was rekeyed. Nothing is
// signed with their keys but that. A backup of the restored home holds them too.
func TestRestoreKeepsLists(t *testing.T) {
	r := runServer(t, omca.Config{})
	backup := r.backedUp(t)
	const lab, quiet = "system/sec/ca-lab", "system/sec/ca-quiet"
	later := map[string]signed{
		lab:       r.laterCA(t, lab, "ns1/sec/lamp"),
		quiet:     r.laterCA(t, quiet, "ns1/sec/desk"),
		ca.PathCA: r.laterCA(t, ca.PathCA, "ns1/sec/door"),
	}
	numbers := make(map[string]*big.Int)
	for path, s := range later {
		if path != quiet {
			local(t, r.Server, "POST", "/api/certificate/"+string(pki.SerialOf(s.cert))+"/revoke", map[string]string{"reason": "superseded"})
		}
		until(t, "the list of "+path, func() bool {
			list := r.list(t, path, s.issuer)
			if list == nil || path != quiet && len(list.RevokedCertificateEntries) == 0 {
				return false
			}
			numbers[path] = list.Number
			return true
		})
	}
	r.stop()
	home := r.home
	for range 2 { // the second time from a backup of what was restored
		config := omca.RestoreConfig{Home: filepath.Join(t.TempDir(), "restored"), From: bytes.NewReader(backup), Replaces: home}
		done, err := omca.Restore(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range done.Authorities {
			if a.Lost != nil || a.Subject == "" {
				t.Errorf("the key of a later CA: %+v", a)
			}
		}
		after := runServer(t, omca.Config{Home: config.Home})
		for path, s := range later {
			after.goesOn(t, path, s, numbers, path != quiet)
		}
		if status, _ := try(t, after.Server, "GET", "/api/object/path/"+lab, nil); status != http.StatusNotFound {
			t.Errorf("the object of the later CA: %d", status)
		}
		backup = after.backedUp(t)
		after.stop()
		home = config.Home
	}
}

// goesOn checks that a CA has a list above the number that it had, and OCSP answers.
func (r *running) goesOn(t *testing.T, path string, s signed, numbers map[string]*big.Int, revoked bool) {
	t.Helper()
	want := map[bool]int{true: 1, false: 0}[revoked]
	until(t, "after the restore the list of "+path, func() bool {
		list := r.list(t, path, s.issuer)
		if list == nil || len(list.RevokedCertificateEntries) != want {
			return false
		}
		if revoked && list.RevokedCertificateEntries[0].SerialNumber.Cmp(s.cert.SerialNumber) != 0 {
			t.Errorf("on the list of %s: %s", path, list.RevokedCertificateEntries[0].SerialNumber)
		}
		if list.Number.Cmp(numbers[path]) <= 0 {
			t.Errorf("the list of %s has number %s, and had %s", path, list.Number, numbers[path])
		}
		numbers[path] = list.Number
		return true
	})
	// A certificate that is not in the inventory is unknown, as for every CA.
	if got, want := r.status(t, s), map[bool]int{true: ocsp.Revoked, false: ocsp.Unknown}[revoked]; got != want {
		t.Errorf("OCSP of a certificate of %s: status %d, want %d", path, got, want)
	}
}
