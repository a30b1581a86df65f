package ca_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"omca/ca"
	"omca/internal/object"
	"omca/pki"
	"omca/usr"
)

// tiersWorld has a root, a CA below it and one below that: top, mid and low, which are
// no CA of the cluster's.
func tiersWorld(t *testing.T) *world {
	t.Helper()
	w := bootstrapped(t)
	w.create("system/sec/ca-top", "cn=Top")
	w.create("system/sec/ca-mid", "cn=Mid", "ca=system/sec/ca-top")
	w.create("ns1/sec/low", "cn=Low", "profile=ca", "ca=system/sec/ca-mid")
	for _, path := range []string{"system/sec/ca-top", "system/sec/ca-mid", "ns1/sec/low"} {
		w.mustIssue(path)
	}
	return w
}

// remove deletes an object.
func (w *world) remove(path string) {
	w.t.Helper()
	p, err := object.ParsePath(path)
	if err == nil {
		err = w.objects.Delete(w.t.Context(), p)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// signs has each CA of tiersWorld sign for one name, and says which do.
func (w *world) signs(name string, cas ...string) string {
	w.t.Helper()
	var may []string
	for i, path := range cas {
		leaf := fmt.Sprintf("ns1/sec/leaf%d", i)
		w.create(leaf, "cn="+name, "ca="+path)
		root := caller(w.t, "root", "root")
		_, previewed := w.Preview(w.t.Context(), root, leaf, ca.CreateOptions{})
		_, err := w.Create(w.t.Context(), root, leaf, ca.CreateOptions{})
		if (previewed == nil) != (err == nil) {
			w.t.Errorf("%s by %s: the preview says %v, and then %v", name, path, previewed, err)
		}
		w.remove(leaf)
		if err == nil {
			may = append(may, path[strings.LastIndexAny(path, "/-")+1:])
		} else if !errors.Is(err, usr.ErrDenied) {
			w.t.Errorf("%s by %s: %v, want a denial", name, path, err)
		}
	}
	return strings.Join(may, " ")
}

// The keywords of a CA bind what is signed below it, at any depth, as they are when it
// is signed: the CAs below were there before.
func TestPoliciesOfTheChain(t *testing.T) {
	all := []string{"system/sec/ca-top", "system/sec/ca-mid", "ns1/sec/low"}
	for _, tt := range []struct{ path, keyword, name, want string }{
		{"", "", "www.bank.lan", "top mid low"},
		{"system/sec/ca-top", "deny_names=www.bank.lan", "www.bank.lan", ""},
		{"system/sec/ca-top", "deny_names=www.bank.lan", "www.shop.lan", "top mid low"},
		{"system/sec/ca-top", "allow_names=*.shop.lan", "www.bank.lan", ""},
		{"system/sec/ca-top", "allow_names=*.shop.lan", "www.shop.lan", "top mid low"},
		{"system/sec/ca-mid", "allow_names=*.shop.lan", "www.bank.lan", "top"},
		{"system/sec/ca-mid", "deny_names=*.bank.lan", "www.bank.lan", "top"},
		{"ns1/sec/low", "deny_names=*.bank.lan", "www.bank.lan", "top mid"},
	} {
		w := tiersWorld(t)
		if tt.path != "" {
			w.set(tt.path, tt.keyword)
		}
		if got := w.signs(tt.name, all...); got != tt.want {
			t.Errorf("%s with %s: %s is signed by %q, want %q", tt.path, tt.keyword, tt.name, got, tt.want)
		}
	}
}

// A change of the keywords counts at once, in both directions, also once answers are kept.
func TestPolicyAboveChanges(t *testing.T) {
	w := tiersWorld(t)
	const low = "ns1/sec/low"
	for i, tt := range []struct{ path, keyword, want string }{
		{"system/sec/ca-top", "deny_names=www.bank.lan", ""},
		{"system/sec/ca-top", "deny_names=www.other.lan", "low"},
		{"system/sec/ca-mid", "allow_names=*.shop.lan", ""},
		{"system/sec/ca-mid", "allow_names=*.bank.lan", "low"},
		{low, "deny_names=*.bank.lan", ""},
		{low, "deny_names=*.other.lan", "low"},
	} {
		w.set(tt.path, tt.keyword)
		if got := w.signs("www.bank.lan", low); got != tt.want {
			t.Errorf("step %d, %s with %s: signed by %q, want %q", i, tt.path, tt.keyword, got, tt.want)
		}
	}
	// The CA above has another key and another name by now. What its former key signed is below it all the same.
	w.set("system/sec/ca-top", "cn=Top 2")
	if _, err := w.Create(t.Context(), caller(t, "root", "root"), "system/sec/ca-top", ca.CreateOptions{Rekey: true}); err != nil {
		t.Fatal(err)
	}
	w.set("system/sec/ca-top", "deny_names=www.bank.lan")
	if got := w.signs("www.bank.lan", low); got != "" {
		t.Errorf("below a CA that was rekeyed: signed by %q", got)
	}
	// A CA that was deleted binds no other.
	w.remove("system/sec/ca-top")
	if got := w.signs("www.bank.lan", low); got != "low" {
		t.Errorf("below a CA that was deleted: signed by %q", got)
	}
}

// A CA that was brought here with its key is below one that is here too, whatever the
// keyword ca says, and although the chain that is kept ends before the root.
func TestPolicyAboveAnImportedCA(t *testing.T) {
	for _, tt := range []struct {
		name    string
		withKey bool // the root is here with its key, and not its certificate alone
	}{{"its certificate", false}, {"its key", true}} {
		other := bootstrapped(t)
		other.create("system/sec/ca-sub", "cn=Sub", "ca="+ca.PathCA)
		other.mustIssue("system/sec/ca-sub")
		w := bootstrapped(t)
		root := caller(t, "root", "root")
		bring := func(path, from, name string) {
			t.Helper()
			if _, err := w.Import(t.Context(), root, path, name, other.value(from, name)); err != nil {
				t.Fatal(err)
			}
		}
		w.create("system/sec/ca-company", "cn=Company")
		if tt.withKey {
			bring("system/sec/ca-company", ca.PathCA, ca.KeyPrivate)
		}
		bring("system/sec/ca-company", ca.PathCA, ca.KeyChain)
		w.create("ns1/sec/sub", "profile=ca")
		bring("ns1/sec/sub", "system/sec/ca-sub", ca.KeyPrivate)
		bring("ns1/sec/sub", "system/sec/ca-sub", ca.KeyChain)
		if chain := must(pki.ParseCertificates(w.value("ns1/sec/sub", ca.KeyChain)))(t); len(chain) != 1 {
			t.Fatalf("a chain of %d is kept, and the test is about one", len(chain))
		}
		if got := w.signs("www.bank.lan", "ns1/sec/sub"); got != "sub" {
			t.Errorf("%s: signed by %q", tt.name, got)
		}
		w.set("system/sec/ca-company", "deny_names=*.bank.lan")
		if got := w.signs("www.bank.lan", "ns1/sec/sub"); got != "" {
			t.Errorf("%s: denied above, and signed by %q", tt.name, got)
		}
	}
}

// The cluster's own CA may be below another one, and requests are signed by it.
func TestPolicyAboveTheClusterCA(t *testing.T) {
	w := newWorld(t)
	w.create("cluster", "cluster.name=testers")
	w.create("system/sec/ca-root", "cn=Company Root")
	w.mustIssue("system/sec/ca-root")
	w.create(ca.PathCA, "ca=system/sec/ca-root", "cn=Cluster CA")
	w.mustIssue(ca.PathCA)
	w.set("system/sec/ca-root", "deny_names=*.bank.lan")
	root := caller(t, "root", "root")
	for name, denied := range map[string]bool{"www.bank.lan": true, "www.shop.lan": false} {
		r := ca.SignRequest{CSR: csr(t, name), Profile: "listener"}
		_, signed := w.Sign(t.Context(), root, r)
		_, previewed := w.PreviewSign(t.Context(), root, r)
		for what, err := range map[string]error{"signed": signed, "preview": previewed, "asked": w.MaySign(t.Context(), root, "listener", []string{name})} {
			if errors.Is(err, usr.ErrDenied) != denied || !denied && err != nil {
				t.Errorf("%s, %s: %v", name, what, err)
			}
			if denied && !strings.Contains(err.Error(), "system/sec/ca-root") {
				t.Errorf("%s, %s: %v does not say which CA", name, what, err)
			}
		}
	}
	// An object that is no CA is read once when it has changed, and binds no CA.
	w.create("ns1/sec/plain", "cn=www.shop.lan")
	w.mustIssue("ns1/sec/plain")
	if _, err := w.Sign(t.Context(), root, ca.SignRequest{CSR: csr(t, "www.shop.lan"), Profile: "listener"}); err != nil {
		t.Error(err)
	}
	if leaf := w.mustIssue("ns1/sec/plain"); len(leaf.Chain) != 3 || leaf.Chain[0].CheckSignatureFrom(leaf.Chain[1]) != nil {
		t.Error("not signed by the CA of the cluster")
	}
}
