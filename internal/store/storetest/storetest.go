package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"omca/internal/store"
)

// Run checks that the stores which open returns keep the contract. Each call
// of open must return an empty store, closed by the test or by t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	for _, c := range []struct {
		name string
		test func(*testing.T, store.Store)
	}{
		{"get", testGet},
		{"values are copies", testCopies},
		{"scan", testScan},
		{"scan pages", testScanPages},
		{"scan big values", testScanBig},
		{"expectations", testExpect},
		{"conflict leaves nothing", testConflict},
		{"revisions", testRevisions},
		{"delete", testDelete},
		{"delete prefix", testDeletePrefix},
		{"limits", testLimits},
		{"invalid", testInvalid},
		{"big values", testBigValues},
		{"cancelled", testCancelled},
		{"concurrent commits", testConcurrent},
		{"compare and swap", testCompareAndSwap},
		{"reads are whole", testWholeReads},
		{"watch", testWatch},
		{"watch resumes", testWatchResumes},
		{"watch waits", testWatchWaits},
		{"watch ends", testWatchEnds},
		{"slow watch", testSlowWatch},
		{"scan then watch", testScanThenWatch},
		{"closed", testClosed},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

// Durable checks what must survive Close. open opens the store kept in dir,
// and creates it the first time.
func Durable(t *testing.T, open func(t *testing.T, dir string) store.Store) {
	t.Run("reopen", func(t *testing.T) {
		ctx, dir := t.Context(), t.TempDir()
		s := open(t, dir)
		commit(t, s, store.Tx{Puts: []store.Put{{Key: "kept", Value: []byte("1")}, {Key: "gone"}}})
		rev := commit(t, s, store.Tx{Deletes: []string{"gone"}})
		before := scan(t, s, store.Range{})
		closeStore(t, s)

		s = open(t, dir)
		if diff := cmp.Diff(before, scan(t, s, store.Range{})); diff != "" {
			t.Errorf("after reopening (-before +after):\n%s", diff)
		}
		if now := current(t, s); now < rev {
			t.Errorf("revision %d after reopening, %d before", now, rev)
		}
		// What was seen before can be continued, or the watcher is told.
		next := commit(t, s, store.Tx{Puts: []store.Put{{Key: "new"}}})
		if next <= rev {
			t.Errorf("revision %d after reopening is not greater than %d", next, rev)
		}
		for c, err := range s.Watch(ctx, "", rev) {
			if err != nil && !errors.Is(err, store.ErrCompacted) {
				t.Errorf("watch after reopening: %v", err)
			}
			if err == nil && c.Rev != next {
				t.Errorf("watch after reopening: revision %d, expected %d", c.Rev, next)
			}
			break
		}
		closeStore(t, s)
	})
}

func testGet(t *testing.T, s store.Store) {
	if _, err := s.Get(t.Context(), "a"); !errors.Is(err, store.ErrNotFound) || !strings.Contains(err.Error(), `"a"`) {
		t.Errorf("get of an absent key: %v, expected ErrNotFound and the key", err)
	}
	rev := commit(t, s, store.Tx{Puts: []store.Put{{Key: "a", Value: []byte("1")}, {Key: "nil"}, {Key: "\x00\xff", Value: []byte{0}}}})
	for key, value := range map[string]string{"a": "1", "nil": "", "\x00\xff": "\x00"} {
		e, err := s.Get(t.Context(), key)
		if err != nil || e.Key != key || string(e.Value) != value || e.Value == nil || e.Rev != rev {
			t.Errorf("get %q: %+v, %v, expected %q at %d", key, e, err, value, rev)
		}
	}
	later := commit(t, s, store.Tx{Puts: []store.Put{{Key: "a", Value: []byte("2")}}})
	if e, err := s.Get(t.Context(), "a"); err != nil || string(e.Value) != "2" || e.Rev != later {
		t.Errorf("get after a second put: %+v, %v", e, err)
	}
	if e, err := s.Get(t.Context(), "nil"); err != nil || e.Rev != rev {
		t.Errorf("a commit changed the revision of a key that it did not touch: %+v, %v", e, err)
	}
}

func testCopies(t *testing.T, s store.Store) {
	rev := current(t, s)
	value := []byte("1")
	commit(t, s, store.Tx{Puts: []store.Put{{Key: "a", Value: value}}})
	value[0] = 'x'
	want := func(when string) {
		t.Helper()
		if e, err := s.Get(t.Context(), "a"); err != nil || string(e.Value) != "1" {
			t.Errorf("after writing to %s: %q, %v", when, e.Value, err)
		}
	}
	want("the value put")
	e, err := s.Get(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	e.Value[0] = 'x'
	want("the value got")
	scan(t, s, store.Range{})[0].Value[0] = 'x'
	want("the value scanned")
	for range 2 {
		c := watched(t, s, "", rev, 1)[0]
		if string(c.Events[0].Value) != "1" {
			t.Errorf("after writing to the value watched: %q", c.Events[0].Value)
		}
		c.Events[0].Value[0] = 'x'
	}
	want("the value watched")
}

func testScan(t *testing.T, s store.Store) {
	commit(t, s, puts("b/2", "a", "b/1", "b", "c", "b/", "b0", "b/1/x"))
	for _, c := range []struct {
		r    store.Range
		want string
		more bool
	}{
		{store.Range{}, "a b b/ b/1 b/1/x b/2 b0 c", false},
		{store.Range{Prefix: "b/"}, "b/ b/1 b/1/x b/2", false},
		{store.Range{Prefix: "b/", After: "b/1"}, "b/1/x b/2", false},
		{store.Range{Prefix: "b/", After: "b/1", Limit: 1}, "b/1/x", true},
		{store.Range{Prefix: "b/", Limit: 4}, "b/ b/1 b/1/x b/2", false},
		{store.Range{Prefix: "b/", Limit: 3}, "b/ b/1 b/1/x", true},
		{store.Range{Prefix: "b/", After: "a"}, "b/ b/1 b/1/x b/2", false},
		{store.Range{Prefix: "b/", After: "b/2"}, "", false},
		{store.Range{Prefix: "b/", After: "c"}, "", false},
		{store.Range{Prefix: "d"}, "", false},
		{store.Range{After: "b0", Limit: 9}, "c", false},
	} {
		page, err := s.Scan(t.Context(), c.r)
		if err != nil || keys(page.Entries) != c.want || page.More != c.more || page.Rev != current(t, s) {
			t.Errorf("%+v: %q, more %t, revision %d, %v, expected %q, %t", c.r, keys(page.Entries), page.More, page.Rev, err, c.want, c.more)
		}
	}
}

func testScanPages(t *testing.T, s store.Store) {
	const n = store.PageLimit + 17
	var want []string
	for len(want) < n {
		var tx store.Tx
		for len(tx.Puts) < store.MaxOps && len(want) < n {
			key := fmt.Sprintf("p/%05d", len(want))
			want = append(want, key)
			tx.Puts = append(tx.Puts, store.Put{Key: key, Value: []byte(key)})
		}
		commit(t, s, tx)
	}
	first, err := s.Scan(t.Context(), store.Range{Prefix: "p/"})
	if err != nil || len(first.Entries) != store.PageLimit || !first.More {
		t.Errorf("a page without a limit has %d entries, more %t, %v", len(first.Entries), first.More, err)
	}
	for _, limit := range []int{0, 100, 333, n} {
		if got := keys(scan(t, s, store.Range{Prefix: "p/", Limit: limit})); got != strings.Join(want, " ") {
			t.Errorf("pages of %d give %d keys, expected %d", limit, len(strings.Fields(got)), n)
		}
	}
}

func testScanBig(t *testing.T, s store.Store) {
	big := bytes.Repeat([]byte("x"), store.MaxValue)
	want := make([]string, 8)
	for i := range want {
		want[i] = fmt.Sprint(i)
		commit(t, s, store.Tx{Puts: []store.Put{{Key: want[i], Value: big}}})
	}
	if got := keys(scan(t, s, store.Range{})); got != strings.Join(want, " ") {
		t.Errorf("pages of big values give %q", got)
	}
}

func testExpect(t *testing.T, s store.Store) {
	a := commit(t, s, puts("a"))
	b := commit(t, s, puts("b"))
	for _, c := range []struct {
		name   string
		expect []store.Expect
		want   error
	}{
		{"revision", []store.Expect{{Key: "a", Rev: a}}, nil},
		{"absent", []store.Expect{{Key: "no"}}, nil},
		{"both", []store.Expect{{Key: "a", Rev: a}, {Key: "b", Rev: b}, {Key: "no"}}, nil},
		{"twice", []store.Expect{{Key: "a", Rev: a}, {Key: "a", Rev: a}}, nil},
		{"not absent", []store.Expect{{Key: "a"}}, store.ErrConflict},
		{"older", []store.Expect{{Key: "b", Rev: a}}, store.ErrConflict},
		{"newer", []store.Expect{{Key: "a", Rev: b}}, store.ErrConflict},
		{"not there", []store.Expect{{Key: "no", Rev: a}}, store.ErrConflict},
		{"second fails", []store.Expect{{Key: "a", Rev: a}, {Key: "b"}}, store.ErrConflict},
	} {
		rev, err := s.Commit(t.Context(), store.Tx{Expect: c.expect})
		if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v, expected %v", c.name, err, c.want)
		}
		if err == nil && rev != b {
			t.Errorf("%s: revision %d of a transaction that only expects, expected the current %d", c.name, rev, b)
		}
		failing := c.expect[len(c.expect)-1].Key
		if err != nil && !strings.Contains(err.Error(), fmt.Sprintf("%q", failing)) {
			t.Errorf("%s: %q does not name %q", c.name, err, failing)
		}
	}
	// The state before the transaction counts, not what it writes itself.
	commit(t, s, store.Tx{Expect: []store.Expect{{Key: "new"}}, Puts: []store.Put{{Key: "new"}}})
	commit(t, s, store.Tx{Expect: []store.Expect{{Key: "a", Rev: a}}, Deletes: []string{"a"}})
	commit(t, s, store.Tx{Expect: []store.Expect{{Key: "a"}}, Puts: []store.Put{{Key: "a"}}})
}

func testConflict(t *testing.T, s store.Store) {
	rev := commit(t, s, puts("a", "p/1", "d"))
	before := scan(t, s, store.Range{})
	_, err := s.Commit(t.Context(), store.Tx{
		Expect:         []store.Expect{{Key: "a", Rev: rev}, {Key: "d"}},
		Puts:           []store.Put{{Key: "a", Value: []byte("2")}, {Key: "b"}},
		Deletes:        []string{"d"},
		DeletePrefixes: []string{"p/"},
	})
	if !errors.Is(err, store.ErrConflict) {
		t.Fatalf("commit: %v, expected ErrConflict", err)
	}
	if diff := cmp.Diff(before, scan(t, s, store.Range{})); diff != "" {
		t.Errorf("a conflict changed (-before +after):\n%s", diff)
	}
	if now := current(t, s); now != rev {
		t.Errorf("a conflict moved the revision from %d to %d", rev, now)
	}
	next := commit(t, s, puts("z"))
	if c := watched(t, s, "", rev, 1)[0]; c.Rev != next || c.Events[0].Key != "z" {
		t.Errorf("after a conflict the next change is %+v", c)
	}
}

func testRevisions(t *testing.T, s store.Store) {
	last := current(t, s)
	for _, c := range []struct {
		name  string
		tx    store.Tx
		moves bool
	}{
		{"put", puts("a", "b"), true},
		{"same value", puts("a"), true},
		{"nothing", store.Tx{}, false},
		{"delete nothing", store.Tx{Deletes: []string{"no"}, DeletePrefixes: []string{"none/"}}, false},
		{"delete", store.Tx{Deletes: []string{"a"}}, true},
		{"delete prefix", store.Tx{DeletePrefixes: []string{"b"}}, true},
	} {
		rev := commit(t, s, c.tx)
		if (rev > last) != c.moves || rev < last {
			t.Errorf("%s: revision %d after %d", c.name, rev, last)
		}
		if now := current(t, s); now != rev {
			t.Errorf("%s: current revision %d, the commit said %d", c.name, now, rev)
		}
		last = rev
	}
}

func testDelete(t *testing.T, s store.Store) {
	commit(t, s, puts("a", "ab", "b"))
	commit(t, s, store.Tx{Deletes: []string{"a", "no"}})
	if got := keys(scan(t, s, store.Range{})); got != "ab b" {
		t.Errorf("after deleting a: %q", got)
	}
	if _, err := s.Get(t.Context(), "a"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("get of a deleted key: %v", err)
	}
}

func testDeletePrefix(t *testing.T, s store.Store) {
	var tx store.Tx
	for i := range 90 {
		tx.Puts = append(tx.Puts, store.Put{Key: fmt.Sprintf("a/%02d", i), Value: make([]byte, 500)})
	}
	commit(t, s, tx)
	commit(t, s, puts("a", "a/", "a0", "b/\xff", "b/\xff\xff", "c"))
	rev := current(t, s)
	commit(t, s, store.Tx{DeletePrefixes: []string{"a/", "b/\xff"}, Puts: []store.Put{{Key: "a"}}})
	if got := keys(scan(t, s, store.Range{})); got != "a a0 c" {
		t.Errorf("after deleting prefixes: %q", got)
	}
	c := watched(t, s, "", rev, 1)[0]
	if len(c.Events) != 94 {
		t.Errorf("%d events, expected one for each of 93 keys deleted and 1 put", len(c.Events))
	}
}

func testLimits(t *testing.T, s store.Store) {
	key := strings.Repeat("k", store.MaxKey)
	commit(t, s, store.Tx{
		Expect: []store.Expect{{Key: key}},
		Puts:   []store.Put{{Key: key, Value: make([]byte, store.MaxValue)}},
	})
	many := store.Tx{Expect: make([]store.Expect, store.MaxOps), Deletes: make([]string, store.MaxOps)}
	for i := range many.Deletes {
		many.Deletes[i] = fmt.Sprintf("%03d%s", i, key[3:])
		many.Expect[i].Key = many.Deletes[i]
	}
	commit(t, s, many)
	rev := current(t, s)
	half := make([]byte, store.MaxTx/2)
	for name, tx := range map[string]store.Tx{
		"key":          {Puts: []store.Put{{Key: key + "k"}}},
		"expected key": {Expect: []store.Expect{{Key: key + "k"}}},
		"deleted key":  {Deletes: []string{key + "k"}},
		"prefix":       {DeletePrefixes: []string{key + "k"}},
		"value":        {Puts: []store.Put{{Key: "v", Value: make([]byte, store.MaxValue+1)}}},
		"operations":   {Puts: []store.Put{{Key: "one more"}}, Deletes: many.Deletes},
		"expectations": {Expect: append([]store.Expect{{Key: "one more"}}, many.Expect...)},
		"transaction":  {Puts: []store.Put{{Key: "1", Value: half}, {Key: "2", Value: half}}},
	} {
		if _, err := s.Commit(t.Context(), tx); !errors.Is(err, store.ErrTooLarge) {
			t.Errorf("%s: %v, expected ErrTooLarge", name, err)
		}
	}
	if now := current(t, s); now != rev {
		t.Errorf("refused transactions moved the revision from %d to %d", rev, now)
	}
}

func testInvalid(t *testing.T, s store.Store) {
	for name, tx := range map[string]store.Tx{
		"empty key":           {Puts: []store.Put{{}}},
		"empty expected key":  {Expect: []store.Expect{{}}},
		"empty deleted key":   {Deletes: []string{""}},
		"empty prefix":        {DeletePrefixes: []string{""}},
		"negative revision":   {Expect: []store.Expect{{Key: "a", Rev: -1}}},
		"put twice":           {Puts: []store.Put{{Key: "a"}, {Key: "b"}, {Key: "a"}}},
		"put and deleted":     {Puts: []store.Put{{Key: "a"}}, Deletes: []string{"a"}},
		"deleted twice":       {Deletes: []string{"a", "a"}},
		"put under prefix":    {Puts: []store.Put{{Key: "a/b"}}, DeletePrefixes: []string{"a/"}},
		"put at prefix":       {Puts: []store.Put{{Key: "a/"}}, DeletePrefixes: []string{"a/"}},
		"delete under prefix": {Deletes: []string{"a/b"}, DeletePrefixes: []string{"a/"}},
		"prefix under prefix": {DeletePrefixes: []string{"a/b/", "a/"}},
		"prefix twice":        {DeletePrefixes: []string{"a/", "a/"}},
	} {
		if _, err := s.Commit(t.Context(), tx); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: %v, expected ErrInvalid", name, err)
		}
	}
	if _, err := s.Scan(t.Context(), store.Range{Limit: -1}); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("negative limit: %v, expected ErrInvalid", err)
	}
	if got := scan(t, s, store.Range{}); len(got) != 0 {
		t.Errorf("refused transactions left %q", keys(got))
	}
}

func testBigValues(t *testing.T, s store.Store) {
	for i := range 6 {
		value := bytes.Repeat([]byte{byte(i)}, store.MaxValue-i)
		commit(t, s, store.Tx{Puts: []store.Put{{Key: "big", Value: value}, {Key: "small", Value: value[:1]}}})
		if e, err := s.Get(t.Context(), "big"); err != nil || !bytes.Equal(e.Value, value) {
			t.Errorf("a value of %d bytes came back with %d, %v", len(value), len(e.Value), err)
		}
	}
	commit(t, s, store.Tx{Deletes: []string{"big"}})
	if e, err := s.Get(t.Context(), "small"); err != nil || string(e.Value) != "\x05" {
		t.Errorf("its neighbour: %q, %v", e.Value, err)
	}
}

func testCancelled(t *testing.T, s store.Store) {
	commit(t, s, puts("a"))
	rev := current(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, get := s.Get(ctx, "a")
	_, scanned := s.Scan(ctx, store.Range{})
	_, committed := s.Commit(ctx, puts("b"))
	_, asked := s.Rev(ctx)
	for name, err := range map[string]error{"get": get, "scan": scanned, "commit": committed, "rev": asked} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s with a cancelled context: %v", name, err)
		}
	}
	if now := current(t, s); now != rev {
		t.Errorf("a cancelled commit moved the revision from %d to %d", rev, now)
	}
}

func testConcurrent(t *testing.T, s store.Store) {
	const committers, each = 32, 8
	start := current(t, s)
	revs := make([][each]int64, committers)
	var all sync.WaitGroup
	for i := range committers {
		all.Go(func() {
			for j := range each {
				rev, err := s.Commit(t.Context(), store.Tx{
					Expect: []store.Expect{{Key: fmt.Sprintf("%d/%d", i, j)}},
					Puts:   []store.Put{{Key: fmt.Sprintf("%d/%d", i, j)}, {Key: fmt.Sprintf("%d/last", i)}},
				})
				if err != nil {
					t.Errorf("committer %d: %v", i, err)
				}
				revs[i][j] = rev
			}
		})
	}
	all.Wait()
	byRev := map[int64]string{}
	for i := range revs {
		for j, rev := range revs[i] {
			if j > 0 && rev <= revs[i][j-1] {
				t.Errorf("committer %d: revision %d after %d", i, rev, revs[i][j-1])
			}
			byRev[rev] = fmt.Sprintf("%d/%d", i, j)
		}
	}
	if len(byRev) != committers*each {
		t.Errorf("%d commits share %d revisions", committers*each, len(byRev))
	}
	for _, c := range watched(t, s, "", start, committers*each) {
		mine := func(e store.Event) bool { return e.Key == byRev[c.Rev] }
		if len(c.Events) != 2 || !slices.ContainsFunc(c.Events, mine) {
			t.Errorf("the watch gives %+v at %d, the commit there was %q", c.Events, c.Rev, byRev[c.Rev])
		}
		delete(byRev, c.Rev)
	}
	if len(byRev) != 0 {
		t.Errorf("not watched: %v", byRev)
	}
}

// testCompareAndSwap counts with many hands: a lost or doubled increment
// shows in the sum.
func testCompareAndSwap(t *testing.T, s store.Store) {
	const hands, each = 8, 10
	var all sync.WaitGroup
	for range hands {
		all.Go(func() {
			for range each {
				if err := increment(t.Context(), s, "n"); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	e, err := s.Get(t.Context(), "n")
	if err != nil || len(e.Value) != hands*each {
		t.Errorf("counted %d, %v, expected %d", len(e.Value), err, hands*each)
	}
}

// increment makes the value of key one byte longer.
func increment(ctx context.Context, s store.Store, key string) error {
	for {
		e, err := s.Get(ctx, key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		_, err = s.Commit(ctx, store.Tx{
			Expect: []store.Expect{{Key: key, Rev: e.Rev}},
			Puts:   []store.Put{{Key: key, Value: append(e.Value, '+')}},
		})
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
}

// testWholeReads scans while two keys change together.
func testWholeReads(t *testing.T, s store.Store) {
	const commits = 50
	both := func(i int) store.Tx {
		v := []byte(fmt.Sprint(i))
		return store.Tx{Puts: []store.Put{{Key: "a", Value: v}, {Key: "b", Value: v}}}
	}
	commit(t, s, both(0))
	var writer sync.WaitGroup
	defer writer.Wait()
	writer.Go(func() {
		for i := range commits {
			if _, err := s.Commit(t.Context(), both(i+1)); err != nil {
				t.Error(err)
			}
		}
	})
	for last, seen := int64(0), ""; seen != fmt.Sprint(commits) && !t.Failed(); {
		page, err := s.Scan(t.Context(), store.Range{})
		if err != nil {
			t.Fatal(err)
		}
		a, b := page.Entries[0], page.Entries[1]
		if a.Rev != b.Rev || !bytes.Equal(a.Value, b.Value) {
			t.Fatalf("a page holds half a commit: %+v", page)
		}
		if page.Rev < last || a.Rev > page.Rev {
			t.Fatalf("a page at revision %d holds %d, the one before was at %d", page.Rev, a.Rev, last)
		}
		last, seen = page.Rev, string(a.Value)
	}
}

func testClosed(t *testing.T, s store.Store) {
	rev := commit(t, s, puts("a"))
	ended := make(chan error, 1)
	go func() {
		for _, err := range s.Watch(t.Context(), "", rev) {
			ended <- err
		}
	}()
	closeStore(t, s)
	closeStore(t, s)
	_, get := s.Get(t.Context(), "a")
	_, scanned := s.Scan(t.Context(), store.Range{})
	_, committed := s.Commit(t.Context(), puts("b"))
	_, asked := s.Rev(t.Context())
	for name, err := range map[string]error{"get": get, "scan": scanned, "commit": committed, "rev": asked, "watch": <-ended} {
		if !errors.Is(err, store.ErrClosed) {
			t.Errorf("%s of a closed store: %v", name, err)
		}
	}
}

// The helpers below fail the test on any error.

func puts(keys ...string) store.Tx {
	var tx store.Tx
	for _, k := range keys {
		tx.Puts = append(tx.Puts, store.Put{Key: k, Value: []byte(k)})
	}
	return tx
}

func commit(t *testing.T, s store.Store, tx store.Tx) int64 {
	t.Helper()
	rev, err := s.Commit(t.Context(), tx)
	if err != nil {
		t.Fatalf("commit: %v", err)
	}
	return rev
}

// scan reads all pages of a range.
func scan(t *testing.T, s store.Store, r store.Range) []store.Entry {
	t.Helper()
	var all []store.Entry
	for {
		page, err := s.Scan(t.Context(), r)
		if err != nil {
			t.Fatalf("scan: %v", err)
		}
		all = append(all, page.Entries...)
		if !page.More {
			return all
		}
		if len(page.Entries) == 0 {
			t.Fatalf("scan %+v: an empty page with more to come", r)
		}
		r.After = all[len(all)-1].Key
	}
}

func current(t *testing.T, s store.Store) int64 {
	t.Helper()
	rev, err := s.Rev(t.Context())
	if err != nil {
		t.Fatalf("rev: %v", err)
	}
	return rev
}

func closeStore(t *testing.T, s store.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func keys(entries []store.Entry) string {
	var out []string
	for _, e := range entries {
		out = append(out, e.Key)
	}
	return strings.Join(out, " ")
}

var sameEvents = cmp.Options{
	cmpopts.SortSlices(func(a, b store.Event) bool { return a.Key < b.Key }),
	cmpopts.EquateEmpty(),
}
