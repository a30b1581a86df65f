package feed

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	tags "golang.org/x/crypto/cryptobyte/asn1"

	"omca/crl"
	"omca/internal/hint"
	"omca/pki"
)

// split returns the lists in what came, DER each. With an error, it returns those that it found, and how many more there may be that it
// cannot read. What is no list at all has none.
func split(body []byte, limit int) (lists [][]byte, unread int, err error) {
	// A list is a SEQUENCE of more than 127 octets, so the second octet is no ASCII.
	if len(body) > 1 && body[0] == 0x30 && body[1] >= 0x80 {
		return splitDER(body, limit)
	}
	begin := []byte("-----BEGIN ")
	count := bytes.Count(body, begin)
	if count == 0 {
		return nil, 0, fmt.Errorf("%w: neither DER nor PEM (%d bytes)", pki.ErrInvalid, len(body))
	}
	if count > limit {
		return nil, count, tooMany(limit)
	}
	var foreign error
	for n := range count {
		var block *pem.Block
		// Decode passes over what is broken, such as the last block of a text that was cut off.
		if block, body = pem.Decode(body); block == nil {
			return lists, count - n, fmt.Errorf("%w: PEM block %d of %d is broken", pki.ErrInvalid, n+1, count)
		}
		if block.Type != "X509 CRL" {
			foreign = fmt.Errorf("%w: a PEM block of another type than X509 CRL", pki.ErrInvalid)
			continue
		}
		lists = append(lists, block.Bytes)
	}
	if len(bytes.TrimSpace(body)) > 0 {
		return lists, 1, fmt.Errorf("%w: text behind the last PEM block, as if another was cut off", pki.ErrInvalid)
	}
	return lists, 0, foreign
}

// splitDER returns the lists that are one right behind the other, as split does.
func splitDER(body []byte, limit int) (lists [][]byte, unread int, err error) {
	for in := cryptobyte.String(body); !in.Empty(); {
		var one cryptobyte.String
		switch {
		case len(lists) == limit:
			return lists, 1, tooMany(limit)
		case !in.ReadASN1Element(&one, tags.SEQUENCE):
			return lists, 1, fmt.Errorf("%w: broken DER behind %d lists", pki.ErrInvalid, len(lists))
		}
		lists = append(lists, one)
	}
	return lists, 0, nil
}

func tooMany(limit int) error {
	return fmt.Errorf("%w: more than %d lists, which is all that are read", pki.ErrInvalid, limit)
}

func sumOf(lists [][]byte) (sum digest) {
	h := sha256.New()
	for _, der := range lists {
		h.Write(der)
	}
	h.Sum(sum[:0])
	return sum
}

// believed is what is good of what came.
type believed struct {
	lists []*crl.Verified
	der   []byte   // of lists
	aside []Unused // lists of no signer
}

// believe holds lists against signers. Errors: pki.ErrInvalid; all are refused if one cannot be read, is badly signed, or none is left.
func (f *Feeds) believe(ders [][]byte, signers []*x509.Certificate) (believed, error) {
	limits := crl.DefaultLimits()
	limits.Bytes = f.limits.Bytes
	var b believed
	var kept [][]byte
	var none error
	for _, der := range ders {
		list, err := crl.Parse(der, limits)
		if err != nil {
			return believed{}, err
		}
		v, err := verify(list, signers)
		switch {
		case err != nil:
			return believed{}, err
		case v == nil:
			none = hint.With(fmt.Errorf("%w: the %s is of %s, key %x, which is none of the trusted CAs", pki.ErrInvalid, list, nameText(list.RawIssuer), list.AuthorityKeyID),
				"if it should be trusted, load its certificate into a sec and add that to cluster.ca")
			b.aside = append(b.aside, unusedOf(der, list.AuthorityKeyID, none))
			continue
		}
		b.lists, kept = append(b.lists, v), append(kept, der)
	}
	if len(b.lists) == 0 {
		return believed{}, none
	}
	b.der = bytes.Join(kept, nil)
	return b, nil
}

// verify holds a list against the signers of its name. It returns nil for a list of a CA that is not among them: there is no such name, or
// the list names a key that none of that name has, and no signature of theirs is on it. Errors: pki.ErrInvalid for any other list that
// none of them signed.
func verify(list *crl.List, signers []*x509.Certificate) (*crl.Verified, error) {
	own := slices.DeleteFunc(slices.Clone(signers), func(ca *x509.Certificate) bool { return !pki.EqualNames(list.RawIssuer, ca.RawSubject) })
	if len(own) == 0 {
		return nil, nil
	}
	v, err := list.Verify(own...)
	if err != nil && !slices.ContainsFunc(own, list.MayBeOfKey) {
		return nil, nil
	}
	return v, err
}

func nameText(der []byte) string {
	var name pkix.RDNSequence
	if rest, err := asn1.Unmarshal(der, &name); err != nil || len(rest) > 0 {
		return "an unreadable name"
	}
	return fmt.Sprintf("%q", name.String())
}

// follow says why next cannot take the place of held: a list is from the future, goes back, or is missing.
func follow(held, next []*crl.Verified, signers []*x509.Certificate, now time.Time) error {
	for _, n := range next {
		if n.Header().ThisUpdate.After(now) {
			return hint.With(fmt.Errorf("%w: the %s is from the future, here it is %s", pki.ErrInvalid, n.Header(), now.UTC().Format(time.RFC3339)),
				"compare the clocks of this machine and of the CA")
		}
	}
	for _, h := range held {
		// What is of a CA that left is not missed.
		if trusts(signers, h.Signer()) {
			if err := followed(h, next, now); err != nil {
				return err
			}
		}
	}
	return nil
}

// trusts reports whether a CA is among signers, in this certificate or in another.
func trusts(signers []*x509.Certificate, ca *x509.Certificate) bool {
	id := pki.AuthorityOf(ca)
	return slices.ContainsFunc(signers, func(s *x509.Certificate) bool { return pki.AuthorityOf(s) == id })
}

// followed says why no list of next stands for h.
func followed(h *crl.Verified, next []*crl.Verified, now time.Time) error {
	var older *crl.Verified
	for _, n := range next {
		switch {
		case !ofOneKind(n.Header(), h.Header()):
		case n.Header().Delta() && !h.Header().Delta():
		case !before(n, h):
			return nil // a complete list has all that a delta before it had
		case n.Header().Delta() == h.Header().Delta():
			older = n
		}
	}
	switch {
	case older != nil:
		return hint.With(fmt.Errorf("%w: rollback: the %s is older than the %s that is held", pki.ErrInvalid, older.Header(), h.Header()),
			"if its CA really began anew, take the source out of cluster.crl and add it again")
	case lapsed(h, now):
		return nil
	}
	return hint.With(fmt.Errorf("%w: the %s of %q is missing, and good until %s", pki.ErrInvalid, h.Header(), h.Signer().Subject, h.Header().NextUpdate.Format(time.RFC3339)),
		"if it is to go, take the source out of cluster.crl and add it again")
}

// ofOneKind reports whether two lists have one issuer and one scope.
func ofOneKind(a, b *crl.Header) bool {
	return pki.EqualNames(a.RawIssuer, b.RawIssuer) && a.Scope.Equal(&b.Scope)
}

// before reports whether n is older than h: by date, or by number, which never falls as long as the key is the same (RFC 5280, 5.2.3).
func before(n, h *crl.Verified) bool {
	a, b := n.Header(), h.Header()
	return a.ThisUpdate.Before(b.ThisUpdate) ||
		a.Number != nil && b.Number != nil && a.Number.Cmp(b.Number) < 0 &&
			pki.SameKey(n.Signer().PublicKey, h.Signer().PublicKey)
}

// lapsed reports whether a list acquits nobody any more.
func lapsed(v *crl.Verified, now time.Time) bool { return now.After(v.Header().NextUpdate) }
