package crl

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/url"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"omca/pki"
)

// Bounds on OCSP requests.
const (
	maxRequest  = 8 << 10 // octets of DER
	maxRequests = 16      // certificates asked about
	maxNonce    = 128     // octets
)

// MaxOCSPRequest is how many octets of a request body are worth reading.
const MaxOCSPRequest = maxRequest

// The content octets of id-pkix-ocsp-basic and id-pkix-ocsp-nonce.
const (
	oidBasic = "\x2b\x06\x01\x05\x05\x07\x30\x01\x01"
	oidNonce = "\x2b\x06\x01\x05\x05\x07\x30\x01\x02"
)

// A CertID names a certificate by hashes of its issuer's name and key, and its
// serial number (RFC 6960, 4.1.1).
type CertID struct {
	Hash              crypto.Hash // SHA1 or SHA256; 0 for any other
	NameHash, KeyHash []byte
	Serial            pki.Serial

	der []byte
}

// An OCSPRequest is what a client asks. Signatures on requests are not looked at.
type OCSPRequest struct {
	IDs   []CertID // 1 to 16
	Nonce []byte   // 1 to 128 octets; nil for none
}

// CacheKey returns a string that is equal for requests that have the same
// answer; false for a request with a nonce, the answer to which is its own.
func (r *OCSPRequest) CacheKey() (string, bool) {
	if r.Nonce != nil {
		return "", false
	}
	hash := sha256.New()
	for _, id := range r.IDs {
		hash.Write(id.der) // DER elements: where one ends is in them
	}
	return string(hash.Sum(nil)), true
}

func malformedRequest(what string) error {
	return fmt.Errorf("%w: malformed OCSP request: %s", pki.ErrInvalid, what)
}

// DecodeOCSPPath returns the request in the path of a GET, as it was sent, after
// the responder's own and its slash: URL-escaped base64 of the DER (RFC 6960,
// A.1). Errors: pki.ErrInvalid.
func DecodeOCSPPath(escaped string) ([]byte, error) {
	if len(escaped) > 4*maxRequest { // base64 of 4/3, of which a few are escaped
		return nil, malformedRequest(fmt.Sprintf("a path of %d bytes", len(escaped)))
	}
	text, err := url.PathUnescape(escaped)
	if err != nil {
		return nil, malformedRequest("the path is not URL-escaped")
	}
	der, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, malformedRequest("the path is not base64")
	}
	return der, nil
}

// ParseOCSPRequest reads an OCSPRequest, DER: at most 8 kB, asking about at
// most 16 certificates. Errors: pki.ErrInvalid; answer with MalformedRequest.
func ParseOCSPRequest(der []byte) (*OCSPRequest, error) {
	if len(der) > maxRequest {
		return nil, malformedRequest(fmt.Sprintf("%d bytes, at most %d are read", len(der), maxRequest))
	}
	outer, ok := onlySequence(der)
	var tbs, list, extensions cryptobyte.String
	var hasExtensions bool
	if !ok || !outer.ReadASN1(&tbs, asn1.SEQUENCE) || !outer.SkipOptionalASN1(tag0|constructed) || !outer.Empty() {
		return nil, malformedRequest("OCSPRequest")
	}
	if !versionOne(&tbs) || !tbs.SkipOptionalASN1(tag1|constructed) || !tbs.ReadASN1(&list, asn1.SEQUENCE) ||
		!tbs.ReadOptionalASN1(&extensions, &hasExtensions, tag2|constructed) || !tbs.Empty() {
		return nil, malformedRequest("TBSRequest")
	}
	r := new(OCSPRequest)
	for !list.Empty() {
		if len(r.IDs) == maxRequests {
			return nil, malformedRequest(fmt.Sprintf("more than %d certificates", maxRequests))
		}
		id, ok := readRequest(&list)
		if !ok {
			return nil, malformedRequest(fmt.Sprintf("certificate %d", len(r.IDs)+1))
		}
		r.IDs = append(r.IDs, id)
	}
	if len(r.IDs) == 0 {
		return nil, malformedRequest("no certificate")
	}
	if hasExtensions {
		if r.Nonce, ok = readNonce(extensions); !ok {
			return nil, malformedRequest("extensions")
		}
	}
	return r, nil
}

// versionOne reads a version [0] EXPLICIT DEFAULT v1.
func versionOne(s *cryptobyte.String) bool {
	var version cryptobyte.String
	var has bool
	number := 0
	return s.ReadOptionalASN1(&version, &has, tag0|constructed) &&
		(!has || version.ReadASN1Integer(&number) && version.Empty() && number == 0)
}

// readRequest reads a Request.
func readRequest(s *cryptobyte.String) (CertID, bool) {
	var in, extensions, id cryptobyte.String
	var hasExtensions bool
	if !s.ReadASN1(&in, asn1.SEQUENCE) || !in.ReadASN1Element(&id, asn1.SEQUENCE) ||
		!in.ReadOptionalASN1(&extensions, &hasExtensions, tag0|constructed) || !in.Empty() {
		return CertID{}, false
	}
	if hasExtensions {
		all, ok := onlySequence(extensions)
		for ok && !all.Empty() {
			var e extension
			e, ok = readExtension(&all)
			ok = ok && !e.critical // none is known
		}
		if !ok {
			return CertID{}, false
		}
	}
	return readCertID(id)
}

// readCertID reads a CertID, of which der is the whole.
func readCertID(der cryptobyte.String) (CertID, bool) {
	id := CertID{der: bytes.Clone(der)}
	var algorithm, oid, name, key, serial cryptobyte.String
	in, _ := onlySequence(der)
	if !in.ReadASN1(&algorithm, asn1.SEQUENCE) || !algorithm.ReadASN1(&oid, asn1.OBJECT_IDENTIFIER) ||
		!in.ReadASN1(&name, asn1.OCTET_STRING) || !in.ReadASN1(&key, asn1.OCTET_STRING) ||
		!in.ReadASN1(&serial, asn1.INTEGER) || !in.Empty() || !minimalInteger(serial) || len(serial) > maxSerial || serial[0] >= 0x80 {
		return id, false
	}
	switch string(oid) {
	case "\x2b\x0e\x03\x02\x1a":
		id.Hash = crypto.SHA1
	case "\x60\x86\x48\x01\x65\x03\x04\x02\x01":
		id.Hash = crypto.SHA256
	}
	id.NameHash, id.KeyHash, id.Serial = bytes.Clone(name), bytes.Clone(key), pki.Serial(integer(serial).Text(16))
	return id, true
}

// readNonce returns the nonce among the extensions of a request.
func readNonce(in cryptobyte.String) (nonce []byte, ok bool) {
	in, ok = onlySequence(in)
	for ok && !in.Empty() {
		var e extension
		var value cryptobyte.String
		switch e, ok = readExtension(&in); {
		case !ok:
		case string(e.id) != oidNonce:
			ok = !e.critical // no other is known
		default:
			// RFC 9654, 2.1: 1 to 128 octets, else malformedRequest.
			ok = nonce == nil && e.value.ReadASN1(&value, asn1.OCTET_STRING) && e.value.Empty() && len(value) >= 1 && len(value) <= maxNonce
			nonce = bytes.Clone(value)
		}
	}
	return nonce, ok
}
