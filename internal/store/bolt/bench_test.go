package bolt

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"omca/internal/store"
)

// record is the main load: a certificate of a kilobyte appended under its
// expiry, and an index entry under a random key.
func record(n int64) store.Tx {
	sum := sha256.Sum256(fmt.Append(nil, n))
	serial := hex.EncodeToString(sum[:16])
	key := fmt.Sprintf("cert/%016x/%s", 1_800_000_000+n/10, serial)
	return store.Tx{
		Expect: []store.Expect{{Key: "serial/" + serial}},
		Puts:   []store.Put{{Key: key, Value: make([]byte, 1000)}, {Key: "serial/" + serial, Value: []byte(key)}},
	}
}

// BenchmarkCommit reports what a record costs on the disk, in a store that
// holds some already.
func BenchmarkCommit(b *testing.B) {
	for _, committers := range []int{1, 32} {
		b.Run(fmt.Sprintf("committers=%d", committers), func(b *testing.B) {
			s := openIn(b, b.TempDir())
			var n atomic.Int64
			load(b, s, 256, &n, 20_000)
			before := s.Stats()
			b.ReportAllocs()
			b.ResetTimer()
			load(b, s, committers, &n, int64(b.N))
			b.StopTimer()
			after := s.Stats()
			b.ReportMetric(float64(after.Syncs-before.Syncs)/float64(b.N), "fsyncs/op")
			b.ReportMetric(float64(after.Bytes-before.Bytes)/float64(b.N), "written-B/op")
			b.ReportMetric(float64(after.Commits-before.Commits)/float64(after.Groups-before.Groups), "txs/group")
			info, err := os.Stat(s.path)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(info.Size())/float64(n.Load()), "file-B/record")
		})
	}
}

// load commits records until there are more more of them.
func load(tb testing.TB, s *Store, committers int, n *atomic.Int64, more int64) {
	last := n.Load() + more
	var all sync.WaitGroup
	for range committers {
		all.Go(func() {
			for {
				i := n.Add(1)
				if i > last {
					n.Add(-1)
					return
				}
				if _, err := s.Commit(tb.Context(), record(i)); err != nil {
					tb.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

func BenchmarkGet(b *testing.B) {
	s := openIn(b, b.TempDir())
	var n atomic.Int64
	load(b, s, 256, &n, 20_000)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		key := record(int64(i%20_000) + 1).Puts[1].Key
		if _, err := s.Get(b.Context(), key); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkScan reads pages of a hundred records.
func BenchmarkScan(b *testing.B) {
	s := openIn(b, b.TempDir())
	var n atomic.Int64
	load(b, s, 256, &n, 20_000)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		r := store.Range{Prefix: "cert/", After: record(int64(i%19_000) + 1).Puts[0].Key, Limit: 100}
		if page, err := s.Scan(b.Context(), r); err != nil || len(page.Entries) != 100 {
			b.Fatal(len(page.Entries), err)
		}
	}
}
