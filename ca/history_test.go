package ca_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"omca/ca"
)

// TestHistoryIsBounded: each replaced set is kept, and the oldest makes room whose
// certificates are over: the first signed that of the listener.
func TestHistoryIsBounded(t *testing.T) {
	w := bootstrapped(t)
	root := caller(t, "root", "root")
	for range 34 {
		if _, err := w.Create(t.Context(), root, ca.PathCA, ca.CreateOptions{Rekey: true}); err != nil {
			t.Fatal(err)
		}
	}
	all, err := w.History(t.Context(), ca.PathCA)
	if err != nil || len(all) != 32 || all[0].Number != 34 || all[30].Number != 4 || all[31].Number != 1 {
		t.Fatalf("%d sets, from %d to %d, %v; expected 32, from 34 to 4, and 1", len(all), all[0].Number, all[len(all)-1].Number, err)
	}
	want := map[int]int{1: 1}
	for _, f := range all {
		if !f.HasKey || f.ReplacedBy != "root" || !f.ReplacedAt.Equal(w.now) || f.Living != want[f.Number] {
			t.Errorf("set %d: %+v", f.Number, f)
		}
	}
	// A listener's former certificates are of no use to anybody.
	w.mustIssue(ca.PathListener)
	if _, err := w.History(t.Context(), ca.PathListener); !errors.Is(err, ca.ErrInvalid) {
		t.Errorf("history of a listener: %v, expected ErrInvalid", err)
	}
}

// TestRollbackChecks: a set that has expired is not put back, and one whose key
// is elsewhere takes the key of the other away.
func TestRollbackChecks(t *testing.T) {
	w, corp := bootstrapped(t), bootstrapped(t)
	root := caller(t, "root", "root")
	w.create("system/sec/ca-lab", "validity=1h")
	w.mustIssue("system/sec/ca-lab")
	w.set("system/sec/ca-lab", "validity=2y")
	w.mustIssue("system/sec/ca-lab")
	before := w.value("system/sec/ca-lab", ca.KeyChain)
	w.now = w.now.Add(2 * time.Hour)
	if _, err := w.Rollback(t.Context(), root, "system/sec/ca-lab", 1); !errors.Is(err, ca.ErrInvalid) || !strings.Contains(err.Error(), "expired") {
		t.Errorf("an expired set: %v, expected ErrInvalid", err)
	}
	if !bytes.Equal(before, w.value("system/sec/ca-lab", ca.KeyChain)) {
		t.Error("an expired set was put back")
	}

	w.create("system/sec/ca-corp")
	if _, err := w.Import(t.Context(), root, "system/sec/ca-corp", ca.KeyChain, corp.value(ca.PathCA, ca.KeyChain)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Create(t.Context(), root, "system/sec/ca-corp", ca.CreateOptions{ReplaceExternal: true}); err != nil {
		t.Fatal(err)
	}
	if h, err := w.objects.Holder(t.Context(), "system/sec/ca-corp"); err != nil || h.PrivateKey == nil {
		t.Fatalf("the CA that was made has no key: %v", err)
	}
	cert, err := w.Rollback(t.Context(), root, "system/sec/ca-corp", 0)
	if err != nil {
		t.Fatal(err)
	}
	h, err := w.objects.Holder(t.Context(), "system/sec/ca-corp")
	if err != nil || h.PrivateKey != nil || !bytes.Contains(corp.value(ca.PathCA, ca.KeyChain), h.Certificate) {
		t.Errorf("%s: %v; key left: %t", cert.Subject, err, h.PrivateKey != nil)
	}
}
