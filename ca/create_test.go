package ca_test

import (
	"strings"
	"testing"

	"omca/ca"
)

// A key that cannot be read is told, and never replaced by another one silently:
// neither by what makes a certificate nor by what asks elsewhere for one.
func TestUnreadableKeyStays(t *testing.T) {
	w := bootstrapped(t)
	root := caller(t, "root", "root")
	for _, bad := range []string{"no PEM at all", "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n"} {
		h := must(w.objects.Holder(t.Context(), ca.PathListener))(t)
		if err := w.objects.Commit(t.Context(), ca.Change{Path: h.Path, Revision: h.Revision, Put: map[string][]byte{ca.KeyPrivate: []byte(bad)}}); err != nil {
			t.Fatal(err)
		}
		w.Changed(ca.PathListener)
		_, err := w.Create(t.Context(), root, ca.PathListener, ca.CreateOptions{})
		if err == nil || !strings.Contains(err.Error(), "private_key") || strings.Contains(err.Error(), "AAAA") {
			t.Errorf("create with %q: %v", bad, err)
		}
		if _, err := w.SigningRequest(t.Context(), root, ca.PathListener); err == nil {
			t.Errorf("a signing request with %q", bad)
		}
		if got := string(w.value(ca.PathListener, ca.KeyPrivate)); got != bad {
			t.Errorf("the key is now %q", got)
		}
	}
}
