package pki_test

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"
	"testing"

	"omca/pki"
)

// attribute is one attribute of a name, in the string type of tag.
func attribute(t *testing.T, oid asn1.ObjectIdentifier, tag int, text string) pkix.AttributeTypeAndValue {
	t.Helper()
	return pkix.AttributeTypeAndValue{Type: oid, Value: asn1.RawValue{Tag: tag, Bytes: []byte(text)}}
}

func nameOf(t *testing.T, rdns ...[]pkix.AttributeTypeAndValue) []byte {
	t.Helper()
	var seq pkix.RDNSequence
	for _, r := range rdns {
		seq = append(seq, r)
	}
	der, err := asn1.Marshal(seq)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// TestEqualNames holds names against each other by the rules of RFC 5280, section 7.1.
func TestEqualNames(t *testing.T) {
	cn, o := asn1.ObjectIdentifier{2, 5, 4, 3}, asn1.ObjectIdentifier{2, 5, 4, 10}
	one := func(tag int, text string) []byte {
		return nameOf(t, []pkix.AttributeTypeAndValue{attribute(t, cn, tag, text)})
	}
	const (
		utf8, printable, t61, ia5, bmp, octets = 12, 19, 20, 22, 30, 4
	)
	base := one(utf8, "Corp Root CA")
	both := [][]pkix.AttributeTypeAndValue{
		{attribute(t, cn, utf8, "a"), attribute(t, o, utf8, "b")},
		{attribute(t, o, utf8, "b"), attribute(t, cn, utf8, "a")},
	}
	for _, tt := range []struct {
		what string
		a, b []byte
		same bool
	}{
		{"the same octets", base, one(utf8, "Corp Root CA"), true},
		{"another string type", base, one(printable, "Corp Root CA"), true},
		{"IA5String", base, one(ia5, "Corp Root CA"), true},
		{"BMPString", one(utf8, "Ca"), one(bmp, "\x00C\x00a"), true},
		{"T61String", one(utf8, "é"), one(t61, "\xe9"), true},
		{"upper and lower case", base, one(utf8, "CORP ROOT ca"), true},
		{"case of letters that are not ASCII", one(utf8, "MÜNCHEN"), one(utf8, "münchen"), true},
		{"spaces", base, one(utf8, "  Corp   Root\tCA "), true},
		{"composed and decomposed", one(utf8, "e\u0301"), one(utf8, "\u00e9"), true},
		{"the order within a relative name", nameOf(t, both[0]), nameOf(t, both[1]), true},

		{"another text", base, one(utf8, "Corp Root CB"), false},
		{"a space that is missing", base, one(utf8, "CorpRoot CA"), false},
		{"another attribute", base, nameOf(t, []pkix.AttributeTypeAndValue{attribute(t, o, utf8, "Corp Root CA")}), false},
		{"no string", base, one(octets, "Corp Root CA"), false},
		{"octets in another case", one(octets, "a"), one(octets, "A"), false},
		{"two relative names or one", nameOf(t, both[0]), nameOf(t, both[0][:1], both[0][1:]), false},
		{"the order of relative names", nameOf(t, both[0][:1], both[0][1:]), nameOf(t, both[0][1:], both[0][:1]), false},
		{"one attribute more", nameOf(t, both[0]), nameOf(t, both[0][:1]), false},
		{"not UTF-8, and read as Latin-1", one(utf8, "\xe9"), one(t61, "\xe9"), false},
		{"broken names", []byte{1, 2, 3}, []byte{1, 2, 4}, false},
	} {
		if got := pki.EqualNames(tt.a, tt.b); got != tt.same {
			t.Errorf("%s: equal %t, want %t", tt.what, got, tt.same)
		}
		if pki.EqualNames(tt.b, tt.a) != tt.same {
			t.Errorf("%s: the other way round is different", tt.what)
		}
	}
}

// TestAuthorityOf: the key identifier of a certificate, and how its name is spelled, do not make it another
// CA; another name or another key does.
func TestAuthorityOf(t *testing.T) {
	cn := asn1.ObjectIdentifier{2, 5, 4, 3}
	cert := func(tag int, name, key string, ski []byte) *x509.Certificate {
		return &x509.Certificate{
			RawSubject:              nameOf(t, []pkix.AttributeTypeAndValue{attribute(t, cn, tag, name)}),
			RawSubjectPublicKeyInfo: []byte(key), SubjectKeyId: ski,
		}
	}
	id := pki.AuthorityOf(cert(12, "CA", "key", []byte{1}))
	if other := pki.AuthorityOf(cert(19, "ca", "key", nil)); other != id {
		t.Errorf("another spelling and no key identifier: %s, want %s", other, id)
	}
	if pki.AuthorityOf(cert(12, "CA", "yek", []byte{1})) == id {
		t.Error("another key gives the same identity")
	}
	if pki.AuthorityOf(cert(12, "CB", "key", []byte{1})) == id {
		t.Error("another name gives the same identity")
	}
	if id.IsZero() || len(id.String()) != 64 || id.Short() != id.String()[:16] {
		t.Errorf("identity %q, short %q", id, id.Short())
	}
	if back, err := pki.ParseAuthorityID(id.String()); err != nil || back != id {
		t.Errorf("read back: %v, %v", back, err)
	}
	for _, bad := range []string{"", "00", id.String() + "00", "x" + id.String()[1:]} {
		if _, err := pki.ParseAuthorityID(bad); err == nil {
			t.Errorf("%q is read as an identity", bad)
		}
	}
}

// FuzzCanonicalName: no input crashes, and two readings of one name agree.
func FuzzCanonicalName(f *testing.F) {
	f.Add([]byte{0x30, 0x0d, 0x31, 0x0b, 0x30, 0x09, 0x06, 0x03, 0x55, 0x04, 0x03, 0x0c, 0x02, 'C', 'A'})
	f.Add([]byte{0x30, 0x00})
	f.Fuzz(func(t *testing.T, der []byte) {
		again := slices.Clone(der)
		if !pki.EqualNames(der, again) || !bytes.Equal(pki.CanonicalName(der), pki.CanonicalName(again)) {
			t.Errorf("%x does not equal itself", der)
		}
	})
}
