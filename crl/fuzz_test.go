package crl_test

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"math/big"
	"slices"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"omca/crl"
	"omca/pki"
)

// FuzzParse holds the parser against that of the standard library, on what both accept.
func FuzzParse(f *testing.F) {
	ca := certify(f, nil, "CA", asCA)
	good := list(ca, entry(5, crl.KeyCompromise), entry(0, crl.Unspecified), entry(-7, crl.RemoveFromCRL))
	for _, d := range []draft{
		list(ca), good, good.idp(full(uri("http://a/1"), dirName(ca.RawSubject)), yes(0x81), flags(0x83, 1, 8)).numbered(7).delta(3),
		good.idp(relative("CRL1"), yes(0x84)), good.with(func(d *draft) { d.generalized = true }),
		list(ca, entry(5, crl.Superseded, ext(certIssuer, true, seq(dirName(ca.RawSubject))), ext(unknownExtension, true, []byte{5, 0}))),
	} {
		der := d.der(f)
		f.Add(der)
		f.Add(der[:len(der)-1])
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		limits := crl.Limits{Bytes: 1 << 16, Entries: 1000, Extensions: 1 << 12, EntryExtension: 1 << 9}
		issuer := crl.IssuerOf(der)
		got, err := crl.Parse(der, limits)
		if err != nil {
			if !errors.Is(err, pki.ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		if issuer != nil && !bytes.Equal(issuer, got.RawIssuer) {
			t.Fatalf("issuer %x, want %x", issuer, got.RawIssuer)
		}
		_ = got.CheckSignature(ca.Certificate) // must only not panic
		want, err := x509.ParseRevocationList(der)
		if err != nil {
			return
		}
		if !bytes.Equal(got.RawIssuer, want.RawIssuer) || !bytes.Equal(got.AuthorityKeyID, want.AuthorityKeyId) ||
			!got.ThisUpdate.Equal(want.ThisUpdate) || !got.NextUpdate.Equal(want.NextUpdate) {
			t.Fatalf("header %+v, want %+v", got.Header, want)
		}
		if (got.Number == nil) != (want.Number == nil) || got.Number != nil && got.Number.Cmp(want.Number) != 0 {
			t.Fatalf("number %v, want %v", got.Number, want.Number)
		}
		compareEntries(t, got, want.RevokedCertificateEntries)
	})
}

// compareEntries is for lists that name no certificate twice; of others it looks
// at the serial numbers only.
func compareEntries(t *testing.T, got *crl.List, want []x509.RevocationListEntry) {
	t.Helper()
	wanted := make(map[pki.Serial]x509.RevocationListEntry)
	for _, e := range want {
		wanted[pki.Serial(e.SerialNumber.Text(16))] = e
	}
	if got.Len() != len(wanted) {
		t.Fatalf("%d entries, want %d", got.Len(), len(wanted))
	}
	for e := range got.Entries() {
		w, ok := wanted[e.Serial]
		if !ok {
			t.Fatalf("serial %s is not on the list", e.Serial)
		}
		known := w.ReasonCode >= 0 && w.ReasonCode <= 10 && w.ReasonCode != 7
		if len(want) == got.Len() && (!e.At.Equal(w.RevocationTime) || known && int(e.Reason) != w.ReasonCode) {
			t.Fatalf("entry %+v, want %+v", e, w)
		}
	}
}

// modelList is a list as a schoolbook has it: about one serial number.
type modelList struct {
	number, base int // base 0: complete
	this, next   int // hours from now
	scope        int // of scopes
	entry        int // 0 none, 1 revoked, 2 removed
	critical     bool
}

func (m modelList) usable() bool { return m.this <= 0 && m.next >= 0 && !m.critical }

// scopes of the model: what they cover of an end entity without distribution points.
func modelScopes() []struct {
	parts [][]byte
	mask  crl.ReasonSet
} {
	type scope = struct {
		parts [][]byte
		mask  crl.ReasonSet
	}
	return []scope{
		{nil, crl.AllReasons},
		{[][]byte{yes(0x81)}, crl.AllReasons},
		{[][]byte{yes(0x82)}, 0},
		{[][]byte{flags(0x83, 1, 2)}, 1<<1 | 1<<2},
		{[][]byte{flags(0x83, 2, 3, 4, 5, 6, 7, 8)}, crl.AllReasons &^ (1 << 1)},
		{[][]byte{full(uri("http://a/1"))}, 0},
		{[][]byte{yes(0x84)}, 0},
	}
}

// reference is the engine again, by the definition instead of by steps.
func reference(lists []modelList) crl.Status {
	var acquitted crl.ReasonSet
	for scope, s := range modelScopes() {
		var group []modelList
		for _, l := range lists {
			if l.scope == scope {
				group = append(group, l)
			}
		}
		if s.mask == 0 || len(group) == 0 {
			continue
		}
		convicted, acquits := referenceGroup(group)
		if convicted {
			return crl.Revoked
		}
		if acquits {
			acquitted |= s.mask
		}
	}
	switch {
	case acquitted == crl.AllReasons:
		return crl.Good
	case len(lists) == 0:
		return crl.NotCovered
	}
	return crl.Undetermined
}

func referenceGroup(group []modelList) (convicted, acquits bool) {
	byNumber := func(a, b modelList) int { return cmp.Compare(a.number, b.number) }
	filter := func(keep func(modelList) bool) []modelList {
		return slices.DeleteFunc(slices.Clone(group), func(l modelList) bool { return !keep(l) })
	}
	complete := filter(func(l modelList) bool { return l.base == 0 })
	begun := filter(func(l modelList) bool { return l.base == 0 && l.this <= 0 })
	base := modelList{number: -1, next: -1}
	if len(begun) > 0 {
		base = slices.MaxFunc(begun, byNumber)
	} else if len(complete) > 0 {
		base = slices.MinFunc(complete, byNumber)
	}
	best := modelList{number: -1}
	applicable := filter(func(l modelList) bool {
		return l.base > 0 && base.number >= l.base && l.number > base.number && l.usable()
	})
	if len(applicable) > 0 {
		best = slices.MaxFunc(applicable, byNumber)
	}
	for _, l := range group {
		latest := l.base == 0 && l.this > 0 && l.number >= base.number || l.base > 0 && l.number > base.number && l.number >= best.number
		if latest && l.entry == 1 {
			return true, false
		}
	}
	return base.entry == 1 && best.entry != 2, base.usable()
}

// FuzzEngine holds the engine against the reference: six octets make a list.
func FuzzEngine(f *testing.F) {
	f.Add([]byte{1, 0, 10, 50, 0, 0})
	f.Add([]byte{1, 0, 10, 50, 0, 1, 9, 1, 10, 50, 0, 2})
	f.Add([]byte{1, 0, 10, 50, 3, 0, 9, 0, 10, 50, 4, 0})
	f.Add([]byte{1, 0, 10, 50, 0, 0, 9, 3, 10, 50, 0, 1, 4, 0, 40, 60, 0, 4})
	f.Add([]byte{5, 0, 10, 50, 0, 1, 4, 2, 10, 50, 0, 2, 9, 2, 10, 20, 0, 1, 8, 5, 10, 50, 0, 2})
	ca := certify(f, nil, "CA", asCA)
	ee := certify(f, ca, "EE", serial(5))
	f.Fuzz(func(t *testing.T, octets []byte) {
		var model []modelList
		var lists []*crl.Verified
		for o := range slices.Chunk(octets[:min(len(octets), 48)], 6) {
			if len(o) < 6 {
				break
			}
			m := modelList{
				number: 1 + int(o[0]%16)*8 + len(model), base: int(o[1]%4) * 24,
				this: int(o[2]%48) - 40, scope: int(o[4]) % len(modelScopes()), entry: int(o[5] % 3), critical: o[5]&0x80 != 0,
			}
			m.next = m.this + int(o[3]%64)
			model = append(model, m)
			lists = append(lists, m.draft(ca).verify(t))
		}
		got := set(lists...).Check(ee.Certificate, ca.Certificate, now())
		if want := reference(model); got.Status != want {
			t.Errorf("%v (%s), want %v: %+v", got.Status, got.Why, want, model)
		}
	})
}

func (m modelList) draft(ca *identity) draft {
	d := list(ca).numbered(int64(m.number))
	d.thisUpdate, d.nextUpdate = now().Add(time.Duration(m.this)*hour), now().Add(time.Duration(m.next)*hour)
	switch m.entry {
	case 1:
		d.entries = [][]byte{entry(5, crl.KeyCompromise)}
	case 2:
		d.entries = [][]byte{entry(5, crl.RemoveFromCRL)}
	}
	if parts := modelScopes()[m.scope].parts; parts != nil {
		d = d.idp(parts...)
	}
	if m.base > 0 {
		d = d.delta(int64(m.base))
	}
	if m.critical {
		d.extensions = append(d.extensions, ext(unknownExtension, true, []byte{5, 0}))
	}
	return d
}

// FuzzParseOCSPRequest holds the parser against that of x/crypto, on what both accept.
func FuzzParseOCSPRequest(f *testing.F) {
	ca := certify(f, nil, "CA", asCA)
	f.Add(ask(nil, sha1ID(ca, 5)))
	f.Add(ask(nonce(make([]byte, 32)), sha256ID(ca, 5), sha1ID(ca, 6)))
	f.Fuzz(func(t *testing.T, der []byte) {
		got, err := crl.ParseOCSPRequest(der)
		if err != nil {
			if !errors.Is(err, pki.ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		if len(got.IDs) == 0 || len(got.IDs) > 16 || len(got.Nonce) > 128 {
			t.Fatalf("%+v is out of bounds", got)
		}
		want, err := ocsp.ParseRequest(der)
		if err != nil || got.IDs[0].Hash == 0 {
			return
		}
		id := got.IDs[0]
		if id.Hash != want.HashAlgorithm || !bytes.Equal(id.NameHash, want.IssuerNameHash) || !bytes.Equal(id.KeyHash, want.IssuerKeyHash) || id.Serial.Int().Cmp(want.SerialNumber) != 0 {
			t.Fatalf("%+v, want %+v", id, want)
		}
	})
}

// FuzzDistributionPoints asks about certificates with any distribution points,
// which must only not panic, and never be good unless one is the list's.
func FuzzDistributionPoints(f *testing.F) {
	ca := certify(f, nil, "CA", asCA)
	f.Add(seq(seq(full(uri("http://a/1")), flags(0x81, 1, 2), element(0xa2, dirName(ca.RawSubject)))))
	f.Add(seq(seq(relative("CRL1")), seq(full(uri("http://a/1"), dirName(ca.RawSubject)))))
	f.Add(seq(seq(element(0xa2, dirName(ca.RawSubject)))))
	s := set(list(ca).idp(full(uri("http://a/1"))).verify(f), list(ca).idp(relative("CRL1")).verify(f))
	f.Fuzz(func(t *testing.T, value []byte) {
		v := s.Check(&x509.Certificate{
			RawIssuer: ca.RawSubject, SerialNumber: big.NewInt(5),
			Extensions: []pkix.Extension{{Id: []int{2, 5, 29, 31}, Value: value}},
		}, ca.Certificate, now())
		if v.Status == crl.Good && !bytes.Contains(value, uri("http://a/1")) && !bytes.Contains(value, []byte("CRL1")) {
			t.Errorf("good with %x", value)
		}
	})
}

// FuzzDecodeOCSPPath encodes what it decoded.
func FuzzDecodeOCSPPath(f *testing.F) {
	f.Add("MEUwQzBBMD8wPTAJBgUrDgMCGgUA")
	f.Add("%4dA%3D%3d")
	f.Fuzz(func(t *testing.T, path string) {
		der, err := crl.DecodeOCSPPath(path)
		if err != nil {
			return
		}
		again, err := crl.DecodeOCSPPath(base64.StdEncoding.EncodeToString(der))
		if err != nil || !bytes.Equal(der, again) {
			t.Fatalf("%x is %x the second time: %v", der, again, err)
		}
	})
}

// FuzzSerials has any two numbers found exactly when they are equal, whatever
// their sign and size.
func FuzzSerials(f *testing.F) {
	f.Add("0", "0")
	f.Add("-1", "255")
	f.Add("128", "-128")
	f.Add("730750818665451459101842416358141509827966271487", "-730750818665451459101842416358141509827966271488")
	ca := certify(f, nil, "CA", asCA)
	f.Fuzz(func(t *testing.T, listed, asked string) {
		a, ok := new(big.Int).SetString(listed, 10)
		b, is := new(big.Int).SetString(asked, 10)
		if !ok || !is || a.BitLen() >= 168 || b.BitLen() >= 168 {
			return
		}
		s := set(list(ca, bigEntry(a, crl.KeyCompromise)).verify(t))
		v := s.Check(&x509.Certificate{RawIssuer: ca.RawSubject, SerialNumber: b}, ca.Certificate, now())
		if (v.Status == crl.Revoked) != (a.Cmp(b) == 0) {
			t.Errorf("%s is listed, %s is %v (%s)", a, b, v.Status, v.Why)
		}
	})
}
