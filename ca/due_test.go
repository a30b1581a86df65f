package ca_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"omca/ca"
)

// looked is a store that counts the looks at objects.
type looked struct {
	ca.Store
	holders, lists atomic.Int64
}

func (s *looked) Holder(ctx context.Context, path string) (ca.Holder, error) {
	s.holders.Add(1)
	return s.Store.Holder(ctx, path)
}

func (s *looked) Holders(ctx context.Context) ([]string, error) {
	s.lists.Add(1)
	return s.Store.Holders(ctx)
}

// TestRenewDueLooksAtWhatChanged: beside many objects, a change of one costs a look at that one;
// one that is due is found; and a change of a CA has all looked at.
func TestRenewDueLooksAtWhatChanged(t *testing.T) {
	w := bootstrapped(t)
	for i := range 40 {
		path := fmt.Sprintf("ns1/sec/web%d", i)
		w.create(path, fmt.Sprintf("cn=web%d.example.com", i), fmt.Sprintf("validity=%dd", 30+i))
		w.mustIssue(path)
	}
	s := &looked{Store: w.objects}
	a := w.another(s)
	due := func() (next time.Time, holders, lists int64) {
		t.Helper()
		s.holders.Store(0)
		s.lists.Store(0)
		next, err := a.RenewDue(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return next, s.holders.Load(), s.lists.Load()
	}
	first, all, _ := due()
	if all < 40 {
		t.Fatalf("%d looks at first", all)
	}
	next, holders, lists := due()
	if holders > 1 || lists > 0 || !next.Equal(first) {
		t.Errorf("nothing changed: %d looks, %d lists, next %s, want %s", holders, lists, next, first)
	}
	w.set("ns1/sec/web3", "comment=x")
	if next, holders, lists := due(); holders > 2 || holders < 1 || lists > 0 || !next.Equal(first) {
		t.Errorf("one changed: %d looks, %d lists, next %s, want %s", holders, lists, next, first)
	}
	before := w.issuedTo("ns1/sec/web0")
	w.now = first
	next, holders, _ = due()
	if n := w.issuedTo("ns1/sec/web0"); n != before+1 || holders > 6 || !next.After(first) {
		t.Errorf("one is due: %d certificates, %d before; %d looks, next %s", n, before, holders, next)
	}
	w.remove("ns1/sec/web1")
	if _, holders, _ := due(); holders > 3 {
		t.Errorf("one was deleted: %d looks", holders)
	}
	w.set(ca.PathCA, "comment=x")
	if _, holders, lists := due(); holders < 39 || lists < 1 {
		t.Errorf("a CA changed: %d looks, %d lists", holders, lists)
	}
}
