package crl_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"omca/crl"
)

// FuzzOpenSSL makes lists of many shapes from a seed, and asks openssl the same
// question with -crl_check_all. Of several lists openssl takes one, by its own
// lights, where we take all: so it must agree unless the lists alone would not
// agree with each other.
func FuzzOpenSSL(f *testing.F) {
	require(f, "openssl")
	for seed := range uint64(150) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		w := newWorld(t)
		says := w.random(rand.New(rand.NewPCG(seed, 0)))
		verdict := w.set().CheckChain(w.chain(), now())
		accepted, out := w.openssl("-extended_crl")
		if good := verdict.Status == crl.Good; good != accepted && !w.divided() {
			t.Errorf("seed %d, %q: we say %v (%s), openssl accepts: %v: %s", seed, says, verdict.Status, verdict.Why, accepted, out)
		}
	})
}

// divided reports whether some of the lists alone make the certificate good, and
// some do not.
func (w *world) divided() bool {
	good := 0
	for _, d := range w.lists {
		alone := *w
		if alone.lists = []draft{d}; alone.set().CheckChain(w.chain(), now()).Status == crl.Good {
			good++
		}
	}
	return good > 0 && good < len(w.lists)
}

// random gives the world a certificate and lists of many shapes, and says which.
func (w *world) random(r *rand.Rand) (says []string) {
	chance := func(n int) bool { return r.IntN(n) == 0 }
	note := func(what string) { says = append(says, what) }
	if chance(3) {
		w.entity(points(seq(full(uri("http://a/1")))))
		note("the certificate has a distribution point")
	}
	if chance(8) {
		w.revoked = [][]byte{entry(2, crl.CACompromise)}
		note("the CA is revoked")
	}
	w.lists = nil
	for number := range int64(max(1, r.IntN(5)-1)) {
		d := list(w.ca, randomEntries(r, note)...).numbered(number + 1)
		d.thisUpdate, d.nextUpdate = randomTimes(r, note)
		d = randomScope(r, d, note)
		if chance(10) {
			d.badSignature = true
			note("badly signed")
		}
		if chance(12) {
			d.issuer = within(w.ca, "Bad")
			note("of another issuer")
		}
		if chance(12) {
			d.signer = w.root
			d.issuer = w.ca.RawSubject
			note("signed with another key")
		}
		if chance(8) {
			d.noKeyID = true
			note("no key identifier")
		}
		if chance(8) {
			d.generalized = true
			note("generalized time")
		}
		if chance(10) {
			d.extensions = append(d.extensions, ext(unknownExtension, !chance(2), integerDER(1)))
			note("an unknown extension")
		}
		w.lists = append(w.lists, d)
	}
	return says
}

func randomEntries(r *rand.Rand, note func(string)) (all [][]byte) {
	for n := range int64(r.IntN(4)) {
		all = append(all, entry(100+n, crl.Superseded))
	}
	switch r.IntN(4) {
	case 0:
		note("the certificate is revoked")
		all = append(all, entry(5, crl.KeyCompromise))
	case 1:
		if r.IntN(3) == 0 {
			note("another's critical entry extension")
			all = append(all, entry(7, crl.Superseded, ext(unknownExtension, true, integerDER(1))))
		}
	}
	return all
}

func randomTimes(r *rand.Rand, note func(string)) (this, next time.Time) {
	this, next = now().Add(-24*hour), now().Add(24*hour)
	switch r.IntN(6) {
	case 0:
		note("lapsed")
		next = now().Add(-time.Second)
	case 1:
		note("from the future")
		this = now().Add(time.Minute)
	}
	return this, next
}

func randomScope(r *rand.Rand, d draft, note func(string)) draft {
	switch r.IntN(9) {
	case 0:
		note("only users")
		return d.idp(yes(0x81))
	case 1:
		note("only CAs")
		return d.idp(yes(0x82))
	case 2:
		note("only attributes")
		return d.idp(yes(0x85))
	case 3:
		note("the distribution point of the certificate")
		return d.idp(full(uri("http://a/1")))
	case 4:
		note("another distribution point")
		return d.idp(full(uri("http://a/2")))
	case 5:
		note("some reasons")
		return d.idp(flags(0x83, 1, 2))
	}
	return d
}
