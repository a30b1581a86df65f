package crl_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte/asn1"

	"omca/crl"
)

// world is a trust anchor, a CA below it, an end entity, and their lists.
type world struct {
	tb      testing.TB
	root    *identity
	ca      *identity // serial 2
	ee      *identity // serial 5
	more    []*identity
	lists   []draft // of all but root, whose list is empty unless rootRevokes
	revoked [][]byte
}

func newWorld(tb testing.TB) *world {
	w := &world{tb: tb, root: certify(tb, nil, "Trust Anchor", asCA)}
	w.ca = certify(tb, w.root, "CA", asCA, serial(2))
	w.entity()
	w.lists = []draft{list(w.ca)}
	return w
}

// entity makes the end entity anew.
func (w *world) entity(options ...certOption) {
	w.ee = certify(w.tb, w.ca, "EE", append([]certOption{serial(5)}, options...)...)
}

// forge changes octets of the end entity, which crypto/x509 would neither write
// nor read the other way, and signs it again.
func (w *world) forge(old, new []byte) {
	w.tb.Helper()
	if bytes.Count(w.ee.RawTBSCertificate, old) != 1 || len(old) != len(new) {
		w.tb.Fatalf("%x is not once in the certificate", old)
	}
	tbs := bytes.Replace(w.ee.RawTBSCertificate, old, new, 1)
	signature := must[[]byte](w.tb)(crypto.SignMessage(w.ca.key, rand.Reader, tbs, crypto.SHA256))
	w.ee.Raw = seq(tbs, []byte(ecdsaWithSHA256), element(asn1.BIT_STRING, []byte{0}, signature))
}

func (w *world) all() []draft { return append([]draft{list(w.root, w.revoked...)}, w.lists...) }

// set is what a careful caller makes of the world: lists that do not parse or
// verify are left out, and both CAs are expected to have some.
func (w *world) set() *crl.Set {
	w.tb.Helper()
	cas := []*x509.Certificate{w.root.Certificate, w.ca.Certificate}
	for _, id := range w.more {
		cas = append(cas, id.Certificate)
	}
	from := crl.Sources{Covered: cas[:2], Authorities: cas}
	for _, d := range w.all() {
		l, err := crl.Parse(d.der(w.tb), crl.DefaultLimits())
		if err != nil {
			continue
		}
		if v, err := l.Verify(cas...); err == nil {
			from.Lists = append(from.Lists, v)
		}
	}
	return crl.NewSet(from)
}

func (w *world) chain() []*x509.Certificate {
	return []*x509.Certificate{w.ee.Certificate, w.ca.Certificate, w.root.Certificate}
}

// openssl reports whether openssl accepts the end entity.
func (w *world) openssl(flags ...string) (bool, string) {
	w.tb.Helper()
	dir := w.tb.TempDir()
	file(w.tb, dir, "root.pem", "CERTIFICATE", w.root.Raw)
	file(w.tb, dir, "ee.pem", "CERTIFICATE", w.ee.Raw)
	untrusted := [][]byte{w.ca.Raw}
	for _, id := range w.more {
		untrusted = append(untrusted, id.Raw)
	}
	file(w.tb, dir, "untrusted.pem", "CERTIFICATE", untrusted...)
	var lists strings.Builder
	for _, d := range w.all() {
		fmt.Fprintf(&lists, "%s", pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: d.der(w.tb)}))
	}
	if err := os.WriteFile(filepath.Join(dir, "crls.pem"), []byte(lists.String()), 0o600); err != nil {
		w.tb.Fatal(err)
	}
	args := []string{"verify", "-attime", fmt.Sprint(now().Unix()), "-crl_check_all", "-use_deltas"}
	args = append(args, flags...)
	args = append(args, "-CAfile", "root.pem", "-untrusted", "untrusted.pem", "-CRLfile", "crls.pem", "ee.pem")
	out, err := openssl(w.tb, dir, args...)
	return err == nil, out
}

// stranger is what openssl makes of a case.
type stranger int

const (
	agrees   stranger = iota // it accepts what is Good and nothing else
	extended                 // so it does with -extended_crl
	accepts                  // it accepts what we do not: the case says why
	refuses                  // it refuses what we accept: the case says why
)

type pkitsCase struct {
	name    string
	make    func(w *world)
	want    crl.Status
	openssl stranger
}

const (
	unknownExtension = "\x2a\x03\x04" // 1.2.3.4
	certIssuer       = "\x55\x1d\x1d"
	freshest         = "\x55\x1d\x2e"
)

func TestPKITS(t *testing.T) {
	for _, cases := range [][]pkitsCase{pkitsBasic(), pkitsSerials(), pkitsKeys(), pkitsPoints(), pkitsScopes(), pkitsReasons(), pkitsIndirect(), pkitsDeltas()} {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				c.make(w)
				v := w.set().CheckChain(w.chain(), now())
				if v.Status != c.want || (v.Why == "") != (v.Status == crl.Good) {
					t.Errorf("%v (%s), want %v", v.Status, v.Why, c.want)
				}
			})
		}
	}
}

func TestPKITSOpenSSL(t *testing.T) {
	require(t, "openssl")
	for _, cases := range [][]pkitsCase{pkitsBasic(), pkitsSerials(), pkitsKeys(), pkitsPoints(), pkitsScopes(), pkitsReasons(), pkitsIndirect(), pkitsDeltas()} {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				c.make(w)
				var flags []string
				// openssl 3.0 takes a delta list for a complete one unless it is extended.
				if c.openssl == extended || strings.HasPrefix(c.name, "4.15") {
					flags = []string{"-extended_crl"}
				}
				ok, out := w.openssl(flags...)
				if want := c.want == crl.Good && c.openssl != refuses || c.openssl == accepts; ok != want {
					t.Errorf("openssl accepts: %v, want %v: %s", ok, want, out)
				}
			})
		}
	}
}

func pkitsBasic() []pkitsCase {
	return []pkitsCase{
		{"4.4.0 all good", func(w *world) {}, crl.Good, agrees},
		{"4.4.1 missing CRL", func(w *world) { w.lists = nil }, crl.Undetermined, agrees},
		{"4.4.2 revoked CA", func(w *world) { w.revoked = [][]byte{entry(2, crl.KeyCompromise)} }, crl.Revoked, agrees},
		{"4.4.3 revoked EE", func(w *world) { w.lists = []draft{list(w.ca, entry(5, crl.KeyCompromise))} }, crl.Revoked, agrees},
		{"4.4.4 bad CRL signature", func(w *world) { w.lists[0].badSignature = true }, crl.Undetermined, agrees},
		{"4.4.5 bad CRL issuer name", func(w *world) { w.lists[0].issuer = within(w.ca, "Bad") }, crl.Undetermined, agrees},
		{"4.4.6 wrong CRL", func(w *world) { w.lists = []draft{list(w.root).numbered(2)} }, crl.Undetermined, agrees},
		{"4.4.7 two CRLs", func(w *world) {
			w.lists = append(w.lists, list(certify(w.tb, nil, "CA", asCA), entry(5, crl.KeyCompromise)))
		}, crl.Good, agrees},
		{"4.4.8 unknown CRL entry extension", func(w *world) {
			w.lists = []draft{list(w.ca, entry(4, crl.Superseded, ext(unknownExtension, true, integerDER(1))), entry(5, crl.Superseded))}
		}, crl.Revoked, agrees},
		{"4.4.8 unknown CRL entry extension of another", func(w *world) {
			w.lists = []draft{list(w.ca, entry(4, crl.Superseded, ext(unknownExtension, true, integerDER(1))))}
		}, crl.Undetermined, agrees},
		{"4.4.8 unknown CRL entry extension not critical", func(w *world) {
			w.lists = []draft{list(w.ca, entry(4, crl.Superseded, ext(unknownExtension, false, integerDER(1))))}
		}, crl.Good, agrees},
		{"4.4.9 unknown CRL extension, listed", func(w *world) {
			w.lists = []draft{list(w.ca, entry(5, crl.KeyCompromise))}
			w.lists[0].extensions = [][]byte{ext(unknownExtension, true, integerDER(1))}
		}, crl.Revoked, agrees},
		{"4.4.10 unknown CRL extension", func(w *world) {
			w.lists[0].extensions = [][]byte{ext(unknownExtension, true, integerDER(1))}
		}, crl.Undetermined, agrees},
		{"4.4.11 old nextUpdate", func(w *world) { w.lists[0].nextUpdate = now().Add(-time.Second) }, crl.Undetermined, agrees},
		{"4.4.12 pre-2000 nextUpdate", func(w *world) {
			w.lists[0].thisUpdate = time.Date(1998, 1, 1, 0, 0, 0, 0, time.UTC)
			w.lists[0].nextUpdate = time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC)
		}, crl.Undetermined, agrees},
		{"4.4.13 GeneralizedTime nextUpdate", func(w *world) {
			w.lists[0].generalized, w.lists[0].nextUpdate = true, time.Date(2055, 1, 1, 0, 0, 0, 0, time.UTC)
		}, crl.Good, agrees},
		{"4.4 thisUpdate in the future", func(w *world) { w.lists[0].thisUpdate = now().Add(time.Minute) }, crl.Undetermined, agrees},
		// openssl takes a list without nextUpdate for good for ever; RFC 5280, 5.1.2.5 demands one.
		{"4.4 no nextUpdate", func(w *world) { w.lists[0].nextUpdate = time.Time{} }, crl.Undetermined, accepts},
		{"4.4 revoked EE on an old list", func(w *world) {
			w.lists = []draft{list(w.ca, entry(5, crl.KeyCompromise))}
			w.lists[0].nextUpdate = now().Add(-time.Second)
		}, crl.Revoked, agrees},
	}
}

func pkitsSerials() []pkitsCase {
	long := func(first, last byte) *big.Int {
		b := make([]byte, 20)
		b[0], b[10], b[19] = first, 0x11, last
		return new(big.Int).SetBytes(b)
	}
	return []pkitsCase{
		{"4.4.14 negative serial, valid", func(w *world) {
			w.forge(integerDER(5), integerDER(-1))
			w.ee.SerialNumber = big.NewInt(-1)
			w.lists = []draft{list(w.ca, entry(255, crl.KeyCompromise), entry(1, crl.KeyCompromise), entry(-256, crl.KeyCompromise))}
		}, crl.Good, agrees},
		{"4.4.15 negative serial, revoked", func(w *world) {
			w.forge(integerDER(5), integerDER(-1))
			w.ee.SerialNumber = big.NewInt(-1)
			w.lists = []draft{list(w.ca, entry(-1, crl.KeyCompromise))}
		}, crl.Revoked, agrees},
		{"4.4.16 long serial, last octet differs", func(w *world) {
			w.entity(bigSerial(long(0x7f, 0x12)))
			w.lists = []draft{list(w.ca, bigEntry(long(0x7f, 0x13), crl.KeyCompromise))}
		}, crl.Good, agrees},
		{"4.4.17 long serial, first octet differs", func(w *world) {
			w.entity(bigSerial(long(0x7f, 0x12)))
			w.lists = []draft{list(w.ca, bigEntry(long(0x7e, 0x12), crl.KeyCompromise))}
		}, crl.Good, agrees},
		{"4.4.18 long serial, revoked", func(w *world) {
			w.entity(bigSerial(long(0x7f, 0x12)))
			w.lists = []draft{list(w.ca, bigEntry(long(0x7f, 0x12), crl.KeyCompromise))}
		}, crl.Revoked, agrees},
	}
}

func pkitsKeys() []pkitsCase {
	// separate gives the CA another certificate of its name, for lists only.
	separate := func(w *world, entries ...[]byte) *identity {
		signer := certify(w.tb, w.root, "CA", asCA, serial(3), usage(x509.KeyUsageCRLSign))
		w.more = append(w.more, signer)
		w.ca = certifyKey(w.tb, w.root, "CA", w.ca.key, asCA, serial(2), usage(x509.KeyUsageCertSign))
		w.lists = []draft{list(signer, entries...)}
		return signer
	}
	return []pkitsCase{
		{"4.4.19 separate certificate and CRL keys", func(w *world) { separate(w) }, crl.Good, extended},
		{"4.4.20 separate keys, EE revoked", func(w *world) { separate(w, entry(5, crl.KeyCompromise)) }, crl.Revoked, extended},
		{"4.4.21 separate keys, CRL signer revoked", func(w *world) {
			separate(w)
			w.revoked = [][]byte{entry(3, crl.KeyCompromise)}
		}, crl.Undetermined, extended},
		{"4.4 separate keys, signer of another authority", func(w *world) {
			other := certify(w.tb, nil, "Trust Anchor", asCA)
			signer := certify(w.tb, other, "CA", asCA, serial(3))
			w.more = append(w.more, other, signer)
			w.lists = []draft{list(signer), list(other)}
		}, crl.Undetermined, extended},
		{"4.4 CA without cRLSign", func(w *world) {
			w.ca = certifyKey(w.tb, w.root, "CA", w.ca.key, asCA, serial(2), usage(x509.KeyUsageCertSign))
			w.entity()
			w.lists = []draft{list(w.ca)}
		}, crl.Undetermined, agrees},
		{"4.5 list signed with the new key after a rollover", func(w *world) {
			fresh := certify(w.tb, w.root, "CA", asCA, serial(3))
			w.more = append(w.more, fresh)
			w.lists = []draft{list(fresh)}
		}, crl.Good, extended},
	}
}

func pkitsPoints() []pkitsCase {
	name := func(w *world, cn string) []byte { return dirName(within(w.ca, cn)) }
	// with gives the end entity a distribution point, and the list another.
	with := func(w *world, cdp, idp []byte, entries ...[]byte) {
		w.entity(func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: []int{2, 5, 29, 127}, Value: seq(seq(cdp))}}
		})
		w.forge([]byte("\x06\x03\x55\x1d\x7f"), []byte("\x06\x03\x55\x1d\x1f"))
		for i, e := range w.ee.Extensions {
			if e.Id[3] == 127 {
				w.ee.Extensions[i].Id = []int{2, 5, 29, 31}
			}
		}
		w.lists = []draft{list(w.ca, entries...).idp(idp)}
	}
	return []pkitsCase{
		{"4.14.1 distribution point", func(w *world) { with(w, full(name(w, "CRL1")), full(name(w, "CRL1"))) }, crl.Good, agrees},
		{"4.14.2 distribution point, revoked", func(w *world) {
			with(w, full(name(w, "CRL1")), full(name(w, "CRL1")), entry(5, crl.KeyCompromise))
		}, crl.Revoked, agrees},
		{"4.14.3 another distribution point", func(w *world) { with(w, full(name(w, "CRL1")), full(name(w, "CRLX"))) }, crl.Undetermined, agrees},
		{"4.14.4 full and relative name", func(w *world) { with(w, full(name(w, "CRL1")), relative("CRL1")) }, crl.Good, agrees},
		{"4.14.5 relative names", func(w *world) { with(w, relative("CRL1"), relative("CRL1")) }, crl.Good, agrees},
		{"4.14.6 relative names, revoked", func(w *world) {
			with(w, relative("CRL1"), relative("CRL1"), entry(5, crl.KeyCompromise))
		}, crl.Revoked, agrees},
		{"4.14.7 relative and full name", func(w *world) { with(w, relative("CRL1"), full(name(w, "CRL1"))) }, crl.Good, agrees},
		{"4.14.8 relative and another full name", func(w *world) { with(w, relative("CRL1"), full(name(w, "CRLX"))) }, crl.Undetermined, agrees},
		{"4.14.9 the certificate has none", func(w *world) {
			w.lists = []draft{list(w.ca).idp(full(name(w, "CRL1")))}
		}, crl.Undetermined, agrees},
		{"4.14.10 no issuing distribution point", func(w *world) { w.entity(points(seq(full(name(w, "CRL1"))))) }, crl.Good, agrees},
		{"4.14 one of several names", func(w *world) {
			with(w, full(uri("http://a/1"), uri("http://b/1")), full(uri("ldap://c/1"), uri("http://b/1")))
		}, crl.Good, agrees},
		{"4.14 a point of another issuer", func(w *world) {
			w.entity(points(seq(full(uri("http://a/1")), element(0xa2, dirName(w.root.RawSubject)))))
			w.lists = []draft{list(w.ca).idp(full(uri("http://a/1")))}
		}, crl.Undetermined, agrees},
		{"4.14 second distribution point", func(w *world) {
			w.entity(points(seq(full(uri("http://a/1"))), seq(full(uri("http://b/1")))))
			w.lists = []draft{list(w.ca, entry(5, crl.KeyCompromise)).idp(full(uri("http://b/1")))}
		}, crl.Revoked, agrees},
		{"4.14 second list", func(w *world) {
			w.entity(points(seq(full(uri("http://b/1")))))
			w.lists = []draft{list(w.ca).idp(full(uri("http://a/1"))), list(w.ca, entry(5, crl.KeyCompromise)).idp(full(uri("http://b/1")))}
		}, crl.Revoked, agrees},
		// openssl knows no list by the name of the issuer; RFC 5280, 6.3.3 does: the last paragraph.
		{"4.14 the issuer's name", func(w *world) { w.lists = []draft{list(w.ca).idp(full(dirName(w.ca.RawSubject)))} }, crl.Good, refuses},
	}
}

func pkitsScopes() []pkitsCase {
	only := func(parts ...[]byte) func(*world) {
		return func(w *world) { w.lists = []draft{list(w.ca).idp(parts...)} }
	}
	return []pkitsCase{
		{"4.14.11 onlyContainsUserCerts, a CA", func(w *world) {
			w.entity(asCA)
			only(yes(0x81))(w)
		}, crl.Undetermined, agrees},
		{"4.14.12 onlyContainsCACerts, not a CA", only(yes(0x82)), crl.Undetermined, agrees},
		{"4.14.13 onlyContainsCACerts, a CA", func(w *world) {
			w.entity(asCA)
			only(yes(0x82))(w)
		}, crl.Good, agrees},
		{"4.14.14 onlyContainsAttributeCerts", only(yes(0x85)), crl.Undetermined, agrees},
		{"4.14 onlyContainsUserCerts", only(yes(0x81)), crl.Good, agrees},
		{"4.14 only users and only CAs", only(yes(0x81), yes(0x82)), crl.Undetermined, agrees},
		{"4.14 users and CAs apart, revoked", func(w *world) {
			w.lists = []draft{list(w.ca).idp(yes(0x82)), list(w.ca, entry(5, crl.KeyCompromise)).idp(yes(0x81))}
		}, crl.Revoked, agrees},
	}
}

func pkitsReasons() []pkitsCase {
	compromise := []byte(flags(0x83, 1, 2))
	others := []byte(flags(0x83, 3, 4, 5, 6, 7, 8))
	// both lists, each for some reasons, with entries.
	both := func(first, second [][]byte) func(w *world) {
		return func(w *world) {
			w.lists = []draft{list(w.ca, first...).idp(compromise), list(w.ca, second...).idp(others)}
		}
	}
	// named is both, each with a distribution point of its own for its reasons.
	named := func(first, second [][]byte) func(w *world) {
		return func(w *world) {
			w.entity(points(seq(full(uri("http://a/1")), flags(0x81, 1, 2)), seq(full(uri("http://b/1")), flags(0x81, 3, 4, 5, 6, 7, 8))))
			w.lists = []draft{list(w.ca, first...).idp(full(uri("http://a/1")), compromise), list(w.ca, second...).idp(full(uri("http://b/1")), others)}
		}
	}
	key, old := [][]byte{entry(5, crl.KeyCompromise)}, [][]byte{entry(5, crl.Superseded)}
	return []pkitsCase{
		{"4.14.15 onlySomeReasons, revoked in the first", both(key, nil), crl.Revoked, extended},
		{"4.14.16 onlySomeReasons, revoked in the second", both(nil, old), crl.Revoked, extended},
		{"4.14.17 onlySomeReasons, not all covered", func(w *world) {
			w.lists = []draft{list(w.ca).idp(compromise), list(w.ca).idp(flags(0x83, 3, 4))}
		}, crl.Undetermined, extended},
		{"4.14.18 onlySomeReasons, all covered", both(nil, nil), crl.Good, extended},
		{"4.14.19 onlySomeReasons by points", named(nil, nil), crl.Good, extended},
		{"4.14.20 onlySomeReasons by points, first", named(key, nil), crl.Revoked, extended},
		{"4.14.21 onlySomeReasons by points, second", named(nil, old), crl.Revoked, extended},
		{"4.14 a point for some reasons only", func(w *world) {
			w.entity(points(seq(full(uri("http://a/1")), flags(0x81, 1, 2))))
			w.lists = []draft{list(w.ca).idp(full(uri("http://a/1")))}
		}, crl.Undetermined, extended},
	}
}

// pkitsIndirect has the tests of indirect lists, which convict certificates of their
// own issuer here and acquit none. Those that the suite calls valid, openssl accepts
// with -extended_crl.
func pkitsIndirect() []pkitsCase {
	indirect := yes(0x84)
	own := func(w *world, entries ...[]byte) { w.lists = []draft{list(w.ca, entries...).idp(indirect)} }
	// of gives the end entity a point with a cRLIssuer, which has an indirect list.
	of := func(w *world, entries ...[]byte) {
		issuer := certify(w.tb, w.root, "CRL issuer", asCA, serial(3))
		w.more = append(w.more, issuer)
		w.entity(points(seq(element(0xa2, dirName(issuer.RawSubject)))))
		w.lists = []draft{list(issuer, entries...).idp(indirect)}
	}
	at := func(w *world, id *identity) []byte { return ext(certIssuer, true, seq(dirName(id.RawSubject))) }
	undetermined := func(name string, make func(*world)) pkitsCase {
		return pkitsCase{name, make, crl.Undetermined, agrees}
	}
	return []pkitsCase{
		{"4.14.22 IDP with indirectCRL", func(w *world) { own(w) }, crl.Undetermined, agrees},
		{"4.14.23 IDP with indirectCRL, revoked", func(w *world) { own(w, entry(5, crl.KeyCompromise)) }, crl.Revoked, agrees},
		{"4.14 IDP with indirectCRL, revoked, beside a clean list", func(w *world) {
			w.lists = []draft{list(w.ca), list(w.ca, entry(5, crl.KeyCompromise)).idp(indirect)}
		}, crl.Revoked, accepts},
		{"4.14 IDP with indirectCRL, revoked after another issuer's", func(w *world) {
			own(w, entry(5, crl.KeyCompromise, at(w, w.root)), entry(5, crl.KeyCompromise, at(w, w.ca)))
		}, crl.Revoked, agrees},
		undetermined("4.14 IDP with indirectCRL, the serial number of another issuer", func(w *world) {
			own(w, entry(4, crl.KeyCompromise, at(w, w.root)), entry(5, crl.KeyCompromise))
		}),
		undetermined("4.14 IDP with indirectCRL, for attribute certificates", func(w *world) {
			w.lists = []draft{list(w.ca, entry(5, crl.KeyCompromise)).idp(indirect, yes(0x85))}
		}),
		undetermined("4.14.24 indirectCRL, other issuer", func(w *world) { of(w) }),
		undetermined("4.14.25 indirectCRL, serial of another issuer", func(w *world) { of(w, entry(5, crl.KeyCompromise)) }),
		undetermined("4.14.26 indirectCRL, no cRLIssuer in the point", func(w *world) {
			of(w)
			w.entity(points(seq(full(uri("http://a/1")))))
		}),
		undetermined("4.14.27 cRLIssuer whose list is not indirect", func(w *world) {
			of(w)
			w.lists = []draft{list(w.more[0])}
		}),
		undetermined("4.14.28 cRLIssuer", func(w *world) { of(w, entry(6, crl.KeyCompromise, at(w, w.ca))) }),
		undetermined("4.14.29 cRLIssuer, entries of two issuers", func(w *world) {
			of(w, entry(5, crl.KeyCompromise), entry(6, crl.KeyCompromise, at(w, w.ca)))
		}),
		undetermined("4.14.30 cRLIssuer with its own point", func(w *world) {
			of(w)
			w.lists = []draft{list(w.more[0]).idp(full(uri("http://a/1")), indirect)}
			w.entity(points(seq(full(uri("http://a/1")), element(0xa2, dirName(w.more[0].RawSubject)))))
		}),
		undetermined("4.14.31 cRLIssuer, revoked", func(w *world) { of(w, entry(5, crl.KeyCompromise, at(w, w.ca))) }),
		undetermined("4.14.32 cRLIssuer, revoked after another", func(w *world) {
			of(w, entry(6, crl.KeyCompromise, at(w, w.ca)), entry(5, crl.KeyCompromise))
		}),
		undetermined("4.14.33 cRLIssuer, another revoked", func(w *world) {
			of(w, entry(5, crl.KeyCompromise, at(w, w.root)), entry(7, crl.KeyCompromise))
		}),
		undetermined("4.14.34 cRLIssuer, revoked among many", func(w *world) {
			of(w, entry(4, crl.KeyCompromise), entry(5, crl.KeyCompromise, at(w, w.ca)), entry(6, crl.Superseded))
		}),
		undetermined("4.14.35 cRLIssuer without a list", func(w *world) {
			of(w)
			w.lists = nil
		}),
		// openssl sorts the entries by issuer as if the list said that it is indirect.
		{"4.14 certificateIssuer in a list that is not indirect", func(w *world) {
			w.lists = []draft{list(w.ca, entry(4, crl.KeyCompromise, at(w, w.root)), entry(5, crl.KeyCompromise))}
		}, crl.Undetermined, accepts},
	}
}

func pkitsDeltas() []pkitsCase {
	fresh := ext(freshest, false, seq(seq(full(uri("http://a/delta")))))
	// of is a complete list with a number and a delta of number 9 on a base.
	of := func(number int64, complete [][]byte, base int64, delta [][]byte) func(*world) {
		return func(w *world) {
			c := list(w.ca, complete...).numbered(number).with(func(d *draft) { d.extensions = append(d.extensions, fresh) })
			newer := list(w.ca, delta...).numbered(9).delta(base)
			newer.thisUpdate = now().Add(-hour)
			w.lists = []draft{c, newer}
		}
	}
	held, removed := [][]byte{entry(5, crl.CertificateHold)}, [][]byte{entry(5, crl.RemoveFromCRL)}
	gone, another := [][]byte{entry(5, crl.KeyCompromise)}, [][]byte{entry(6, crl.KeyCompromise)}
	return []pkitsCase{
		{"4.15.1 delta without base", func(w *world) { w.lists = []draft{list(w.ca).numbered(9).delta(1)} }, crl.Undetermined, extended},
		{"4.15.2 delta", of(1, another, 1, nil), crl.Good, extended},
		{"4.15.3 revoked on the base", of(1, gone, 1, nil), crl.Revoked, extended},
		{"4.15.4 revoked on the delta", of(1, nil, 1, gone), crl.Revoked, extended},
		{"4.15.5 removed by the delta", of(1, held, 1, removed), crl.Good, extended},
		{"4.15.6 held on the base, revoked on the delta", of(1, held, 1, gone), crl.Revoked, extended},
		{"4.15.7 removed, and never on the base", of(1, nil, 1, removed), crl.Good, extended},
		{"4.15.8 base newer than the delta's base", of(5, nil, 1, another), crl.Good, extended},
		{"4.15.9 base newer than the delta's base, revoked", of(5, nil, 1, gone), crl.Revoked, extended},
		{"4.15.10 base older than the delta's base, and old", func(w *world) {
			of(1, nil, 3, nil)(w)
			w.lists[0].nextUpdate = now().Add(-hour)
		}, crl.Undetermined, extended},
		{"4.15 removed by a delta of a later base", of(1, held, 3, removed), crl.Revoked, extended},
		// openssl does not look at such a delta; it is newer than the complete list, and authentic.
		{"4.15 revoked by a delta of a later base", of(1, nil, 3, gone), crl.Revoked, accepts},
		// openssl looks at the dates of the complete list only.
		{"4.15 removed by a delta that is old", func(w *world) {
			of(1, held, 1, removed)(w)
			w.lists[1].nextUpdate = now().Add(-time.Minute)
		}, crl.Revoked, accepts},
		{"4.15 removed by a delta with an unknown critical extension", func(w *world) {
			of(1, held, 1, removed)(w)
			w.lists[1].extensions = append(w.lists[1].extensions, ext(unknownExtension, true, integerDER(1)))
		}, crl.Revoked, extended},
		{"4.15 removed by a delta of another scope", func(w *world) {
			of(1, held, 1, removed)(w)
			w.lists[1] = w.lists[1].idp(yes(0x81))
		}, crl.Revoked, extended},
		{"4.15 delta older than the complete list", of(20, removed, 1, gone), crl.Good, extended},
	}
}
