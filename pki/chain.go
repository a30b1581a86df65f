package pki

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"slices"
	"time"
)

// Bounds on chains that come from outside.
const (
	maxChain    = 10
	maxChainPEM = 256 << 10 // bytes of PEM text
)

// ParseCertificates reads the certificates of a PEM text, in the order they
// stand there: 1 to 10 of them in at most 256 kB, text around the blocks
// ignored. Any other kind of PEM block is refused. Those of version 1 are read
// as [WithExtensions] does. Errors: ErrInvalid.
func ParseCertificates(text []byte) ([]*x509.Certificate, error) {
	if len(text) > maxChainPEM {
		return nil, fmt.Errorf("%w: certificates of %d bytes, at most %d are read", ErrInvalid, len(text), maxChainPEM)
	}
	var certs []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("%w: PEM block %.40q where a certificate is expected", ErrInvalid, block.Type)
		}
		if len(certs) == maxChain {
			return nil, fmt.Errorf("%w: more than %d certificates", ErrInvalid, maxChain)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%w: certificate %d: %v", ErrInvalid, len(certs)+1, err)
		}
		if cert, err = WithExtensions(cert); err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(certs)+1, err)
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("%w: no PEM block with a certificate", ErrInvalid)
	}
	return certs, nil
}

// EncodeCertificates returns certs as PEM, one block after the other.
func EncodeCertificates(certs ...*x509.Certificate) []byte {
	const line = 48 // octets, 64 characters (RFC 7468, section 2)
	size := 0
	for _, cert := range certs {
		size += base64.StdEncoding.EncodedLen(len(cert.Raw)) + len(cert.Raw)/line + 64
	}
	// As encoding/pem does, in one allocation in place of a dozen: each answer has three of them.
	b := make([]byte, 0, size)
	for _, cert := range certs {
		b = append(b, "-----BEGIN CERTIFICATE-----\n"...)
		for part := range slices.Chunk(cert.Raw, line) {
			b = append(base64.StdEncoding.AppendEncode(b, part), '\n')
		}
		b = append(b, "-----END CERTIFICATE-----\n"...)
	}
	return b
}

// OrderChain puts certs in order, leaf first, each followed by its issuer, and
// drops duplicates. The leaf is the one that issued none of the others. A
// certificate that does not belong to the leaf's chain is refused, with the
// issuer that is missing. Errors: ErrInvalid. At most 10 certificates are taken.
func OrderChain(certs []*x509.Certificate) ([]*x509.Certificate, error) {
	var left []*x509.Certificate
	for _, cert := range certs {
		if !slices.ContainsFunc(left, cert.Equal) {
			left = append(left, cert)
		}
	}
	if len(left) == 0 || len(left) > maxChain {
		return nil, fmt.Errorf("%w: a chain of %d certificates, want 1 to %d", ErrInvalid, len(left), maxChain)
	}
	leaf := slices.IndexFunc(left, func(c *x509.Certificate) bool {
		return !slices.ContainsFunc(left, func(other *x509.Certificate) bool { return other != c && issued(c, other) })
	})
	if leaf < 0 {
		return nil, fmt.Errorf("%w: the certificates sign each other in a circle, starting at %q", ErrInvalid, left[0].Subject)
	}
	chain := []*x509.Certificate{left[leaf]}
	left = slices.Delete(left, leaf, leaf+1)
	for len(left) > 0 {
		last := chain[len(chain)-1]
		next := slices.IndexFunc(left, func(c *x509.Certificate) bool { return issued(c, last) })
		if next < 0 {
			return nil, fmt.Errorf("%w: %q does not belong to the chain of %q, where the next must be the issuer %q",
				ErrInvalid, left[0].Subject, chain[0].Subject, last.Issuer)
		}
		chain = append(chain, left[next])
		left = slices.Delete(left, next, next+1)
	}
	return chain, nil
}

// WithoutRoot returns chain less a self-signed certificate at its end, which a
// TLS peer has or does not trust. A chain of one is returned as it is.
func WithoutRoot(chain []*x509.Certificate) []*x509.Certificate {
	if last := len(chain) - 1; last > 0 && issued(chain[last], chain[last]) {
		return chain[:last]
	}
	return chain
}

// issued reports whether parent signed child: by name, key identifier and
// signature. Whether parent may is the business of checkLinks.
func issued(parent, child *x509.Certificate) bool {
	if !bytes.Equal(child.RawIssuer, parent.RawSubject) {
		return false
	}
	if len(child.AuthorityKeyId) > 0 && len(parent.SubjectKeyId) > 0 && !bytes.Equal(child.AuthorityKeyId, parent.SubjectKeyId) {
		return false
	}
	// A huge key makes verifying expensive.
	return CheckPublicKey(parent.PublicKey) == nil &&
		parent.CheckSignature(child.SignatureAlgorithm, child.RawTBSCertificate, child.Signature) == nil
}

// VerifyChain holds a chain, leaf first, against RFC 5280, section 6, at a
// time: every certificate is valid, each is signed by the next, which is a CA
// whose path length and name constraints permit it. Where the chain ends is
// the caller's business. Errors: ErrInvalid, naming the certificates.
func VerifyChain(chain []*x509.Certificate, at time.Time) error {
	if len(chain) == 0 || len(chain) > maxChain {
		return fmt.Errorf("%w: a chain of %d certificates, want 1 to %d", ErrInvalid, len(chain), maxChain)
	}
	for _, cert := range chain {
		if at.Before(cert.NotBefore) {
			return fmt.Errorf("%w: certificate of %q is not valid before %s", ErrInvalid, cert.Subject, cert.NotBefore.UTC().Format(time.RFC3339))
		}
		if at.Truncate(time.Second).After(cert.NotAfter) {
			return fmt.Errorf("%w: certificate of %q expired at %s", ErrInvalid, cert.Subject, cert.NotAfter.UTC().Format(time.RFC3339))
		}
	}
	if err := checkLinks(chain, 0); err != nil {
		return err
	}
	// The rest (name constraints, unknown critical extensions) is the standard library's.
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(chain[len(chain)-1])
	for _, cert := range chain[1:] {
		intermediates.AddCert(cert)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates,
		CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return fmt.Errorf("%w: %v", ErrInvalid, err)
	}
	return nil
}

// checkLinks checks that each certificate of a chain is signed by the next,
// and that the next may. below is how many CAs stand before the second one
// and are not leaves: 0 when the first is the leaf, 1 when it is to sign.
func checkLinks(chain []*x509.Certificate, below int) error {
	if len(chain) > maxChain {
		return fmt.Errorf("%w: a chain of %d certificates, at most %d are taken", ErrInvalid, len(chain), maxChain)
	}
	for i, parent := range chain[1:] {
		child := chain[i]
		if !issued(parent, child) {
			return fmt.Errorf("%w: the certificate of %q is signed by %q, not by the next in the chain, %q",
				ErrInvalid, child.Subject, child.Issuer, parent.Subject)
		}
		if err := checkCA(parent, i+below); err != nil {
			return err
		}
	}
	return nil
}

// checkCA checks that cert may sign certificates when below CAs stand between
// it and the leaf (RFC 5280, 4.2.1.9 and 4.2.1.3).
func checkCA(cert *x509.Certificate, below int) error {
	switch {
	case !cert.BasicConstraintsValid || !cert.IsCA:
		return fmt.Errorf("%w: the certificate of %q is not a CA's: it lacks CA:TRUE", ErrInvalid, cert.Subject)
	case cert.KeyUsage != 0 && cert.KeyUsage&x509.KeyUsageCertSign == 0:
		return fmt.Errorf("%w: the certificate of %q may not sign certificates: it lacks the key usage keyCertSign", ErrInvalid, cert.Subject)
	}
	if limit, limited := pathLen(cert); limited && below > limit {
		return fmt.Errorf("%w: %q has path length %d, and %d CAs follow below it", ErrInvalid, cert.Subject, limit, below)
	}
	return nil
}

// pathLen returns the path length constraint of a CA, if it has one.
func pathLen(cert *x509.Certificate) (limit int, limited bool) {
	return cert.MaxPathLen, cert.MaxPathLen > 0 || cert.MaxPathLen == 0 && cert.MaxPathLenZero
}

// DaysLeft returns how many whole days of cert are left at a time; negative
// when it has expired.
func DaysLeft(cert *x509.Certificate, at time.Time) int {
	left := cert.NotAfter.Sub(at)
	if left < 0 {
		return -1 - int(-left/day)
	}
	return int(left / day)
}
