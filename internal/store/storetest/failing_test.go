package storetest

import (
	"errors"
	"testing"

	"omca/internal/store"
	"omca/internal/store/mem"
)

// TestFailing makes three commits through a store that fails at the second.
func TestFailing(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault Fault
		want  string // what is kept in the end
	}{
		{"fail before", FailBefore, "1 3"},
		{"fail after", FailAfter, "1 2 3"},
		{"die before", DieBefore, "1"},
		{"die after", DieAfter, "1 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, inner := t.Context(), mem.New()
			s := Failing(inner, 2, c.fault)
			commit(t, s, puts("1"))
			if s.Met() {
				t.Error("the fault is met before its step")
			}
			if _, err := s.Commit(ctx, puts("2")); !errors.Is(err, ErrFault) || !s.Met() {
				t.Errorf("the second commit: %v, met %t", err, s.Met())
			}
			dead := c.fault == DieBefore || c.fault == DieAfter
			_, committed := s.Commit(ctx, puts("3"))
			_, get := s.Get(ctx, "1")
			_, scanned := s.Scan(ctx, store.Range{})
			_, asked := s.Rev(ctx)
			var watch error
			for _, err := range s.Watch(ctx, "", 0) {
				watch = err
				break
			}
			for name, err := range map[string]error{"commit": committed, "get": get, "scan": scanned, "rev": asked, "watch": watch} {
				if errors.Is(err, ErrFault) != dead {
					t.Errorf("%s afterwards: %v", name, err)
				}
			}
			closeStore(t, s)
			if got := keys(scan(t, inner, store.Range{})); got != c.want {
				t.Errorf("kept %q, expected %q", got, c.want)
			}
		})
	}
}

// TestFailingKeepsContract runs the contract through a fault that is never met.
func TestFailingKeepsContract(t *testing.T) {
	Run(t, func(t *testing.T) store.Store { return undying{Failing(mem.New(), 1<<30, DieBefore)} })
}

// undying closes the inner store too, which Failing leaves open.
type undying struct{ *FailingStore }

func (s undying) Close() error { return s.inner.Close() }

// TestFailingConflict leaves a conflict what it is: nothing took effect.
func TestFailingConflict(t *testing.T) {
	s := Failing(mem.New(), 1, FailAfter)
	_, err := s.Commit(t.Context(), store.Tx{Expect: []store.Expect{{Key: "a", Rev: 1}}})
	if !errors.Is(err, store.ErrConflict) {
		t.Errorf("commit: %v, expected ErrConflict", err)
	}
}
