package registry_test

import (
	"bytes"
	"testing"

	"omca/internal/store"
	"omca/internal/store/mem"
	"omca/internal/store/storetest"
)

func TestBlobs(t *testing.T) {
	db := mem.New()
	s := newStore(t, db, fileMaster(t))
	values := [][]byte{[]byte("small"), bytes.Repeat([]byte("0123456789abcdef"), 200_000), {}, []byte("small again")}
	for _, want := range values {
		if err := s.SaveBlob(t.Context(), "http://crl.mycorp/x", want); err != nil {
			t.Fatal(err)
		}
		if got, err := s.LoadBlob(t.Context(), "http://crl.mycorp/x"); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes: got %d, %v", len(want), len(got), err)
		}
	}
	if got, err := s.LoadBlob(t.Context(), "http://crl.mycorp/y"); err != nil || got != nil {
		t.Errorf("another name: %q, %v", got, err)
	}
	if err := s.SaveBlob(t.Context(), "http://crl.mycorp/x", nil); err != nil {
		t.Fatal(err)
	}
	page, err := db.Scan(t.Context(), store.Range{Prefix: "blob/"})
	if err != nil || len(page.Entries) != 0 {
		t.Errorf("%d keys are left of what was removed, %v", len(page.Entries), err)
	}
}

// A process that ends at any step leaves the old value or the new one.
func TestBlobsSurviveCrashes(t *testing.T) {
	old, fresh := []byte("old"), bytes.Repeat([]byte("n"), 3<<20)
	for n := 1; ; n++ {
		db, master := mem.New(), fileMaster(t)
		if err := newStore(t, db, master).SaveBlob(t.Context(), "x", old); err != nil {
			t.Fatal(err)
		}
		failing := storetest.Failing(db, n, storetest.DieAfter)
		saved := newStore(t, failing, master).SaveBlob(t.Context(), "x", fresh)
		got, err := newStore(t, db, master).LoadBlob(t.Context(), "x")
		if err != nil || !bytes.Equal(got, old) && !bytes.Equal(got, fresh) {
			t.Errorf("commit %d: %d bytes are left, %v", n, len(got), err)
		}
		if !failing.Met() {
			if saved != nil || n < 4 {
				t.Errorf("saving took %d commits: %v", n-1, saved)
			}
			return
		}
	}
}
