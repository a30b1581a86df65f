package crl

import (
	"bytes"
	"crypto"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"omca/pki"
)

// An OCSPFailure is an answer that says nothing of any certificate
// (RFC 6960, 4.2.1). It is not signed.
type OCSPFailure uint8

// The failures.
const (
	MalformedRequest OCSPFailure = 1
	InternalError    OCSPFailure = 2
	TryLater         OCSPFailure = 3
	Unauthorized     OCSPFailure = 6
)

// Response returns the failure as an OCSPResponse, DER.
func (f OCSPFailure) Response() []byte { return []byte{0x30, 3, 0x0a, 1, byte(f)} }

// ErrNotOurs says that a request asks about no certificate of a responder's
// issuer; answer with Unauthorized.
var ErrNotOurs = errors.New("no certificate of this issuer")

// A Window says when an answer was made and how long it holds (RFC 6960, 4.2.2.1).
type Window struct {
	Produced time.Time
	This     time.Time // when the status was known to be right
	Next     time.Time // when newer information will be there
}

// oidNoCheck is id-pkix-ocsp-nocheck.
func oidNoCheck() oidValue { return oidValue{1, 3, 6, 1, 5, 5, 7, 48, 1, 5} }

// ResponderTemplate returns what the certificate of a Responder needs, beside
// names, serial number and validity (RFC 6960, 4.2.2.2): extended key usage
// OCSPSigning, key usage digitalSignature, not a CA, and id-pkix-ocsp-nocheck,
// so that nobody asks for the status of the responder itself: keep it short-lived.
func ResponderTemplate() *x509.Certificate {
	return &x509.Certificate{
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning},
		BasicConstraintsValid: true,
		ExtraExtensions:       []pkix.Extension{{Id: oidNoCheck(), Value: []byte{0x05, 0x00}}},
	}
}

// A Responder signs OCSP answers for one issuer with a certificate and a key of
// its own. It is safe for concurrent use when its key is.
type Responder struct {
	cert      *x509.Certificate
	key       crypto.Signer
	algorithm algorithm
	id        []byte // SHA-1 of its public key

	issuer issuerHashes
}

// issuerHashes are what CertIDs call an issuer: hashes of its name, in each of its
// spellings, and of its key.
type issuerHashes struct{ sha1, sha256 hashes }

// hashes are those of one algorithm.
type hashes struct {
	names [][]byte
	key   []byte
}

// hashIssuer returns the hashes of an issuer; false if its public key is unreadable.
func hashIssuer(issuer *x509.Certificate) (h issuerHashes, ok bool) {
	key := keyBits(issuer)
	if key == nil {
		return h, false
	}
	key1, key256 := sha1.Sum(key), sha256.Sum256(key)
	h.sha1.key, h.sha256.key = key1[:], key256[:]
	for _, name := range spellings(issuer.RawSubject) {
		name1, name256 := sha1.Sum(name), sha256.Sum256(name)
		h.sha1.names, h.sha256.names = append(h.sha1.names, name1[:]), append(h.sha256.names, name256[:])
	}
	return h, true
}

func (h issuerHashes) match(id CertID) bool {
	want := h.sha1
	switch id.Hash {
	case crypto.SHA1:
	case crypto.SHA256:
		want = h.sha256
	default:
		return false
	}
	return bytes.Equal(id.KeyHash, want.key) && slices.ContainsFunc(want.names, func(name []byte) bool { return bytes.Equal(id.NameHash, name) })
}

// IssuedBy reports whether id names a certificate of issuer, also when the
// certificate has the issuer's name in another string type.
func (id CertID) IssuedBy(issuer *x509.Certificate) bool {
	h, ok := hashIssuer(issuer)
	return ok && h.match(id)
}

// NewResponder returns the responder of issuer. Errors: pki.ErrInvalid if cert
// is not what ResponderTemplate says, not of issuer, or not of key.
func NewResponder(issuer, cert *x509.Certificate, key crypto.Signer) (*Responder, error) {
	var why string
	switch {
	case !pki.SameKey(cert.PublicKey, key.Public()):
		why = "it holds another key than the private key"
	case pki.SameKey(cert.PublicKey, issuer.PublicKey):
		why = "it has the key of its issuer"
	case cert.IsCA:
		why = "it is a CA's"
	case !issued(issuer, cert):
		why = fmt.Sprintf("it is not of %q", issuer.Subject)
	case !slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning):
		why = "it lacks the extended key usage OCSPSigning"
	case cert.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		why = "it lacks the key usage digitalSignature"
	case !slices.ContainsFunc(cert.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(oidNoCheck()) }):
		why = "it lacks id-pkix-ocsp-nocheck"
	}
	if why != "" {
		return nil, fmt.Errorf("%w: %q cannot sign OCSP answers: %s", pki.ErrInvalid, cert.Subject, why)
	}
	algorithm, err := signingAlgorithm(key.Public())
	if err != nil {
		return nil, err
	}
	own := keyBits(cert)
	hashes, ok := hashIssuer(issuer)
	if own == nil || !ok {
		return nil, fmt.Errorf("%w: the public key of %q or %q is unreadable", pki.ErrInvalid, cert.Subject, issuer.Subject)
	}
	id := sha1.Sum(own)
	return &Responder{cert: cert, key: key, algorithm: algorithm, id: id[:], issuer: hashes}, nil
}

// keyBits returns the BIT STRING content that key hashes are of (RFC 6960,
// 4.1.1), nil if the certificate is not whole.
func keyBits(cert *x509.Certificate) []byte {
	in, ok := onlySequence(cert.RawSubjectPublicKeyInfo)
	var bits []byte
	if !ok || !in.SkipASN1(asn1.SEQUENCE) || !in.ReadASN1BitStringAsBytes(&bits) {
		return nil
	}
	return bits
}

// Issued reports whether id names a certificate of the responder's issuer, as IssuedBy does.
func (r *Responder) Issued(id CertID) bool { return r.issuer.match(id) }

// Respond answers a request: status says what is known of a serial number of the
// issuer; Good and Revoked are answered as such, all else as unknown, as are
// certificates of other issuers beside one of this. A nonce is repeated. Times
// are cut to the second. Errors: ErrNotOurs; pki.ErrInvalid for a window that is
// not one, or not within the responder's certificate; otherwise the failure of
// the key.
func (r *Responder) Respond(request *OCSPRequest, w Window, status func(pki.Serial) Verdict) ([]byte, error) {
	if !slices.ContainsFunc(request.IDs, r.Issued) {
		return nil, ErrNotOurs
	}
	if !w.Next.After(w.This) || w.Produced.Before(w.This.Truncate(time.Second)) || w.Produced.Before(r.cert.NotBefore) || w.Next.After(r.cert.NotAfter) {
		return nil, fmt.Errorf("%w: OCSP answer made at %s for %s to %s, the responder's certificate is valid from %s to %s", pki.ErrInvalid,
			stamp(w.Produced), stamp(w.This), stamp(w.Next), stamp(r.cert.NotBefore), stamp(r.cert.NotAfter))
	}
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { // ResponseData
		b.AddASN1(tag2|constructed, func(b *cryptobyte.Builder) { b.AddASN1OctetString(r.id) })
		b.AddASN1GeneralizedTime(w.Produced.UTC())
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			for _, id := range request.IDs {
				v := Verdict{}
				if r.Issued(id) {
					v = status(id.Serial)
				}
				addSingle(b, id, w, v)
			}
		})
		if request.Nonce != nil {
			b.AddASN1(tag1|constructed, func(b *cryptobyte.Builder) {
				b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
					addExtension(b, oidNonce, optional, func(b *cryptobyte.Builder) { b.AddASN1OctetString(request.Nonce) })
				})
			})
		}
	})
	tbs, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("%w: %v", pki.ErrInvalid, err)
	}
	return r.sign(tbs)
}

// addSingle writes a SingleResponse.
func addSingle(b *cryptobyte.Builder, id CertID, w Window, v Verdict) {
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(id.der)
		switch v.Status {
		case Good:
			b.AddASN1(tag0, func(*cryptobyte.Builder) {})
		case Revoked:
			b.AddASN1(tag1|constructed, func(b *cryptobyte.Builder) {
				b.AddASN1GeneralizedTime(v.RevokedAt.UTC())
				if v.Reason != Unspecified {
					b.AddASN1(tag0|constructed, func(b *cryptobyte.Builder) { b.AddASN1Enum(int64(v.Reason)) })
				}
			})
		default:
			b.AddASN1(tag2, func(*cryptobyte.Builder) {}) // unknown
		}
		b.AddASN1GeneralizedTime(w.This.UTC())
		b.AddASN1(tag0|constructed, func(b *cryptobyte.Builder) { b.AddASN1GeneralizedTime(w.Next.UTC()) })
	})
}

// sign returns the OCSPResponse of a ResponseData.
func (r *Responder) sign(tbs []byte) ([]byte, error) {
	signature, err := r.algorithm.sign(r.key, tbs)
	if err != nil {
		return nil, fmt.Errorf("signing an OCSP answer: %w", err)
	}
	if err := r.cert.CheckSignature(r.algorithm.x509, tbs, signature); err != nil {
		return nil, fmt.Errorf("the signature on an OCSP answer does not verify: %w", err)
	}
	basic, err := assemble(tbs, r.algorithm, signature, func(b *cryptobyte.Builder) {
		b.AddASN1(tag0|constructed, func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(r.cert.Raw) })
		})
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %v", pki.ErrInvalid, err)
	}
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Enum(0) // successful
		b.AddASN1(tag0|constructed, func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1(asn1.OBJECT_IDENTIFIER, func(b *cryptobyte.Builder) { b.AddBytes([]byte(oidBasic)) })
				b.AddASN1OctetString(basic)
			})
		})
	})
	return b.Bytes()
}
