package ca_test

import (
	"errors"
	"slices"
	"testing"

	"omca/ca"
	"omca/crl"
	"omca/pki"
)

// doubled is a CA that two objects hold, the second of which it was imported to.
func (w *world) doubled() {
	w.t.Helper()
	w.create("system/sec/ca-one", "cn=One")
	w.mustIssue("system/sec/ca-one")
	w.create("system/sec/ca-two", "cn=Two")
	if err := w.imports("system/sec/ca-two", value{ca.KeyPrivate, w.value("system/sec/ca-one", ca.KeyPrivate)}, value{ca.KeyChain, w.value("system/sec/ca-one", ca.KeyChain)}); err != nil {
		w.t.Fatal(err)
	}
}

// TestHeldByAnother: as long as any object holds a CA, it is no dormant one. It has its list
// under the name of each, and its key is destroyed with the last.
func TestHeldByAnother(t *testing.T) {
	w := bootstrapped(t)
	w.doubled()
	p := w.publishing()
	if one, two := w.list(p, "ca-one"), w.list(p, "ca-two"); one != two {
		t.Error("two objects that hold one CA, and two lists")
	}
	w.remove("system/sec/ca-two")
	w.publish(p)
	w.create("system/usr/alice", "ca=system/sec/ca-one")
	alice := pki.SerialOf(w.mustIssue("system/usr/alice").Certificate)
	w.revoke(alice, crl.KeyCompromise)
	w.publish(p)
	if list := w.list(p, "ca-one"); list.Entries != 1 {
		t.Errorf("%d entries on the list, want 1", list.Entries)
	}
	if all := p.All(); !slices.ContainsFunc(all, func(l ca.PublishedList) bool { return l.Path == "system/sec/ca-one" && l.Former == 0 }) {
		t.Errorf("not held by any object: %+v", all)
	}
	ids, err := w.DestroyableKeys(t.Context(), "system/sec/ca-one")
	if err != nil || len(ids) != 1 {
		t.Errorf("%d keys go with the object that holds the CA: %v", len(ids), err)
	}
}

// TestEndingsAfterAnImport: a dormant CA that an object holds again signs again. Its list
// goes on until what it signed then has expired.
func TestEndingsAfterAnImport(t *testing.T) {
	w := bootstrapped(t)
	w.create("system/sec/ca-one", "cn=One")
	w.mustIssue("system/sec/ca-one")
	key, chain := w.value("system/sec/ca-one", ca.KeyPrivate), w.value("system/sec/ca-one", ca.KeyChain)
	w.remove("system/sec/ca-one")
	p := w.publishing() // which finds that it has signed nothing
	w.create("system/sec/ca-two", "cn=Two")
	if err := w.imports("system/sec/ca-two", value{ca.KeyPrivate, key}, value{ca.KeyChain, chain}); err != nil {
		t.Fatal(err)
	}
	w.create("system/usr/alice", "ca=system/sec/ca-two")
	w.revoke(pki.SerialOf(w.mustIssue("system/usr/alice").Certificate), crl.KeyCompromise)
	w.remove("system/sec/ca-two")
	w.publish(p)
	if all := p.All(); !slices.ContainsFunc(all, func(l ca.PublishedList) bool { return l.Path == "system/sec/ca-two" && l.Entries == 1 }) {
		t.Errorf("no list for what it signed: %+v", all)
	}
}

// TestNameOfTwoLists: a name that two objects give to their lists is that of no list, and
// each has its lasting name.
func TestNameOfTwoLists(t *testing.T) {
	w := bootstrapped(t)
	for path, cn := range map[string]string{"ns1/sec/ca": "One", "system/sec/ns1.ca": "Two"} {
		w.create(path, "profile=ca", "cn="+cn)
		w.mustIssue(path)
	}
	p := w.publishing()
	if list, err := p.Current("ns1.ca"); !errors.Is(err, ca.ErrConflict) {
		t.Errorf("%+v, %v", list, err)
	}
	for _, l := range p.All() {
		if got := w.list(p, l.Name); got != l.Published {
			t.Errorf("%s is not the list of %s", l.Name, l.Path)
		}
	}
	w.remove("ns1/sec/ca")
	w.publish(p)
	if list := w.list(p, "ns1.ca"); list.Signer.Subject.CommonName != "Two" {
		t.Errorf("the list of %s", list.Signer.Subject)
	}
}
