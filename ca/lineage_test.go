package ca_test

import (
	"errors"
	"strings"
	"testing"

	"omca/ca"
	"omca/crl"
	"omca/pki"
)

// TestRevokedNotImported: the certificate of a CA that was revoked, whatever for, comes back
// by no import and no rollback; neither does one below it.
func TestRevokedNotImported(t *testing.T) {
	w := newWorld(t)
	w.bootstrap()
	root := caller(t, "root", "root")
	w.create("system/sec/ca-sub", "cn=Sub CA", "ca=system/sec/ca")
	sub := w.mustIssue("system/sec/ca-sub")
	w.create("system/sec/ca-below", "cn=Below CA", "ca=system/sec/ca-sub")
	w.mustIssue("system/sec/ca-below")
	subs := []value{{ca.KeyPrivate, w.value("system/sec/ca-sub", ca.KeyPrivate)}, {ca.KeyChain, w.value("system/sec/ca-sub", ca.KeyChain)}}
	lower := []value{{ca.KeyPrivate, w.value("system/sec/ca-below", ca.KeyPrivate)}, {ca.KeyChain, w.value("system/sec/ca-below", ca.KeyChain)}}
	w.create("system/sec/ca-before", "cn=Before CA", "ca=system/sec/ca")
	if err := w.imports("system/sec/ca-before", subs...); err != nil {
		t.Fatalf("before the revocation: %v", err)
	}
	if _, err := w.Create(t.Context(), root, "system/sec/ca-sub", ca.CreateOptions{Rekey: true}); err != nil {
		t.Fatal(err)
	}
	w.revoke(pki.SerialOf(sub.Certificate), crl.Superseded)
	refused := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, ca.ErrConflict) || !strings.Contains(err.Error(), "was revoked") {
			t.Errorf("%s: %v", what, err)
		}
	}
	refused("over the CA of the cluster", w.imports(ca.PathCA, subs...))
	refused("over the CA of the cluster, one below it", w.imports(ca.PathCA, lower...))
	w.create("system/sec/ca-trusted", "cn=Trusted CA")
	refused("without its key", w.imports("system/sec/ca-trusted", subs[1]))
	_, err := w.Rollback(t.Context(), root, "system/sec/ca-sub", 0)
	refused("a rollback", err)
}
