package bolt

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"omca/internal/store"
)

// filled returns the bytes of a store whose tree has three levels, keys on
// pages of their own and free pages, and what it holds: of one that was
// closed, and of one that was not.
func filled(t *testing.T) (closed, crashed map[string][]byte, entries []store.Entry) {
	t.Helper()
	s := openIn(t, t.TempDir())
	long := strings.Repeat("k", 200)
	for i := range 300 {
		size := 100
		if i%50 == 0 {
			size = 6000
		}
		mustCommit(t, s, put(fmt.Sprintf("%04d/%s", i, long), strings.Repeat("v", size)))
	}
	for i := range 5 {
		mustCommit(t, s, store.Tx{Deletes: []string{fmt.Sprintf("%04d/%s", 100+i, long)}})
	}
	if err := s.settle(); err != nil {
		t.Fatal(err)
	}
	entries = contents(t, s)
	read := func() map[string][]byte {
		files := map[string][]byte{}
		for name, content := range filesIn(t, filepath.Dir(s.path)) {
			files[name] = []byte(content)
		}
		return files
	}
	crashed = read()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return read(), crashed, entries
}

func pageOf(b []byte, id uint64) []byte { return b[id*pageBytes : (id+1)*pageBytes] }

// spoil returns what may have become of a page: itself where a way to damage
// it does not apply. That it passes for the page it replaces is noted.
func spoil(t *testing.T, b []byte, m meta, id uint64) map[string][]byte {
	t.Helper()
	r := rand.New(rand.NewPCG(1, id))
	noise := make([]byte, pageBytes)
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	was := pageOf(b, id)
	half := slices.Concat(was[:pageBytes/2], noise[pageBytes/2:])
	elements := slices.Concat(was[:pageHead], noise[pageHead:])
	ways := map[string][]byte{
		"noise": noise, "zeros": make([]byte, pageBytes),
		"noise in its second half": half, "noise behind its head": elements,
	}
	for other := uint64(2); other < m.pages; other++ {
		p, err := readPage(bytes.NewReader(b), m, other)
		if err != nil || other == id {
			continue
		}
		ways[fmt.Sprintf("a page of kind %d", p.kind)] = pageOf(b, other)
		if p.kind == kindBranch {
			continue // it would be below itself, and bbolt has no end
		}
		forged := slices.Concat(was[:8], pageOf(b, other)[8:])
		ways[fmt.Sprintf("a page of kind %d, forged", p.kind)] = forged
	}
	return ways
}

// newest returns the header that counts.
func newestOf(t *testing.T, path string) meta {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	found, err := metas(f)
	if err != nil || len(found) != 2 {
		t.Fatalf("%d headers, %v", len(found), err)
	}
	return slices.MaxFunc(found, func(a, b meta) int { return int(a.txn) - int(b.txn) })
}

func restore(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDamagedPages damages each page of a store in many ways, before it is
// opened or while it is open, and uses it: there is no panic, what is read is
// right or refused, and what is acknowledged stays.
func TestDamagedPages(t *testing.T) {
	closed, crashed, entries := filled(t)
	for _, c := range []struct {
		name  string
		files map[string][]byte
		open  bool // before it is damaged
	}{{"closed", closed, false}, {"crashed", crashed, false}, {"open", closed, true}} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			restore(t, dir, c.files)
			path := filepath.Join(dir, "store")
			m := newestOf(t, path)
			if (m.freelist == noFreelist) != (c.name == "crashed") {
				t.Fatalf("the list of free pages is page %d", m.freelist)
			}
			met := 0
			for id := uint64(2); id < m.pages; id++ {
				for way, bytes := range spoil(t, c.files["store"], m, id) {
					restore(t, dir, c.files)
					u := user{T: t, path: path, what: fmt.Sprintf("page %d, %s", id, way), entries: entries}
					// What bbolt cannot notice is in the body of a page, or behind a head that was made for it.
					u.sure = (way == "noise" || way == "zeros" || !strings.Contains(way, "noise") && !strings.Contains(way, "forged")) &&
						isHead(c.files["store"], m, id)
					damage := func() { u.overwrite(int64(id*pageBytes), bytes) }
					if u.use(c.open, damage) {
						met++
					}
				}
			}
			if met < 100 {
				t.Errorf("only %d of the damages were met", met)
			}
		})
	}
}

// isHead tells a page from one in the middle of a large one.
func isHead(b []byte, m meta, id uint64) bool {
	_, err := readPage(bytes.NewReader(b), m, id)
	return err == nil
}

// A user uses a damaged store.
type user struct {
	*testing.T
	path    string
	what    string
	entries []store.Entry
	sure    bool // bbolt notices the damage when it comes across it
	met     bool
}

// check expects success, or an error that says what it should.
func (u *user) check(op string, err error) (ok bool) {
	u.Helper()
	if err == nil {
		return true
	}
	u.met = true
	if !u.sure && strings.Contains(err.Error(), "not a store") {
		return false // an empty root, say
	}
	if !errors.Is(err, store.ErrDamaged) || !strings.Contains(err.Error(), u.path) {
		u.Errorf("%s: %s: %v, expected ErrDamaged and the path", u.what, op, err)
	}
	return false
}

func (u *user) overwrite(off int64, b []byte) {
	f, err := os.OpenFile(u.path, os.O_WRONLY, 0)
	if err != nil {
		u.Fatal(err)
	}
	_, err = f.WriteAt(b, off)
	if err := errors.Join(err, f.Close()); err != nil {
		u.Fatal(err)
	}
}

// use reports whether anything was noticed.
func (u *user) use(openFirst bool, damage func()) bool {
	if !openFirst {
		damage()
	}
	s, err := Open(u.Context(), Config{Path: u.path})
	if !u.check("open", err) {
		return true
	}
	if openFirst {
		damage()
	}
	u.read(s)
	acked := u.commit(s)
	u.check("close", s.Close())
	s, err = Open(u.Context(), Config{Path: u.path})
	if !u.check("open again", err) {
		return true
	}
	for key, value := range acked {
		e, err := s.Get(u.Context(), key)
		if u.check("get what was acknowledged", err) && string(e.Value) != value {
			u.Errorf("%s: %q is %.20q, %.20q was acknowledged", u.what, key, e.Value, value)
		}
	}
	u.check("close again", s.Close())
	return u.met
}

func (u *user) read(s *Store) {
	page, err := s.Scan(u.Context(), store.Range{})
	if u.check("scan", err) && u.sure && len(page.Entries) != len(u.entries) {
		u.Errorf("%s: a scan has %d entries, expected %d", u.what, len(page.Entries), len(u.entries))
	}
	for _, want := range u.entries {
		e, err := s.Get(u.Context(), want.Key)
		if !u.sure && errors.Is(err, store.ErrNotFound) {
			continue
		}
		if u.check("get", err) && u.sure && (e.Rev != want.Rev || !bytes.Equal(e.Value, want.Value)) {
			u.Errorf("%s: %.4q is %.20q at revision %d, expected %.20q at %d", u.what, want.Key, e.Value, e.Rev, want.Value, want.Rev)
		}
	}
}

// commit returns what was acknowledged.
func (u *user) commit(s *Store) map[string]string {
	acked := map[string]string{}
	for i, e := range u.entries {
		if i%40 != 0 {
			continue
		}
		tx := put(e.Key, strings.Repeat("n", 100))
		tx.Expect = []store.Expect{{Key: e.Key, Rev: e.Rev}}
		_, err := s.Commit(u.Context(), tx)
		if !u.sure && errors.Is(err, store.ErrConflict) {
			continue
		}
		if !u.check("commit", err) {
			if !errors.Is(err, store.ErrBroken) {
				u.Errorf("%s: commit: %v, expected ErrBroken", u.what, err)
			}
			return acked
		}
		acked[e.Key] = string(tx.Puts[0].Value)
	}
	return acked
}

// TestDamagedCheckpoint meets the damage in the background: the commit that
// waits for the checkpoint is refused, and nothing that was acknowledged is lost.
func TestDamagedCheckpoint(t *testing.T) {
	closed, _, _ := filled(t)
	dir := t.TempDir()
	restore(t, dir, closed)
	s, err := Open(t.Context(), Config{Path: filepath.Join(dir, "store")})
	if err != nil {
		t.Fatal(err)
	}
	mustCommit(t, s, put("first", "")) // notes the journal
	root := newestOf(t, s.path).root
	good := slices.Clone(pageOf([]byte(filesIn(t, dir)["store"]), root))
	u := user{T: t, path: s.path, what: "root"}
	spoiled := make(chan struct{})
	s.sync = func(tx txn) error {
		u.overwrite(int64(root*pageBytes), make([]byte, pageBytes))
		close(spoiled)
		panic("as bbolt would")
	}
	acked := 1
	for err == nil && acked < 1000 {
		if _, err = s.Commit(t.Context(), put(fmt.Sprint("more/", acked), strings.Repeat("x", 10_000))); err == nil {
			acked++
		}
		select {
		case <-spoiled:
			<-s.pending.done
		default:
		}
	}
	if !errors.Is(err, store.ErrBroken) || !errors.Is(err, store.ErrDamaged) || !strings.Contains(err.Error(), "as bbolt would") {
		t.Errorf("commit %d: %v, expected ErrBroken, ErrDamaged and what bbolt said", acked, err)
	}
	u.check("close", s.Close())
	u.overwrite(int64(root*pageBytes), good)
	s = openIn(t, dir)
	page, err := s.Scan(t.Context(), store.Range{Prefix: "more/"})
	if err != nil || len(page.Entries) != acked-1 {
		t.Errorf("%d keys after reopening, %v, expected %d", len(page.Entries), err, acked-1)
	}
}

// TestFault takes the pages away from below the mapping, as a disk does that
// does not answer any more.
func TestFault(t *testing.T) {
	closed, _, entries := filled(t)
	dir := t.TempDir()
	restore(t, dir, closed)
	u := user{T: t, path: filepath.Join(dir, "store"), what: "cut", entries: entries}
	cut := func() {
		if err := os.Truncate(u.path, 2*pageBytes); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Open(t.Context(), Config{Path: u.path})
	if err != nil {
		t.Fatal(err)
	}
	cut()
	for range 2 { // bbolt has given back all its locks
		if _, err := s.Get(t.Context(), entries[0].Key); !errors.Is(err, store.ErrDamaged) || !strings.Contains(err.Error(), "fault") {
			t.Errorf("get: %v, expected ErrDamaged and the fault", err)
		}
	}
	u.commit(s)
	u.check("close", s.Close())
	if !u.met {
		t.Error("a commit to a file without pages was accepted")
	}
}

// TestDamagedHeaders damages both headers of an open store, which bbolt meets
// with its locks held: nobody waits for them, and the file is given up.
func TestDamagedHeaders(t *testing.T) {
	closed, _, entries := filled(t)
	dir := t.TempDir()
	restore(t, dir, closed)
	u := user{T: t, path: filepath.Join(dir, "store"), what: "headers", entries: entries}
	s, err := Open(t.Context(), Config{Path: u.path})
	if err != nil {
		t.Fatal(err)
	}
	u.overwrite(0, make([]byte, 2*pageBytes))
	for range 2 {
		if _, err := s.Get(t.Context(), entries[0].Key); !errors.Is(err, store.ErrDamaged) || !strings.Contains(err.Error(), "invalid meta pages") {
			t.Errorf("get: %v, expected ErrDamaged and what bbolt said", err)
		}
	}
	if _, err := s.Commit(t.Context(), put("a", "")); !errors.Is(err, store.ErrBroken) || !errors.Is(err, store.ErrDamaged) {
		t.Errorf("commit: %v, expected ErrBroken and ErrDamaged", err)
	}
	if err := s.Close(); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("close: %v, expected ErrDamaged", err)
	}
	f, err := os.Open(u.path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		t.Errorf("the file is locked after Close: %v", err)
	}
	if err := s.file.Close(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("the file is open after Close: %v", err)
	}
}

// FuzzPages feeds the parser of pages: no bytes may make it panic, or read
// for ever.
func FuzzPages(f *testing.F) {
	path := filepath.Join(f.TempDir(), "seed")
	s, err := Open(f.Context(), Config{Path: path})
	if err != nil {
		f.Fatal(err)
	}
	crashed, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	if _, err := s.Commit(f.Context(), put("a", "1")); err != nil {
		f.Fatal(err)
	}
	if err := s.Close(); err != nil {
		f.Fatal(err)
	}
	closed, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(crashed, uint64(3), uint64(noFreelist))
	f.Add(closed, uint64(3), uint64(2))
	f.Add([]byte{}, uint64(0), uint64(0))
	f.Fuzz(func(t *testing.T, b []byte, root, freelist uint64) {
		const size = 1024
		m := meta{pageSize: size, pages: uint64(len(b)) / size, root: root, freelist: freelist}
		if err := checkPages(bytes.NewReader(b), []meta{m}); err != nil && !errors.Is(err, store.ErrDamaged) {
			t.Errorf("%v, expected ErrDamaged", err)
		}
	})
}
