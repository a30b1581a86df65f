package ca

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"omca/internal/hint"
	"omca/pki"
	"omca/usr"
)

// formerPrefix marks the stored keys that hold a set that a CA had before.
const formerPrefix = "former-set/"

// mostFormer is how many sets a CA keeps: the oldest makes room, unless it has
// certificates that live.
const mostFormer = 32

func formerKey(n int) string { return formerPrefix + strconv.Itoa(n) }

// FormerKey reports whether a stored key holds a set that a CA had before, and
// its number. Operators have no such keys.
func FormerKey(stored string) (n int, ok bool) {
	digits, ok := strings.CutPrefix(stored, formerPrefix)
	n, err := strconv.Atoi(digits)
	return n, ok && err == nil
}

// formerSet is a complete set that was replaced, as it is stored: sealed.
type formerSet struct {
	Chain      []byte    `json:"chain"`         // PEM
	Key        []byte    `json:"key,omitempty"` // PEM; absent where it is elsewhere
	KeyMade    bool      `json:"key_made,omitempty"`
	ReplacedAt time.Time `json:"replaced_at"`
	ReplacedBy string    `json:"replaced_by"`
}

func (f formerSet) certificates() ([]*x509.Certificate, error) { return pki.ParseCertificates(f.Chain) }

// Former is a set that a CA had before.
type Former struct {
	Number      int // of the set in the history of its CA: it never changes
	Certificate *x509.Certificate
	HasKey      bool   // else it was trusted, and signed nothing here
	List        string // name of its revocation list; "" when there is none
	ReplacedAt  time.Time
	ReplacedBy  string
	Living      int // certificates in the inventory that its key signed, neither expired nor revoked
}

// former reads the sets that h had before.
func (h Holder) former() (map[int]formerSet, error) {
	all := make(map[int]formerSet, len(h.Former))
	for n, text := range h.Former {
		var f formerSet
		if err := json.Unmarshal(text, &f); err != nil {
			return nil, fmt.Errorf("%s: former set %d: %w", h.Path, n, err)
		}
		all[n] = f
	}
	return all, nil
}

// keepFormer adds to a change, which replaces the set of a CA, that the set is
// kept: what it signed lives on, and it may be put back.
func (a *Authority) keepFormer(ctx context.Context, who usr.Caller, h Holder, c *Change) error {
	if h.Profile != ProfileCA || h.Chain == nil {
		return nil
	}
	text, err := json.Marshal(formerSet{Chain: h.Chain, Key: h.PrivateKey, KeyMade: h.KeyMade, ReplacedAt: a.now().UTC(), ReplacedBy: who.By()})
	if err != nil {
		return err
	}
	numbers := h.formerNumbers()
	next := 1
	if len(numbers) > 0 {
		next = numbers[len(numbers)-1] + 1
	}
	c.Put[formerKey(next)] = text
	if len(numbers) < mostFormer {
		return nil
	}
	over, err := a.over(ctx, h)
	if over > 0 {
		c.Remove = append(c.Remove, formerKey(over))
	}
	return err
}

// over returns the number of the oldest former set of h that has no certificates left
// that live; 0 when each has some.
func (a *Authority) over(ctx context.Context, h Holder) (int, error) {
	sets, err := h.former()
	if err != nil {
		return 0, err
	}
	living := make(map[pki.AuthorityID]int)
	for n, f := range sets {
		chain, err := f.certificates()
		if err != nil {
			return 0, fmt.Errorf("%s: former set %d: %w", h.Path, n, err)
		}
		living[pki.AuthorityOf(chain[0])] = 0
	}
	if err := a.countLiving(ctx, living); err != nil {
		return 0, err
	}
	for _, n := range h.formerNumbers() {
		chain, err := sets[n].certificates()
		if err == nil && living[pki.AuthorityOf(chain[0])] == 0 {
			return n, nil
		}
	}
	return 0, nil
}

// History returns the sets that the CA at path had before, the newest first.
//
// ErrNotFound, or ErrInvalid for what is no CA.
func (a *Authority) History(ctx context.Context, path string) ([]Former, error) {
	h, err := a.formerHolder(ctx, path)
	if err != nil {
		return nil, err
	}
	sets, err := h.former()
	if err != nil {
		return nil, err
	}
	var all []Former
	living := make(map[pki.AuthorityID]int)
	for n, f := range sets {
		chain, err := f.certificates()
		if err != nil {
			return nil, fmt.Errorf("%s: former set %d: %w", path, n, err)
		}
		all = append(all, Former{Number: n, Certificate: chain[0], HasKey: f.Key != nil, ReplacedAt: f.ReplacedAt, ReplacedBy: f.ReplacedBy})
		living[pki.AuthorityOf(chain[0])] = 0
	}
	spoken, err := a.speakers(ctx)
	if err != nil {
		return nil, err
	}
	if err := a.countLiving(ctx, living); err != nil {
		return nil, err
	}
	for i := range all {
		id := pki.AuthorityOf(all[i].Certificate)
		all[i].Living = living[id]
		if slices.ContainsFunc(spoken, func(is *issuer) bool { return is.dormant && is.id == id }) {
			all[i].List = LastingName(path, all[i].Certificate)
		}
	}
	slices.SortFunc(all, func(f, g Former) int { return g.Number - f.Number })
	return all, nil
}

// countLiving counts, for each CA in living, the certificates that it signed for
// others and that are neither expired nor revoked.
func (a *Authority) countLiving(ctx context.Context, living map[pki.AuthorityID]int) error {
	if len(living) == 0 {
		return nil
	}
	revoked := make(map[string]bool)
	for id := range living {
		for r, err := range a.store.Revocations(ctx, id.String()) {
			if err != nil {
				return err
			}
			revoked[id.String()+" "+string(r.Serial)] = true
		}
	}
	for r, err := range a.Records(ctx, Query{ExpiresAfter: a.now()}) {
		if err != nil {
			return err
		}
		if r.Certificate.IsCA || r.Profile == ProfileOCSP {
			continue
		}
		id, ok, err := a.AuthorityOf(ctx, r.Record)
		if err != nil {
			return err
		}
		if _, known := living[id]; ok && known && !revoked[id.String()+" "+string(r.Serial())] {
			living[id]++
		}
	}
	return nil
}

// formerHolder returns the holder of the CA at path.
func (a *Authority) formerHolder(ctx context.Context, path string) (Holder, error) {
	h, err := a.store.Holder(ctx, path)
	if err == nil && h.Profile != ProfileCA {
		err = fmt.Errorf("%w: %s is no CA: its profile is %q", ErrInvalid, path, h.Profile)
	}
	return h, err
}

// Rollback puts the set with number to back in its place, the newest when to is
// 0, with the checks of an import and in one commit. What it replaces is kept in
// the history.
//
// ErrNotFound: there is no such set. ErrInvalid: it is valid no longer.
func (a *Authority) Rollback(ctx context.Context, who usr.Caller, path string, to int) (*x509.Certificate, error) {
	h, err := a.formerHolder(ctx, path)
	if err != nil {
		return nil, err
	}
	sets, err := h.former()
	if err != nil {
		return nil, err
	}
	numbers := slices.Sorted(maps.Keys(sets))
	if to == 0 && len(numbers) > 0 {
		to = numbers[len(numbers)-1]
	}
	f, ok := sets[to]
	if !ok {
		return nil, hint.With(fmt.Errorf("%w: %s has no former set %d", ErrNotFound, path, to), "\"omca ca history\" lists them")
	}
	chain, key, err := f.checked(a, h)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: former set %d: %w", ErrInvalid, path, to, err)
	}
	if err := a.unblocked(ctx, chain[0].PublicKey); err != nil {
		return nil, fmt.Errorf("%s: former set %d: %w", path, to, err)
	}
	if err := a.unrevoked(ctx, chain); err != nil {
		return nil, fmt.Errorf("%s: former set %d: %w", path, to, err)
	}
	c := install(h, chain)
	c.Keys = []pki.KeyHash{pki.KeyHashOf(chain[0])}
	if err := a.keepFormer(ctx, who, h, &c); err != nil {
		return nil, err
	}
	c.Remove = append(c.Remove, formerKey(to))
	switch {
	case key != nil:
		c.Put[KeyPrivate], c.KeyMade = f.Key, f.KeyMade
		h.becomes(&c, chain, f.Key, f.KeyMade)
	case h.PrivateKey != nil:
		c.Remove = append(c.Remove, KeyPrivate) // it is another certificate's
	}
	if err := a.commit(ctx, c); err != nil {
		return nil, a.refused(ctx, err, chain[0])
	}
	a.log.InfoContext(ctx, "rolled back", "path", path, "to", to, "serial", pki.SerialOf(chain[0]), "subject", chain[0].Subject.String(),
		"by", who.By(), "auth", who.Method, "address", who.Address, "request_id", who.RequestID)
	return chain[0], nil
}

// checked returns the set when it can be that of h now.
func (f formerSet) checked(a *Authority, h Holder) (chain []*x509.Certificate, key crypto.Signer, err error) {
	if chain, err = f.certificates(); err != nil {
		return nil, nil, err
	}
	if f.Key != nil {
		if key, err = pki.ParsePrivateKey(f.Key, nil); err != nil {
			return nil, nil, err
		}
		if !pki.SameKey(chain[0].PublicKey, key.Public()) {
			return nil, nil, fmt.Errorf("the certificate of %q is for another key", chain[0].Subject)
		}
	}
	return chain, key, a.fits(h, chain)
}
