package crl_test

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"sync"
	"testing"

	"omca/crl"
	"omca/pki"
)

func idOf(ca *identity) pki.AuthorityID { return pki.AuthorityOf(ca.Certificate) }

func TestLedger(t *testing.T) {
	ca, twin := certify(t, nil, "CA", asCA), certify(t, nil, "CA", asCA)
	ee, same := certify(t, ca, "EE", serial(5)), certify(t, twin, "EE", serial(5))
	before := crl.NewLedger()
	after := must[*crl.Ledger](t)(before.With(idOf(ca), crl.Entry{Serial: "5", At: now(), Reason: crl.KeyCompromise}))
	again := must[*crl.Ledger](t)(after.With(idOf(ca), crl.Entry{Serial: "05", At: now().Add(hour), Reason: crl.Superseded}))
	table := again.Compacted()
	late := must[*crl.Ledger](t)(table.With(idOf(ca), crl.Entry{Serial: "5", At: now().Add(hour), Reason: crl.Superseded}))
	for i, l := range []*crl.Ledger{after, again, table, late} {
		if e, revoked := l.Check(ee.Certificate, ca.Certificate); !revoked || e.Reason != crl.KeyCompromise || !e.At.Equal(now()) {
			t.Errorf("ledger %d: %t, %+v", i, revoked, e)
		}
		if _, revoked := l.Check(same.Certificate, twin.Certificate); revoked {
			t.Errorf("ledger %d: the same serial of a CA with another key is revoked", i)
		}
		if l.Len() != 1 {
			t.Errorf("ledger %d has %d entries", i, l.Len())
		}
	}
	if _, revoked := before.Check(ee.Certificate, ca.Certificate); revoked {
		t.Error("the ledger before changed")
	}
	if table.Recent() != 0 || again.Recent() != 1 {
		t.Errorf("recent: %d before, %d after it was compacted", again.Recent(), table.Recent())
	}
	for _, e := range []crl.Entry{{Serial: "5"}, {Serial: "-5", At: now()}, {Serial: "5", At: now(), Reason: crl.RemoveFromCRL}} {
		if _, err := before.With(idOf(ca), e); !errors.Is(err, pki.ErrInvalid) {
			t.Errorf("%+v: %v", e, err)
		}
	}
}

// TestLedgerNames: a CA whose name is spelled in another string type, without a key identifier, is the same.
func TestLedgerNames(t *testing.T) {
	ca := certify(t, nil, "Corp CA", asCA)
	ee := certify(t, ca, "EE", serial(5))
	l := must[*crl.Ledger](t)(crl.NewLedger().With(idOf(ca), crl.Entry{Serial: "5", At: now()}))
	other := *ca.Certificate
	other.SubjectKeyId = nil
	other.RawSubject = bytes.Replace(other.RawSubject, []byte("\x13\x07Corp CA"), []byte("\x0c\x07CORP ca"), 1)
	if bytes.Equal(other.RawSubject, ca.RawSubject) {
		t.Fatalf("%x is not spelled as expected", ca.RawSubject)
	}
	for range 2 { // worked out, and remembered
		if _, revoked := l.Check(ee.Certificate, &other); !revoked {
			t.Error("under another spelling of the CA's name it is not revoked")
		}
	}
}

// TestLedgerUnplaced: of a CA that is nowhere any more, the key identifier is all that an old record has.
func TestLedgerUnplaced(t *testing.T) {
	ca := certify(t, nil, "CA", asCA)
	five, six := certify(t, ca, "EE", serial(5)), certify(t, ca, "EE", serial(6))
	l := must[*crl.Ledger](t)(crl.NewLedger().WithUnplaced(ca.SubjectKeyId, crl.Entry{Serial: "5", At: now()}))
	l = l.Rebased(crl.NewLedger())
	if _, revoked := l.Check(five.Certificate, ca.Certificate); !revoked {
		t.Error("it is not revoked")
	}
	if _, revoked := l.Check(six.Certificate, ca.Certificate); revoked {
		t.Error("another is")
	}
}

// TestLedgerCompacted: what comes while a ledger is compacted is in it afterwards.
func TestLedgerCompacted(t *testing.T) {
	ca := certify(t, nil, "CA", asCA)
	l := crl.NewLedger()
	add := func(from, to int) {
		for n := from; n < to; n++ {
			l = must[*crl.Ledger](t)(l.With(idOf(ca), crl.Entry{Serial: pki.Serial(fmt.Sprintf("%x", n+1)), At: now()}))
		}
	}
	add(0, 300)
	compacted := l.Compacted()
	add(300, 400)
	l = l.Rebased(compacted)
	if l.Len() != 400 || l.Recent() != 100 {
		t.Errorf("%d entries, %d recent; want 400 and 100", l.Len(), l.Recent())
	}
	seen := make(map[pki.Serial]bool)
	for e := range l.Entries(idOf(ca)) {
		seen[e.Serial] = true
	}
	for n := range 400 {
		cert := &x509.Certificate{SerialNumber: big.NewInt(int64(n + 1))}
		if _, revoked := l.Check(cert, ca.Certificate); !revoked || !seen[pki.SerialOf(cert)] {
			t.Fatalf("serial %d: revoked %t, listed %t", n+1, revoked, seen[pki.SerialOf(cert)])
		}
	}
}

// TestLedgerMany revokes many, one after the other, with readers beside.
func TestLedgerMany(t *testing.T) {
	ca := certify(t, nil, "CA", asCA)
	l := crl.NewLedger()
	var readers sync.WaitGroup
	const count = 2000
	for n := range count {
		if n%500 == 0 {
			one := l
			readers.Go(func() {
				for i := range count {
					cert := &x509.Certificate{SerialNumber: big.NewInt(int64(i))}
					if _, got := one.Check(cert, ca.Certificate); got != (i < n) {
						t.Errorf("serial %d of %d: revoked %v", i, n, got)
						return
					}
				}
			})
		}
		l = must[*crl.Ledger](t)(l.With(idOf(ca), crl.Entry{Serial: pki.Serial(fmt.Sprintf("%x", n)), At: now()}))
	}
	readers.Wait()
}

// TestLedgerAllocates nothing to say that a certificate is not revoked.
func TestLedgerAllocates(t *testing.T) {
	ca := certify(t, nil, "CA", asCA)
	l := must[*crl.Ledger](t)(crl.NewLedger().With(idOf(ca), crl.Entry{Serial: "5", At: now()}))
	cert := &x509.Certificate{SerialNumber: big.NewInt(1).Lsh(big.NewInt(1), 150)}
	if n := testing.AllocsPerRun(100, func() { l.Check(cert, ca.Certificate) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestKnownBound: a stranger who makes up CAs does not fill the memory.
func TestKnownBound(t *testing.T) {
	l := crl.NewLedger()
	cert := &x509.Certificate{SerialNumber: big.NewInt(1)}
	for n := range 10_000 {
		l.Check(cert, &x509.Certificate{RawSubject: []byte{0x30, 0}, RawSubjectPublicKeyInfo: big.NewInt(int64(n)).Bytes()})
	}
	if kept := crl.Known(l); kept > 4096 {
		t.Errorf("%d CAs are remembered", kept)
	}
}
