package pki

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	cryptobyte_asn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// maxRequest bounds a certificate signing request, in bytes of PEM text.
const maxRequest = 64 << 10

// A Request is a public key whose holder is known and the names proposed for
// it. Its names are canonical and complete: a common name that is a host name
// and the subject's e-mail address are among them. The zero Request is refused
// by [Issuer.Draft].
type Request struct {
	key     crypto.PublicKey
	encoded []byte // SubjectPublicKeyInfo of key, DER
	subject Subject
	names   Names
	left    []string // attributes of the subject that are not kept
}

// NewRequest returns a request for a key that we hold ourselves. Errors:
// ErrInvalid when the key is weak or a name malformed.
func NewRequest(pub crypto.PublicKey, subject Subject, names Names) (Request, error) {
	if err := CheckPublicKey(pub); err != nil {
		return Request{}, err
	}
	encoded, err := encodePublicKey(pub)
	if err != nil {
		return Request{}, err
	}
	return Request{key: pub, encoded: encoded}.WithNames(subject, names)
}

// WithNames returns the same proven key under other names. Errors: as [NewRequest].
func (r Request) WithNames(subject Subject, names Names) (Request, error) {
	if r.key == nil {
		return Request{}, fmt.Errorf("%w: the request holds no key", ErrInvalid)
	}
	if err := subject.Check(); err != nil {
		return Request{}, err
	}
	list := names.Strings()
	if host, ok := hostName(subject.CommonName); ok {
		list = append([]string{"DNS:" + host}, list...)
	}
	if subject.Email != "" {
		list = append(list, "email:"+subject.Email)
	}
	canonical, err := ParseNames(list)
	if err != nil {
		return Request{}, err
	}
	r.subject, r.names = subject, canonical
	return r, nil
}

// WithoutHost returns the same request without its common name among the DNS
// names. The certificate of a user is for no host: a name such as "alice.smith"
// only looks like one.
func (r Request) WithoutHost() Request {
	host, ok := hostName(r.subject.CommonName)
	if !ok {
		return r
	}
	r.names = r.names.clone()
	r.names.DNS = slices.DeleteFunc(r.names.DNS, func(name string) bool { return name == host })
	return r
}

// ParseRequest reads a PKCS #10 request in PEM, of at most 64 kB: one block and
// nothing behind it. The signature must prove the key. Of what it asks only the
// subject and the subject alternative names are kept; every other extension and
// attribute (basicConstraints, keyUsage, challengePassword, …) is dropped, and
// a repeated attribute refused. Errors: ErrInvalid.
func ParseRequest(text []byte) (Request, error) {
	if len(text) > maxRequest {
		return Request{}, fmt.Errorf("%w: request of %d bytes, at most %d are read", ErrInvalid, len(text), maxRequest)
	}
	block, rest := pem.Decode(text)
	switch {
	case block == nil:
		return Request{}, fmt.Errorf("%w: no PEM block with a certificate request", ErrInvalid)
	case block.Type != "CERTIFICATE REQUEST" && block.Type != "NEW CERTIFICATE REQUEST":
		return Request{}, fmt.Errorf("%w: PEM block %.40q where a certificate request is expected", ErrInvalid, block.Type)
	case strings.TrimSpace(string(rest)) != "":
		return Request{}, fmt.Errorf("%w: something follows the certificate request", ErrInvalid)
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return Request{}, fmt.Errorf("%w: certificate request: %v", ErrInvalid, err)
	}
	// The key before the signature: a huge key makes verifying expensive.
	if err := CheckPublicKey(csr.PublicKey); err != nil {
		return Request{}, err
	}
	if err := csr.CheckSignature(); err != nil {
		return Request{}, fmt.Errorf("%w: certificate request is not signed by its own key: %v", ErrInvalid, err)
	}
	if err := checkAttributes(csr.RawTBSCertificateRequest); err != nil {
		return Request{}, err
	}
	subject, left, err := subjectOf(csr.Subject)
	if err != nil {
		return Request{}, err
	}
	r, err := NewRequest(csr.PublicKey, subject, namesFrom(csr.DNSNames, csr.IPAddresses, csr.URIs, csr.EmailAddresses))
	if err != nil {
		return Request{}, err
	}
	r.left = left
	return r, nil
}

// checkAttributes refuses a request in which an attribute is there twice: RFC
// 2986, 4.1 makes them a set of distinct types, and two readers may pick two.
func checkAttributes(tbs []byte) error {
	malformed := fmt.Errorf("%w: certificate request has malformed attributes", ErrInvalid)
	info := cryptobyte.String(tbs)
	var attributes cryptobyte.String
	var present bool
	if !info.ReadASN1(&info, cryptobyte_asn1.SEQUENCE) ||
		!info.SkipASN1(cryptobyte_asn1.INTEGER) || // version
		!info.SkipASN1(cryptobyte_asn1.SEQUENCE) || // subject
		!info.SkipASN1(cryptobyte_asn1.SEQUENCE) || // key
		!info.ReadOptionalASN1(&attributes, &present, cryptobyte_asn1.Tag(0).Constructed().ContextSpecific()) {
		return malformed
	}
	seen := make(map[string]bool)
	for !attributes.Empty() {
		var attribute, oid cryptobyte.String
		if !attributes.ReadASN1(&attribute, cryptobyte_asn1.SEQUENCE) ||
			!attribute.ReadASN1(&oid, cryptobyte_asn1.OBJECT_IDENTIFIER) {
			return malformed
		}
		if seen[string(oid)] {
			return fmt.Errorf("%w: certificate request has an attribute twice", ErrInvalid)
		}
		seen[string(oid)] = true
	}
	return nil
}

// RequestAgain returns the request that cert is the answer to, for the key
// pub: its subject and its names, less the SPIFFE ID that the authority gave.
// It renews a certificate as it is. Errors: ErrInvalid.
func RequestAgain(cert *x509.Certificate, pub crypto.PublicKey) (Request, error) {
	subject, _, err := subjectOf(cert.Subject)
	if err != nil {
		return Request{}, err
	}
	names := NamesOf(cert)
	names.URI = slices.DeleteFunc(names.URI, func(uri string) bool { return strings.HasPrefix(uri, "spiffe://") })
	return NewRequest(pub, subject, names)
}

// PublicKey returns the key to certify.
func (r Request) PublicKey() crypto.PublicKey { return r.key }

// Subject returns the proposed subject.
func (r Request) Subject() Subject { return r.subject }

// LeftOut returns the types of attributes that the subject of a parsed request had and
// that [Request.Subject] has no part for: "DC", "2.5.4.46". Each is there once, and ten
// are named at most.
func (r Request) LeftOut() []string { return slices.Clone(r.left) }

// Names returns the proposed names, the host name in the common name and the
// subject's e-mail address included. They are what a [Policy] must allow.
func (r Request) Names() Names { return r.names.clone() }

// CreateSigningRequest returns a PKCS #10 request, PEM, for key: the subject,
// and as subject alternative names all that [Request.Names] would hold. Errors:
// ErrInvalid, or the failure of the key to sign.
func CreateSigningRequest(key crypto.Signer, subject Subject, names Names) ([]byte, error) {
	r, err := NewRequest(key.Public(), subject, names)
	if err != nil {
		return nil, err
	}
	return r.Sign(key)
}

// Sign returns the request as PKCS #10, PEM, signed by its own key. Errors:
// ErrInvalid for another key, or the failure of the key to sign.
func (r Request) Sign(key crypto.Signer) ([]byte, error) {
	if r.key == nil || !SameKey(r.key, key.Public()) {
		return nil, fmt.Errorf("%w: the request is for another key", ErrInvalid)
	}
	uris, err := r.names.uris()
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		SignatureAlgorithm: signatureAlgorithm(key.Public()),
		Subject:            r.subject.name(),
		DNSNames:           r.names.DNS,
		IPAddresses:        r.names.ips(),
		URIs:               uris,
		EmailAddresses:     r.names.Email,
	}, key)
	if err != nil {
		return nil, fmt.Errorf("signing the certificate request: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), nil
}
