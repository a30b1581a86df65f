package omca

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"time"

	"omca/ca"
	"omca/pki"
)

// TestModel tries thousands of random sequences of steps against a model that knows
// only what was signed, what was taken back and what was given, all by the true time:
//
//   - what was revoked never becomes good: not in a handshake, not for OCSP, and it is on
//     the current list of its CA until it has expired;
//   - numbers of lists rise, one number has one content, and no list is older than an
//     entry of it;
//   - no caller has rights that were not given, and what was not revoked gets in.
//
// See model_steps_test.go for the steps, and model_run_test.go for how to run more of
// them, or one again.

// A caID is what the model knows a CA by: its name and its key, whatever else its
// certificate says.
type caID [sha256.Size]byte

func idOf(cert *x509.Certificate) caID {
	return sha256.Sum256(slices.Concat(cert.RawSubject, []byte{0}, cert.RawSubjectPublicKeyInfo))
}

// Short returns a few digits, for people.
func (id caID) Short() string { return hex.EncodeToString(id[:4]) }

// A signed is a certificate that was signed, here or (foreign) with a key that was
// imported, and where it went.
type signed struct {
	cert    *x509.Certificate
	issuer  caID
	owner   string // path of an object; "" for a foreign one
	profile string
	user    string // whom it speaks for; "" for anything but a user's
	life    int    // of that user
	revoked bool
	lost    bool // signed after the backup that was restored: not on record
	foreign bool
	request bool // made of a signing request: no object holds it

	key  pki.KeyHash // that it certifies
	root bool        // it signed itself
}

// newSigned is a certificate that the CA issuer signed.
func newSigned(cert *x509.Certificate, issuer caID) signed {
	return signed{cert: cert, issuer: issuer, key: pki.KeyHashOf(cert), root: issuer == idOf(cert)}
}

// revocable reports whether the certificate can be revoked, and is not.
func (c signed) revocable() bool { return !c.revoked && !c.foreign && !c.lost && !c.root }

// A person is a user. One who is deleted and made anew begins another life.
type person struct {
	life     int
	right    right
	disabled bool
}

// A given is a token.
type given struct {
	id, text string
	user     string
	life     int
	right    right
	expires  time.Time
	dead     bool // revoked, or its user was
	rotated  bool // dead by the end of the key that signed it
	lost     bool // issued after the backup that was restored
}

// model is what is true. Everything else has to follow from it.
type model struct {
	certs   []signed
	users   map[string]person
	tokens  []given
	keys    map[caID]bool        // CAs whose keys are here
	blocked map[pki.KeyHash]bool // keys that are never certified again
}

func (m model) clone() model {
	m.certs, m.tokens = slices.Clone(m.certs), slices.Clone(m.tokens)
	m.users, m.keys, m.blocked = maps.Clone(m.users), maps.Clone(m.keys), maps.Clone(m.blocked)
	return m
}

// restored is what is true once a backup was restored, with the knowledge of the store
// that it replaces or without.
// What an imported CA signed since (made: its key was made here) would be accepted without
// a record, and is revoked.
func (m model) restored(backup model, knows bool, made func(caID) bool) model {
	next := backup.clone()
	for i, c := range m.certs {
		if i >= len(next.certs) {
			c.lost, c.revoked = true, knows && (c.revoked || !made(c.issuer))
			next.certs = append(next.certs, c)
		}
		next.certs[i].revoked = next.certs[i].revoked || c.revoked && knows
	}
	for i, g := range m.tokens {
		kept := g.dead && knows && !g.rotated // a backup brings its signing keys back
		if i >= len(next.tokens) {
			g.lost, g.dead = true, kept
			next.tokens = append(next.tokens, g)
		}
		next.tokens[i].dead = next.tokens[i].dead || kept
	}
	if knows {
		maps.Copy(next.blocked, m.blocked)
	}
	return next
}

// A right is one grant; the zero right is none.
type right struct{ role, namespace string }

func (r right) String() string {
	if r.namespace == "" {
		return r.role
	}
	return r.role + ":" + r.namespace
}

// covers reports whether r gives what need gives.
func (r right) covers(need right) bool {
	switch {
	case r.role == "root" || need == right{}:
		return true
	case r.namespace != need.namespace || need.role == "root":
		return false
	}
	return r.role == need.role || r.role == "admin" && need.role == "guest"
}

// meet is what a and b both give.
func meet(a, b right) right {
	switch {
	case a.covers(b):
		return b
	case b.covers(a):
		return a
	}
	return right{}
}

// A verdict says what a caller may expect.
type verdict int

const (
	refused verdict = iota
	accepted
	either
)

// ofCert is what the certificate i gives, where clean is what its verified chains may
// expect of revocations. made: the key of the CA that signed it was made here.
func (m model) ofCert(i int, clean verdict, made bool) (verdict, right) {
	c := m.certs[i]
	u, exists := m.users[c.user]
	switch {
	case clean == refused || c.user == "" || !exists || u.disabled:
		return refused, right{}
	case c.foreign:
		return either, u.right
	case !made: // of an imported CA others may have signed more: it depends on the cluster's CA
		if c.life != u.life && !c.lost {
			return refused, right{}
		}
		return either, u.right
	case c.lost || c.life != u.life:
		return refused, right{}
	}
	return clean, u.right
}

// ofToken is what the token i gives at that time by the clock of the server.
func (m model) ofToken(i int, now time.Time) (verdict, right) {
	g := m.tokens[i]
	u, exists := m.users[g.user]
	if !exists || u.disabled || u.life != g.life || g.dead || g.lost || !now.Before(g.expires) {
		return refused, right{}
	}
	return either, meet(g.right, u.right)
}

// seen is what the world was shown of the lists of one CA.
type seen struct {
	number  *big.Int
	content map[string][sha256.Size]byte // by number
	list    *x509.RevocationList         // the last one
	entries map[pki.Serial]bool          // of the last one
	der     []byte
}

func (s *seen) clone() *seen {
	c := *s
	c.content = maps.Clone(s.content)
	return &c
}

// look takes a list as the world sees it, and returns which entries have left since the
// list before, and the earlier time of the two.
func (s *seen) look(der []byte, issuer *x509.Certificate) (left []pki.Serial, since time.Time, err error) {
	if bytes.Equal(der, s.der) {
		return nil, since, nil
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, since, fmt.Errorf("a list of %q cannot be read: %w", issuer.Subject, err)
	}
	number, sum := list.Number.String(), sha256.Sum256(list.RawTBSRevocationList)
	if known, ok := s.content[number]; ok && known != sum {
		return nil, since, fmt.Errorf("list number %s of %q has two contents", number, issuer.Subject)
	}
	if s.number != nil && list.Number.Cmp(s.number) < 0 {
		return nil, since, fmt.Errorf("the list number of %q fell from %s to %s", issuer.Subject, s.number, number)
	}
	entries := make(map[pki.Serial]bool)
	for _, e := range list.RevokedCertificateEntries {
		if e.RevocationTime.After(list.ThisUpdate) {
			return nil, since, fmt.Errorf("list number %s of %q is of %s, before an entry of %s", number, issuer.Subject, list.ThisUpdate, e.RevocationTime)
		}
		entries[pki.Serial(e.SerialNumber.Text(16))] = true
	}
	since = list.ThisUpdate
	for serial := range s.entries {
		if !entries[serial] {
			left = append(left, serial)
		}
		if s.list.ThisUpdate.Before(since) {
			since = s.list.ThisUpdate
		}
	}
	s.number, s.list, s.der, s.entries = list.Number, list, der, entries
	s.content[number] = sum
	return left, since, nil
}

// forget has the next list stand for itself.
func (s *seen) forget() { s.entries, s.der = nil, nil }

// living reports whether a certificate has not expired at any of the times.
func living(c *x509.Certificate, at ...time.Time) bool {
	return !slices.ContainsFunc(at, func(t time.Time) bool { return t.After(c.NotAfter) })
}

// holdLists checks what is listed.
func (w *modelWorld) holdLists() error {
	for i := range w.m.certs {
		c := &w.m.certs[i]
		if c.foreign || c.profile == ca.ProfileOCSP || !w.m.keys[c.issuer] || !c.revoked || !living(c.cert, w.at, w.now()) {
			continue
		}
		list := w.lists[c.issuer]
		if list == nil || list.entries == nil {
			return fmt.Errorf("revoked never becomes good: there is no list with %s", w.describe(i))
		}
		if !list.entries[pki.SerialOf(c.cert)] {
			return fmt.Errorf("revoked never becomes good: list number %s is without %s", list.number, w.describe(i))
		}
	}
	return nil
}

// lookAtLists publishes, and looks at every list that there is: not again when nothing
// happened since.
func (w *modelWorld) lookAtLists(ctx context.Context) error {
	if since := w.now().Sub(w.asOf); w.db.count() == w.published && since >= 0 && since < time.Minute {
		return nil
	}
	if _, err := w.s.publisher.Publish(ctx); err != nil {
		return fmt.Errorf("publishing: %w", err)
	}
	for _, one := range w.authorities {
		list, err := w.s.publisher.Current("x-" + pki.AuthorityOf(one.cert).Short())
		if errors.Is(err, ca.ErrNotFound) {
			if s := w.lists[one.id]; s != nil {
				s.forget()
			}
			continue
		}
		if err != nil {
			return err
		}
		if w.lists[one.id] == nil {
			w.lists[one.id] = &seen{content: make(map[string][sha256.Size]byte)}
		}
		left, since, err := w.lists[one.id].look(list.DER, one.cert)
		if err != nil {
			return err
		}
		if err := w.noneLeftEarly(one.id, left, since); err != nil {
			return err
		}
	}
	w.published, w.asOf = w.db.count(), w.now()
	return w.noneListedTooMany()
}

// noneLeftEarly checks that what left the list of a CA had expired before the list before.
func (w *modelWorld) noneLeftEarly(by caID, left []pki.Serial, since time.Time) error {
	for _, serial := range left {
		for i, c := range w.m.certs {
			if c.issuer == by && pki.SerialOf(c.cert) == serial && living(c.cert, since) {
				return fmt.Errorf("revoked never becomes good: list number %s has no more %s, which lived at %s", w.lists[by].number, w.describe(i), since)
			}
		}
	}
	return nil
}

// noneListedTooMany checks that what is listed was revoked at some time.
func (w *modelWorld) noneListedTooMany() error {
	for i, c := range w.m.certs {
		if list := w.lists[c.issuer]; list != nil && !c.revoked && !w.everRevoked[pki.SerialOf(c.cert)] && list.entries[pki.SerialOf(c.cert)] {
			return fmt.Errorf("list number %s has %s, which was not revoked", list.number, w.describe(i))
		}
	}
	return nil
}

// holdHandshakes checks which certificates the listener lets in.
func (w *modelWorld) holdHandshakes() error {
	for i := range w.m.certs {
		chains := w.chains(i)
		if len(chains) == 0 {
			continue
		}
		clean, err := w.clean(chains), w.s.enforcer.Check(chains)
		if clean == accepted && err != nil {
			return fmt.Errorf("not revoked, and refused: %s: %w", w.describe(i), err)
		}
		if clean == refused && err == nil {
			return fmt.Errorf("revoked never becomes good: a handshake with %s is let in", w.describe(i))
		}
	}
	return nil
}
