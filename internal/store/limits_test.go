package store_test

import (
	"errors"
	"strings"
	"testing"

	"omca/internal/store"
)

// FuzzCheckOverlap compares Check with the plain statement of the rule: no
// two operations may touch one key.
func FuzzCheckOverlap(f *testing.F) {
	f.Add("a,b", "c", "d/,e/")
	f.Add("a/b", "", "a/")
	f.Add("a/", "a/", "")
	f.Add("", "a0,a", "a/,a/b/")
	f.Add("a,a/c", "a!", "a/b/")
	f.Fuzz(func(t *testing.T, puts, deletes, prefixes string) {
		var tx store.Tx
		type touch struct {
			key    string
			prefix bool
		}
		var all []touch
		each := func(list string, prefix bool, add func(key string)) {
			for key := range strings.SplitSeq(list, ",") {
				if key != "" {
					add(key)
					all = append(all, touch{key, prefix})
				}
			}
		}
		each(puts, false, func(k string) { tx.Puts = append(tx.Puts, store.Put{Key: k}) })
		each(deletes, false, func(k string) { tx.Deletes = append(tx.Deletes, k) })
		each(prefixes, true, func(k string) { tx.DeletePrefixes = append(tx.DeletePrefixes, k) })

		want := false
		for i, a := range all {
			for j, b := range all {
				covers := a.key == b.key || a.prefix && strings.HasPrefix(b.key, a.key)
				want = want || i != j && covers
			}
		}
		err := tx.Check()
		if errors.Is(err, store.ErrTooLarge) {
			return
		}
		if errors.Is(err, store.ErrInvalid) != want {
			t.Errorf("%+v: %v, expected refused %t", tx, err, want)
		}
	})
}

func TestRangeStart(t *testing.T) {
	for _, c := range []struct {
		prefix, after, want string
	}{
		{"", "", ""},
		{"p/", "", "p/"},
		{"p/", "a", "p/"},
		{"p/", "p/a", "p/a\x00"},
		{"p/", "q", "q\x00"},
		{"", "a", "a\x00"},
	} {
		if got := (store.Range{Prefix: c.prefix, After: c.after}).Start(); got != c.want {
			t.Errorf("prefix %q after %q starts at %q, expected %q", c.prefix, c.after, got, c.want)
		}
	}
}

func TestExpectCheck(t *testing.T) {
	for _, c := range []struct {
		want, have int64
		err        string
	}{
		{0, 0, ""},
		{3, 3, ""},
		{0, 3, `changed meanwhile: "k" is at revision 3, expected absent`},
		{3, 0, `changed meanwhile: "k" is absent, expected at revision 3`},
		{3, 4, `changed meanwhile: "k" is at revision 4, expected at revision 3`},
	} {
		err := store.Expect{Key: "k", Rev: c.want}.Check(c.have)
		if (err == nil) != (c.err == "") || err != nil && (err.Error() != c.err || !errors.Is(err, store.ErrConflict)) {
			t.Errorf("expected %d, is %d: %v", c.want, c.have, err)
		}
	}
}
