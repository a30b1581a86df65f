package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"os"
	"time"

	"omca/ca"
	"omca/crl"
	"omca/pki"
)

// chainLimit is how much more a chain of three may cost than a leaf alone.
const chainLimit = time.Microsecond

// A chainCheck reports whether something is known against a chain, leaf first, up to its trust anchor.
type chainCheck func(chain []*x509.Certificate) bool

// newChainCheck returns the check that a listener makes of a chain, where each of the CAs has
// revoked so many certificates, and no list of others is followed.
func newChainCheck(entries int, authorities ...*bare) (chainCheck, error) {
	ledger, now := crl.NewLedger(), time.Now()
	foreign := crl.NewSet(crl.Sources{})
	var anchors []*x509.Certificate
	for _, authority := range authorities {
		if bytes.Equal(authority.ca.RawIssuer, authority.ca.RawSubject) {
			anchors = append(anchors, authority.ca)
		}
		var err error
		ledger, err = ledger.WithAll(pki.AuthorityOf(authority.ca), func(yield func(crl.Entry, error) bool) {
			for n := range entries {
				if !yield(revocation(n, now).Entry, nil) {
					return
				}
			}
		})
		if err != nil {
			return nil, err
		}
	}
	lineage := ca.NewLineage(anchors, nil)
	return func(chain []*x509.Certificate) bool {
		for i, cert := range chain[:len(chain)-1] {
			if _, revoked := ledger.Check(cert, chain[i+1]); revoked {
				return true
			}
			if v := foreign.Check(cert, chain[i+1], now); v.Status != crl.NotCovered {
				return true
			}
		}
		return len(lineage.Issuers(chain[len(chain)-1])) > 0 // each would be asked, as above
	}, nil
}

// chains is chain as one step of a whole run.
func (b *bench) chains(ctx context.Context) error {
	_, err := b.chain(ctx)
	return err
}

// chain measures how much more a chain of three costs than a leaf alone, beside a million
// revocations.
func (b *bench) chain(ctx context.Context) (time.Duration, error) {
	const entries, leaves, checks, rounds = 500_000, 4096, 100_000, 15 // entries of each of two CAs
	root, err := newBare()
	if err != nil {
		return 0, err
	}
	below, err := root.below()
	if err != nil {
		return 0, err
	}
	check, err := newChainCheck(entries, root, below)
	if err != nil {
		return 0, err
	}
	var alone, whole [][]*x509.Certificate
	for n := range leaves {
		leaf := func(of *bare) *x509.Certificate {
			return &x509.Certificate{RawIssuer: of.ca.RawSubject, SerialNumber: spread(entries + n)}
		}
		alone, whole = append(alone, []*x509.Certificate{leaf(root), root.ca}), append(whole, []*x509.Certificate{leaf(below), below.ca, root.ca})
	}
	var costs [2][]time.Duration
	for range rounds {
		for i, chains := range [][][]*x509.Certificate{alone, whole} {
			cost, err := each(check, chains, checks)
			if err != nil {
				return 0, err
			}
			costs[i] = append(costs[i], cost)
		}
	}
	one, three := median(costs[0]), median(costs[1])
	b.report.add("a chain of three - a leaf alone, beside 1,000,000 revocations", "under 1000 ns",
		fmt.Sprintf("in process, in turns, %d rounds each of %d checks of %d chains that are good, two CAs of %d revocations, median", rounds, checks, leaves, entries),
		"%d ns (%d - %d ns)", (three - one).Nanoseconds(), three.Nanoseconds(), one.Nanoseconds())
	return three - one, ctx.Err()
}

// each returns the processor time of one check: what else runs on the machine is not counted.
func each(check chainCheck, chains [][]*x509.Certificate, checks int) (time.Duration, error) {
	before, err := processClock(os.Getpid())
	if err != nil {
		return 0, err
	}
	for i := range checks {
		if check(chains[i%len(chains)]) {
			return 0, fmt.Errorf("chain %d is refused, and nothing on it was revoked", i%len(chains))
		}
	}
	after, err := processClock(os.Getpid())
	return (after - before) / time.Duration(checks), err
}

// below makes a CA below.
func (b *bare) below() (*bare, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "bare CA below"},
		NotBefore: b.ca.NotBefore, NotAfter: b.ca.NotAfter,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, b.ca, key.Public(), b.key)
	if err != nil {
		return nil, err
	}
	ca, err := x509.ParseCertificate(der)
	return &bare{ca, key}, err
}
