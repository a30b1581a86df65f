package pki

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cryptobyte_asn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// An Issuer is a CA's certificate with its key: it makes drafts and signs
// them. It is safe for concurrent use when its key is.
type Issuer struct {
	chain     []*x509.Certificate // own first; empty for the issuer of a root
	key       crypto.Signer
	keyID     []byte
	throwaway crypto.Signer
	sample    []byte            // a signature of the throwaway key, for drafts whose signature nobody verifies
	twin      *x509.Certificate // the CA's certificate with the throwaway key in its place, for checkConstraints
	linter    Linter            // never nil
}

// NewIssuer returns the issuer of a chain, own certificate first. The key must
// be its key, every certificate a CA, and each signed by the next. linter looks
// at every draft; without one there is no issuer. Errors: ErrInvalid. Whether
// the chain is in its validity period is not looked at: a draft never outlives it.
func NewIssuer(chain []*x509.Certificate, key crypto.Signer, linter Linter) (*Issuer, error) {
	if len(chain) == 0 {
		return nil, fmt.Errorf("%w: an issuer needs its certificate", ErrInvalid)
	}
	own := chain[0]
	if !SameKey(own.PublicKey, key.Public()) {
		return nil, fmt.Errorf("%w: the certificate of %q holds another key (%s) than the private key (%s)",
			ErrInvalid, own.Subject, DescribeKey(own.PublicKey), DescribeKey(key.Public()))
	}
	if err := checkCA(own, 0); err != nil {
		return nil, err
	}
	if err := checkLinks(chain, 1); err != nil {
		return nil, err
	}
	i, err := newIssuer(key, linter)
	if err != nil {
		return nil, err
	}
	i.chain = slices.Clone(chain)
	if len(own.SubjectKeyId) > 0 {
		i.keyID = own.SubjectKeyId
	}
	twin := *own
	twin.PublicKey = i.throwaway.Public()
	i.twin = &twin
	return i, nil
}

// NewRoot returns an issuer that signs one kind of certificate: a self-signed
// CA for its own key. Once that is signed, [NewIssuer] makes the issuer of
// everything else. linter is as in NewIssuer. Errors: ErrInvalid for a weak key.
func NewRoot(key crypto.Signer, linter Linter) (*Issuer, error) {
	return newIssuer(key, linter)
}

func newIssuer(key crypto.Signer, linter Linter) (*Issuer, error) {
	if linter == nil {
		return nil, errNoLinter
	}
	if err := CheckPublicKey(key.Public()); err != nil {
		return nil, err
	}
	id, err := SubjectKeyID(key.Public())
	if err != nil {
		return nil, err
	}
	throwaway, err := throwawayKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("throwaway key: %w", err)
	}
	sample, err := sign(throwaway, []byte("omca draft"), signatureAlgorithm(key.Public()))
	if err != nil {
		return nil, fmt.Errorf("throwaway signature: %w", err)
	}
	return &Issuer{key: key, keyID: id, throwaway: throwaway, sample: sample, linter: linter}, nil
}

// throwawayKey makes a key that signs with the algorithm of pub, as cheaply as
// that algorithm allows: its signatures are looked at by linters only.
func throwawayKey(pub crypto.PublicKey) (crypto.Signer, error) {
	switch pub.(type) {
	case *rsa.PublicKey:
		return rsa.GenerateKey(rand.Reader, 1024)
	case ed25519.PublicKey:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	default:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
}

// signatureAlgorithm returns what a key of this kind signs with: SHA-256 with
// RSA and P-256, SHA-384 with P-384, SHA-512 with P-521 (RFC 5758).
func signatureAlgorithm(pub crypto.PublicKey) x509.SignatureAlgorithm {
	switch k := pub.(type) {
	case *rsa.PublicKey:
		return x509.SHA256WithRSA
	case ed25519.PublicKey:
		return x509.PureEd25519
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P384():
			return x509.ECDSAWithSHA384
		case elliptic.P521():
			return x509.ECDSAWithSHA512
		}
		return x509.ECDSAWithSHA256
	}
	return x509.UnknownSignatureAlgorithm
}

// Certificate returns the issuer's own certificate, nil for that of [NewRoot].
func (i *Issuer) Certificate() *x509.Certificate {
	if len(i.chain) == 0 {
		return nil
	}
	return i.chain[0]
}

// Chain returns the issuer's chain, own certificate first.
func (i *Issuer) Chain() []*x509.Certificate { return slices.Clone(i.chain) }

// Terms are what the authority decides about a certificate.
type Terms struct {
	Profile Profile
	Serial  Serial

	// NotBefore and NotAfter bound the validity, both inclusive (RFC 5280,
	// 4.1.2.5), to the second. They are cut to the issuer's own.
	NotBefore, NotAfter time.Time

	// Outlives leaves NotAfter as it is when it is behind the end of the issuer:
	// Flocker's certificates all live for the same time, each from its own start.
	// A chain ends with its issuer whatever the leaf says (RFC 5280, 6.1.3).
	// Refused for a CA.
	Outlives bool

	// ID is the SPIFFE ID that becomes a URI name; nil for none. A request
	// cannot ask for one.
	ID *url.URL

	CRL, OCSP, IssuerURL []string // URLs for CRLDistributionPoints and AuthorityInfoAccess

	// PathLen is how many CAs may follow below a CA; nil for no limit but the
	// issuer's own. Refused with any other profile, as Constraints are.
	PathLen *int
	// Constraints become critical name constraints of a CA. URI rules must allow
	// the cluster's trust domain ("URI:<cluster>") if its leaves carry SPIFFE IDs.
	Constraints PolicyRules
}

// Period returns the first and the last second of a validity of lifetime.
func Period(from time.Time, lifetime time.Duration) (notBefore, notAfter time.Time) {
	// RFC 5280, 4.1.2.5: the period is inclusive, so the last second belongs to it.
	return from, from.Add(lifetime - time.Second)
}

// A Draft is a certificate that was linted and waits for its signature. Only
// the issuer that made it signs it, and only once.
type Draft struct {
	issuer *Issuer
	tbs    []byte            // TBSCertificate, DER
	linted *x509.Certificate // tbs under the throwaway signature
	passed []Finding         // what the lints have against it: no error
	signed *atomic.Bool
}

// Findings returns what the lints have against the draft. None is an error: of
// those there would be no draft.
func (d Draft) Findings() []Finding { return slices.Clone(d.passed) }

// Unsigned returns what the certificate will say. It has no signature, not even
// the throwaway one: that is for linters.
func (d Draft) Unsigned() *x509.Certificate {
	cert := *d.linted
	cert.Raw, cert.Signature = nil, nil
	return &cert
}

// Serial returns the serial number that the certificate will have.
func (d Draft) Serial() Serial { return SerialOf(d.linted) }

// NotAfter returns the last second of the certificate to be.
func (d Draft) NotAfter() time.Time { return d.linted.NotAfter }

// TBS returns the exact bytes that will be signed: a DER TBSCertificate.
func (d Draft) TBS() []byte { return bytes.Clone(d.tbs) }

// Draft builds the certificate that terms make of a request, under a throwaway
// signature, reads it back and lints it. Errors: ErrInvalid with every finding;
// ErrNotAllowed for a name outside the issuer's name constraints or a SPIFFE
// ID in the request.
func (i *Issuer) Draft(r Request, t Terms) (Draft, error) {
	template, err := i.template(r, t)
	if err != nil {
		return Draft{}, err
	}
	parent := i.Certificate()
	if parent == nil {
		if !t.Profile.IsCA || !SameKey(r.key, i.key.Public()) {
			return Draft{}, fmt.Errorf("%w: the issuer of a root signs nothing but its own CA certificate", ErrInvalid)
		}
		parent = template
	}
	d := Draft{issuer: i, signed: new(atomic.Bool)}
	if plainLeaf(template) && i.Certificate() != nil {
		d.tbs, err = encodeLeaf(template, parent.RawSubject, r.encoded, i.key.Public())
	} else {
		d.tbs, err = encodeTBS(template, parent, r.key, i.key.Public())
	}
	if err != nil {
		return Draft{}, err
	}
	der, err := i.underThrowaway(d.tbs)
	if err != nil {
		return Draft{}, fmt.Errorf("throwaway signature: %w", err)
	}
	if d.linted, err = x509.ParseCertificate(der); err != nil {
		return Draft{}, fmt.Errorf("%w: %v", ErrInvalid, err)
	}
	if err := i.checkConstraints(d.linted); err != nil {
		return Draft{}, err
	}
	above := cmp.Or(i.Certificate(), d.linted)
	findings := Lint(i.linter, d.linted, above, t.Profile)
	if t.Outlives {
		findings = slices.DeleteFunc(findings, func(f Finding) bool { return f.Lint == lintLifeName })
	}
	if err := refusal(findings); err != nil {
		return Draft{}, err
	}
	d.passed = findings
	return d, nil
}

// Sign puts the issuer's key to the bytes of a draft, once. Errors: ErrInvalid
// for a draft of another issuer or one that was signed before; otherwise the
// failure of the key. A signature by a device that does not verify is never
// returned.
func (i *Issuer) Sign(d Draft) (*x509.Certificate, error) {
	if d.issuer == nil || d.issuer != i {
		return nil, fmt.Errorf("%w: the draft was made by another issuer", ErrInvalid)
	}
	if d.signed.Swap(true) {
		return nil, fmt.Errorf("%w: the draft with serial %s was signed before", ErrInvalid, d.Serial())
	}
	signature, err := sign(i.key, d.tbs, d.linted.SignatureAlgorithm)
	if err != nil {
		return nil, fmt.Errorf("signing serial %s: %w", d.Serial(), err)
	}
	der, err := certificateOf(d.tbs, signature)
	if err != nil {
		return nil, fmt.Errorf("serial %s: %w", d.Serial(), err)
	}
	if inProcess(i.key) {
		return d.under(der)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading back serial %s: %w", d.Serial(), err)
	}
	if !bytes.Equal(cert.RawTBSCertificate, d.tbs) {
		return nil, fmt.Errorf("serial %s: the bytes signed are not the draft's", d.Serial())
	}
	// A faulty device must not get a bad signature out of here, nor leak its key by it.
	ca := &x509.Certificate{PublicKey: i.key.Public(), PublicKeyAlgorithm: keyAlgorithm(i.key.Public())}
	if err := ca.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature); err != nil {
		return nil, fmt.Errorf("the signature on serial %s does not verify: %w", d.Serial(), err)
	}
	return cert, nil
}

// under is the linted certificate under the signature of der, which has the
// bytes of the draft: they were parsed once.
func (d Draft) under(der []byte) (*x509.Certificate, error) {
	in := cryptobyte.String(der)
	var tbs cryptobyte.String
	var signature []byte
	if !in.ReadASN1(&in, cryptobyte_asn1.SEQUENCE) || !in.ReadASN1Element(&tbs, cryptobyte_asn1.SEQUENCE) ||
		!in.SkipASN1(cryptobyte_asn1.SEQUENCE) || !in.ReadASN1BitStringAsBytes(&signature) || !bytes.Equal(tbs, d.tbs) {
		return nil, fmt.Errorf("serial %s: the bytes signed are not the draft's", d.Serial())
	}
	cert := *d.linted
	cert.Raw, cert.RawTBSCertificate, cert.Signature = der, tbs, signature
	return &cert, nil
}

// inProcess reports whether key is one of the standard library's own: these sign
// here, in memory that would be as faulty for the check, and crypto/rsa, whose
// faults give keys away, checks itself. The check costs a third of issuing's
// cryptography; it is for signers that are devices.
func inProcess(key crypto.Signer) bool {
	switch key.(type) {
	case *ecdsa.PrivateKey, ed25519.PrivateKey, *rsa.PrivateKey:
		return true
	}
	return false
}

// hashOf returns the hash of the algorithms that signatureAlgorithm returns;
// zero for Ed25519, which signs the message itself.
func hashOf(algorithm x509.SignatureAlgorithm) crypto.Hash {
	switch algorithm {
	case x509.PureEd25519:
		return 0
	case x509.ECDSAWithSHA384:
		return crypto.SHA384
	case x509.ECDSAWithSHA512:
		return crypto.SHA512
	default:
		return crypto.SHA256
	}
}

func keyAlgorithm(pub crypto.PublicKey) x509.PublicKeyAlgorithm {
	switch pub.(type) {
	case *rsa.PublicKey:
		return x509.RSA
	case ed25519.PublicKey:
		return x509.Ed25519
	default:
		return x509.ECDSA
	}
}

// errCaptured is how a capture stops x509.CreateCertificate.
var errCaptured = errors.New("captured")

// A capture is a crypto.MessageSigner that keeps what it is asked to sign.
// With it x509.CreateCertificate becomes the encoder of TBSCertificate that the
// standard library does not export: no signature is made, none is verified.
type capture struct {
	pub crypto.PublicKey
	tbs []byte
}

func (c *capture) Public() crypto.PublicKey { return c.pub }

func (c *capture) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("a capture takes messages, not digests")
}

func (c *capture) SignMessage(_ io.Reader, message []byte, _ crypto.SignerOpts) ([]byte, error) {
	c.tbs = bytes.Clone(message)
	return nil, errCaptured
}

// encodeTBS returns the DER TBSCertificate of a template (RFC 5280, 4.1).
func encodeTBS(template, parent *x509.Certificate, subjectKey, issuerKey crypto.PublicKey) ([]byte, error) {
	c := capture{pub: issuerKey}
	_, err := x509.CreateCertificate(rand.Reader, template, parent, subjectKey, &c)
	if !errors.Is(err, errCaptured) {
		return nil, fmt.Errorf("%w: %v", ErrInvalid, err)
	}
	return c.tbs, nil
}

// underThrowaway is the certificate that readers and lints look at: tbs under a
// signature that no CA made. Under name constraints it is verified against the
// twin, so it is made for these bytes. Otherwise nothing but its form is looked
// at, and one that was made once serves every draft.
func (i *Issuer) underThrowaway(tbs []byte) ([]byte, error) {
	if !i.constrained() {
		return certificateOf(tbs, i.sample)
	}
	signature, err := sign(i.throwaway, tbs, signatureAlgorithm(i.key.Public()))
	if err != nil {
		return nil, err
	}
	return certificateOf(tbs, signature)
}

// constrained reports whether a certificate above the drafts has name constraints.
func (i *Issuer) constrained() bool { return slices.ContainsFunc(i.chain, hasNameConstraints) }

func sign(key crypto.Signer, message []byte, algorithm x509.SignatureAlgorithm) ([]byte, error) {
	return crypto.SignMessage(key, rand.Reader, message, hashOf(algorithm))
}

// certificateOf puts tbs and its signature together: the certificate, DER.
func certificateOf(tbs, signature []byte) ([]byte, error) {
	// RFC 5280, 4.1.1.2: the algorithm beside the signature is the one inside.
	in := cryptobyte.String(tbs)
	var identifier cryptobyte.String
	if !in.ReadASN1(&in, cryptobyte_asn1.SEQUENCE) ||
		!in.SkipOptionalASN1(cryptobyte_asn1.Tag(0).Constructed().ContextSpecific()) || // version
		!in.SkipASN1(cryptobyte_asn1.INTEGER) || // serialNumber
		!in.ReadASN1Element(&identifier, cryptobyte_asn1.SEQUENCE) {
		return nil, errors.New("the bytes to sign are no TBSCertificate")
	}
	b := cryptobyte.NewBuilder(make([]byte, 0, len(tbs)+len(identifier)+len(signature)+16))
	b.AddASN1(cryptobyte_asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(tbs)
		b.AddBytes(identifier)
		b.AddASN1BitString(signature)
	})
	return b.Bytes()
}

// template turns a request and terms into what crypto/x509 encodes.
func (i *Issuer) template(r Request, t Terms) (*x509.Certificate, error) {
	if err := i.checkTerms(r, t); err != nil {
		return nil, err
	}
	ski, err := keyID(r.encoded)
	if err != nil {
		return nil, err
	}
	uris, err := r.names.uris()
	if err != nil {
		return nil, err
	}
	for _, u := range uris {
		if u.Scheme == "spiffe" && (t.ID == nil || u.String() != t.ID.String()) {
			return nil, fmt.Errorf("%w: URI %q: a SPIFFE ID is given by the authority, not asked for", ErrNotAllowed, u)
		}
	}
	if t.ID != nil && !slices.Contains(r.names.URI, t.ID.String()) {
		uris = append(uris, t.ID)
	}
	template := &x509.Certificate{
		SignatureAlgorithm:    signatureAlgorithm(i.key.Public()),
		SerialNumber:          t.Serial.Int(),
		Subject:               r.subject.name(),
		NotBefore:             t.NotBefore.UTC().Truncate(time.Second),
		NotAfter:              t.NotAfter.UTC().Truncate(time.Second),
		KeyUsage:              t.Profile.keyUsage(keyAlgorithm(r.key)),
		ExtKeyUsage:           t.Profile.extKeyUsage(),
		BasicConstraintsValid: true,
		SubjectKeyId:          ski,
		AuthorityKeyId:        i.keyID,
		DNSNames:              r.names.DNS,
		IPAddresses:           r.names.ips(),
		URIs:                  uris,
		EmailAddresses:        r.names.Email,
		CRLDistributionPoints: t.CRL,
		OCSPServer:            t.OCSP,
		IssuingCertificateURL: t.IssuerURL,
		ExtraExtensions:       t.Profile.extensions(),
	}
	i.cut(template, t)
	if template.NotAfter.Before(template.NotBefore) {
		return nil, fmt.Errorf("%w: the validity would end at %s, before it starts at %s", ErrInvalid,
			template.NotAfter.Format(time.RFC3339), template.NotBefore.Format(time.RFC3339))
	}
	if t.Profile.IsCA {
		return template, i.makeCA(template, t)
	}
	return template, nil
}

// checkTerms refuses terms and requests that no certificate can come of.
func (i *Issuer) checkTerms(r Request, t Terms) error {
	switch {
	case r.key == nil:
		return fmt.Errorf("%w: the request holds no key", ErrInvalid)
	case !t.Profile.known():
		return fmt.Errorf("%w: profile %q", ErrInvalid, t.Profile.Name)
	case t.Serial.Int().Sign() == 0:
		return fmt.Errorf("%w: serial number %q", ErrInvalid, t.Serial)
	case t.NotBefore.IsZero():
		return fmt.Errorf("%w: a validity without a start", ErrInvalid)
	case !t.Profile.IsCA && (t.PathLen != nil || len(t.Constraints.Allow)+len(t.Constraints.Deny) > 0):
		return fmt.Errorf("%w: path length and name constraints are for the profile \"ca\", not %q", ErrInvalid, t.Profile.Name)
	case t.Profile.IsCA && t.Outlives:
		return fmt.Errorf("%w: a CA does not outlive its issuer", ErrInvalid)
	case t.Profile.IsCA && r.subject.CommonName == "":
		return fmt.Errorf("%w: a CA needs a common name", ErrInvalid)
	case t.Profile.needsNames && r.names.Empty():
		return fmt.Errorf("%w: a certificate of profile %q needs a subject alternative name, such as \"DNS:%s\"",
			ErrInvalid, t.Profile.Name, cmp.Or(r.subject.CommonName, "host.example.com"))
	case r.subject.CommonName == "" && r.names.Empty():
		return fmt.Errorf("%w: the request names nobody: it has no common name and no subject alternative name", ErrInvalid)
	}
	return nil
}

// cut keeps the validity within that of the whole chain above; its end
// stays under Terms.Outlives.
func (i *Issuer) cut(template *x509.Certificate, t Terms) {
	for _, ca := range i.chain {
		if template.NotBefore.Before(ca.NotBefore) {
			template.NotBefore = ca.NotBefore
		}
		if !t.Outlives && template.NotAfter.After(ca.NotAfter) {
			template.NotAfter = ca.NotAfter
		}
	}
}

// makeCA adds what makes a template a CA's. Its path length stays below the issuer's.
func (i *Issuer) makeCA(template *x509.Certificate, t Terms) error {
	template.IsCA = true
	template.MaxPathLen = -1 // none
	if t.PathLen != nil {
		if *t.PathLen < 0 {
			return fmt.Errorf("%w: path length %d is negative", ErrInvalid, *t.PathLen)
		}
		template.MaxPathLen = *t.PathLen
	}
	for below, ca := range i.chain {
		limit, limited := pathLen(ca)
		if !limited {
			continue
		}
		room := limit - below - 1
		if room < 0 {
			return fmt.Errorf("%w: %q has path length %d: no CA may be made here", ErrInvalid, ca.Subject, limit)
		}
		if template.MaxPathLen < 0 || template.MaxPathLen > room {
			template.MaxPathLen = room
		}
	}
	template.MaxPathLenZero = template.MaxPathLen == 0
	return nameConstraints(template, t.Constraints)
}

// checkConstraints holds a draft against the name constraints above it, by the
// standard library's own path validation: the issuer's twin stands for the
// issuer. Without constraints it costs nothing.
func (i *Issuer) checkConstraints(draft *x509.Certificate) error {
	if !i.constrained() {
		return nil
	}
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	above := append([]*x509.Certificate{i.twin}, i.chain[1:]...)
	for _, ca := range above {
		intermediates.AddCert(ca)
	}
	roots.AddCert(above[len(above)-1])
	_, err := draft.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates,
		CurrentTime: draft.NotBefore, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.CANotAuthorizedForThisName {
		return fmt.Errorf("%w: %v", ErrNotAllowed, err)
	}
	if err != nil {
		return fmt.Errorf("%w: %v", ErrInvalid, err)
	}
	return nil
}

func hasNameConstraints(c *x509.Certificate) bool {
	return len(c.PermittedDNSDomains)+len(c.ExcludedDNSDomains)+
		len(c.PermittedIPRanges)+len(c.ExcludedIPRanges)+
		len(c.PermittedEmailAddresses)+len(c.ExcludedEmailAddresses)+
		len(c.PermittedURIDomains)+len(c.ExcludedURIDomains) > 0
}
