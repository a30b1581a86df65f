package ca_test

import (
	"errors"
	"strings"
	"testing"

	"omca/ca"
	"omca/crl"
	"omca/pki"
)

const neverAgain = "never certified again"

func isBlocked(err error) bool {
	return errors.Is(err, ca.ErrConflict) && strings.Contains(err.Error(), neverAgain)
}

func (w *world) isRevoked(serial pki.Serial) bool {
	w.t.Helper()
	revoked, err := w.Revoked(w.t.Context(), serial)
	if err != nil {
		w.t.Fatal(err)
	}
	return revoked
}

// again issues another certificate over the key that the object has.
func (w *world) again(path string) ca.Issued {
	w.t.Helper()
	issued, err := w.Create(w.t.Context(), caller(w.t, "root", "root"), path, ca.CreateOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return issued
}

// TestRevokeKey: a key serves every certificate over it. When it is compromised all of them are revoked, of any owner. For another reason
// the others stay.
func TestRevokeKey(t *testing.T) {
	w := bootstrapped(t)
	root := caller(t, "root", "root")
	w.create("system/usr/bob")
	bob := w.mustIssue("system/usr/bob").Certificate
	first := w.alice().Certificate
	second := w.again("system/usr/alice").Certificate
	if !pki.SameKey(first.PublicKey, second.PublicKey) {
		t.Fatal("another key")
	}
	request, err := w.SigningRequest(t.Context(), root, "system/usr/alice")
	if err != nil {
		t.Fatal(err)
	}
	signed, err := w.Sign(t.Context(), root, ca.SignRequest{CSR: request, Profile: "usr"})
	if err != nil {
		t.Fatal(err)
	}
	of, err := w.Record(t.Context(), pki.SerialOf(first))
	if err != nil {
		t.Fatal(err)
	}
	if others, err := w.RevokeKey(t.Context(), root, of, crl.Superseded); err != nil || len(others) != 0 {
		t.Errorf("superseded: %v, %v", others, err)
	}
	w.revoke(of.Serial(), crl.KeyCompromise)
	others, err := w.RevokeKey(t.Context(), root, of, crl.KeyCompromise)
	if err != nil || len(others) != 2 || !w.isRevoked(pki.SerialOf(second)) || !w.isRevoked(pki.SerialOf(signed.Certificate)) {
		t.Errorf("compromised: %d others, %v", len(others), err)
	}
	if w.isRevoked(pki.SerialOf(bob)) {
		t.Error("bob's certificate, over another key, is revoked")
	}
	if others, err := w.RevokeKey(t.Context(), root, of, crl.KeyCompromise); err != nil || len(others) != 0 {
		t.Errorf("again: %v, %v", others, err)
	}
}

// TestCompromiseFoundLater: the reason on the list stays, and the key is blocked all the same.
func TestCompromiseFoundLater(t *testing.T) {
	w := bootstrapped(t)
	alice := w.alice().Certificate
	w.revoke(pki.SerialOf(alice), crl.CessationOfOperation)
	again := w.again("system/usr/alice") // that reason leaves the key as it is
	if !pki.SameKey(again.Certificate.PublicKey, alice.PublicKey) {
		t.Fatal("another key")
	}
	for range 2 {
		r, err := w.Revoke(t.Context(), caller(t, "root", "root"), pki.SerialOf(alice), crl.KeyCompromise)
		if err != nil || r.Reason != crl.CessationOfOperation {
			t.Errorf("%+v, %v", r, err)
		}
		if _, err := w.SigningRequest(t.Context(), caller(t, "root", "root"), "system/usr/alice"); !isBlocked(err) {
			t.Errorf("a request over the key: %v", err)
		}
	}
}

// TestBlockedCASignsNoMore: a CA whose key is compromised signs nothing, with whichever certificate it has, and does not come back by its
// history. The CAs below it sign nothing either.
func TestBlockedCASignsNoMore(t *testing.T) {
	w := bootstrapped(t)
	root := caller(t, "root", "root")
	for path, issuer := range map[string]string{"system/sec/ca-sub": ca.PathCA, "system/sec/ca-low": "system/sec/ca-sub"} {
		w.create(path, "cn="+path, "ca="+issuer)
	}
	older := w.mustIssue("system/sec/ca-sub").Certificate
	w.again("system/sec/ca-sub")
	w.mustIssue("system/sec/ca-low")
	w.create("system/usr/alice", "ca=system/sec/ca-sub")
	w.create("system/usr/bob", "ca=system/sec/ca-low")
	w.mustIssue("system/usr/alice")
	w.revoke(pki.SerialOf(older), crl.CACompromise) // the newer certificate of the CA is not revoked
	before := len(w.records(ca.Query{}))
	for _, path := range []string{"system/usr/alice", "system/usr/bob", "system/sec/ca-low"} {
		if _, err := w.Create(t.Context(), root, path, ca.CreateOptions{}); !isBlocked(err) || !strings.Contains(err.Error(), "cannot sign") {
			t.Errorf("%s: %v", path, err)
		}
		if _, err := w.Preview(t.Context(), root, path, ca.CreateOptions{}); !isBlocked(err) {
			t.Errorf("%s, preview: %v", path, err)
		}
	}
	if n := len(w.records(ca.Query{})); n != before {
		t.Errorf("%d records after refusals, want %d", n, before)
	}
	if _, err := w.Create(t.Context(), root, "system/sec/ca-sub", ca.CreateOptions{Rekey: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Rollback(t.Context(), root, "system/sec/ca-sub", 0); !isBlocked(err) {
		t.Errorf("rolled back to the blocked key: %v", err)
	}
	w.mustIssue("system/usr/alice")
}

// TestTwinOfADestroyedCA: the key of a CA that two objects hold is not destroyed with one of
// them, whichever it is on record for.
func TestTwinOfADestroyedCA(t *testing.T) {
	for path, other := range map[string]string{"system/sec/ca-one": "system/sec/ca-two", "system/sec/ca-two": "system/sec/ca-one"} {
		w := bootstrapped(t)
		w.doubled()
		w.create("system/sec/ca-trusted") // which has no key
		if err := w.imports("system/sec/ca-trusted", value{ca.KeyChain, w.value("system/sec/ca-one", ca.KeyChain)}); err != nil {
			t.Fatal(err)
		}
		ids, err := w.DestroyableKeys(t.Context(), path)
		if err != nil || len(ids) != 1 {
			t.Fatalf("%s: %d keys go with it: %v", path, len(ids), err)
		}
		if err := w.MayDestroyKeys(t.Context(), path, ids); !errors.Is(err, ca.ErrConflict) || !strings.Contains(err.Error(), other) {
			t.Errorf("%s: %v", path, err)
		}
		w.remove(other)
		if err := w.MayDestroyKeys(t.Context(), path, ids); err != nil {
			t.Errorf("%s, the other object is gone: %v", path, err)
		}
	}
}
