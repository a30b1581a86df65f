package crl_test

import (
	"bytes"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"math/big"
	"runtime"
	"testing"
	"time"

	"omca/crl"
	"omca/pki"
)

// sizes of the benchmarks, in entries.
func sizes() []int { return []int{1_000, 100_000, 1_000_000} }

// spread returns serial number n of 16 octets, far from the others.
func spread(n int) *big.Int {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(n+1)*0x9e3779b97f4a7c15|1<<63)
	binary.BigEndian.PutUint64(b[8:], uint64(n))
	return new(big.Int).SetBytes(b[:])
}

// large returns a builder with count entries, and its CA.
func large(tb testing.TB, count int) (*identity, *crl.Builder) {
	tb.Helper()
	ca := certify(tb, nil, "CA", asCA)
	all := make([]crl.Revocation, count)
	for n := range all {
		all[n] = crl.Revocation{
			Entry:    crl.Entry{Serial: pki.Serial(spread(n).Text(16)), At: now().Add(-hour), Reason: crl.Superseded},
			NotAfter: now().Add(1000 * hour),
		}
	}
	return ca, builder(tb, ca, all...)
}

// load reads and verifies a list.
func load(tb testing.TB, ca *identity, der []byte) *crl.Verified {
	tb.Helper()
	l := must[*crl.List](tb)(crl.Parse(der, crl.DefaultLimits()))
	return must[*crl.Verified](tb)(l.Verify(ca.Certificate))
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse
}

// resident returns the octets of heap that a set of der needs, without der.
func resident(tb testing.TB, ca *identity, der []byte) (*crl.Set, int64) {
	tb.Helper()
	before := heap()
	copied := bytes.Clone(der)
	s := set(load(tb, ca, copied))
	after := heap() // copied is dead: only what the set keeps is left
	return s, int64(after) - int64(before)
}

// TestLargeList keeps the promises on memory and speed from being broken by
// much; the benchmarks say how well they are kept.
func TestLargeList(t *testing.T) {
	const count = 100_000
	ca, b := large(t, count)
	s, octets := resident(t, ca, build(t, b, now()).DER)
	if most := int64(60 * count); octets > most {
		t.Errorf("a set of %d entries takes %d octets, at most %d are allowed", count, octets, most)
	}
	cert := &x509.Certificate{RawIssuer: ca.RawSubject}
	for n := range count + 1000 {
		cert.SerialNumber = spread(n)
		if got := s.Check(cert, ca.Certificate, now()).Status == crl.Revoked; got != (n < count) {
			t.Fatalf("serial %d: revoked %v", n, got)
		}
	}
	if allocs := testing.AllocsPerRun(100, func() { s.Check(cert, ca.Certificate, now()) }); allocs > 0 {
		t.Errorf("a check allocates %v times", allocs)
	}
	cert.SerialNumber = spread(5)
	if allocs := testing.AllocsPerRun(100, func() { s.Check(cert, ca.Certificate, now()) }); allocs > 0 {
		t.Errorf("a check that convicts allocates %v times", allocs)
	}
}

// BenchmarkLoad reads, verifies and indexes a list; "resident-B" is what stays.
func BenchmarkLoad(b *testing.B) {
	for _, count := range sizes() {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			ca, from := large(b, count)
			der := build(b, from, now()).DER
			from = nil
			_, octets := resident(b, ca, der)
			for b.Loop() {
				set(load(b, ca, der))
			}
			b.ReportMetric(float64(octets), "resident-B")
		})
	}
}

// BenchmarkCheck asks about a certificate that is not revoked.
func BenchmarkCheck(b *testing.B) {
	for _, count := range sizes() {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			ca, from := large(b, count)
			s := set(must[*crl.Verified](b)(build(b, from, now()).Read()))
			certs := make([]*x509.Certificate, 4096)
			for n := range certs {
				certs[n] = &x509.Certificate{RawIssuer: ca.RawSubject, SerialNumber: spread(count + n)}
			}
			at, n := now(), 0
			b.ReportAllocs()
			for b.Loop() {
				if v := s.Check(certs[n%len(certs)], ca.Certificate, at); v.Status != crl.Good {
					b.Fatal(v)
				}
				n++
			}
		})
	}
}

// BenchmarkConvict asks about certificates that are revoked.
func BenchmarkConvict(b *testing.B) {
	for _, count := range sizes() {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			ca, from := large(b, count)
			s := set(must[*crl.Verified](b)(build(b, from, now()).Read()))
			certs := make([]*x509.Certificate, min(count, 4096))
			for n := range certs {
				certs[n] = &x509.Certificate{RawIssuer: ca.RawSubject, SerialNumber: spread(n)}
			}
			at, n := now(), 0
			b.ReportAllocs()
			for b.Loop() {
				if v := s.Check(certs[n%len(certs)], ca.Certificate, at); v.Status != crl.Revoked {
					b.Fatal(v)
				}
				n++
			}
		})
	}
}

// ledgerOf is a ledger of as many entries of one CA.
func ledgerOf(tb testing.TB, ca *x509.Certificate, count int) *crl.Ledger {
	return must[*crl.Ledger](tb)(crl.NewLedger().WithAll(pki.AuthorityOf(ca), func(yield func(crl.Entry, error) bool) {
		for n := range count {
			if !yield(crl.Entry{Serial: pki.Serial(spread(n).Text(16)), At: now(), Reason: crl.KeyCompromise}, nil) {
				return
			}
		}
	}))
}

// BenchmarkEnforce is from a revocation to the ledger that knows it.
func BenchmarkEnforce(b *testing.B) {
	for _, count := range sizes() {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			ca := certify(b, nil, "CA", asCA)
			l, n := ledgerOf(b, ca.Certificate, count), count
			for b.Loop() {
				l = must[*crl.Ledger](b)(l.With(pki.AuthorityOf(ca.Certificate), crl.Entry{Serial: pki.Serial(spread(n).Text(16)), At: now()}))
				n++
			}
		})
	}
}

// BenchmarkLedger asks about chains of one, two and three certificates that are not revoked.
func BenchmarkLedger(b *testing.B) {
	for _, count := range sizes() {
		for length := 1; length <= 3; length++ {
			b.Run(fmt.Sprintf("%d/chain of %d", count, length), func(b *testing.B) {
				ca := certify(b, nil, "CA", asCA)
				l := ledgerOf(b, ca.Certificate, count)
				cert := &x509.Certificate{RawIssuer: ca.RawSubject, SerialNumber: spread(count)}
				b.ReportAllocs()
				for b.Loop() {
					for range length {
						if _, revoked := l.Check(cert, ca.Certificate); revoked {
							b.Fatal("revoked")
						}
					}
				}
			})
		}
	}
}

// BenchmarkAddOne adds one entry to a list, and signs and reads back the next.
func BenchmarkAddOne(b *testing.B) {
	for _, count := range sizes() {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			_, from := large(b, count)
			build(b, from, now())
			n := count
			for b.Loop() {
				if err := from.Add(revoked(spread(n).Text(16), crl.KeyCompromise)); err != nil {
					b.Fatal(err)
				}
				build(b, from, now().Add(time.Duration(n)*time.Second))
				n++
			}
		})
	}
}
