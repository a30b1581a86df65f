package crl

import (
	"crypto/x509"
	"maps"
	"slices"
)

// An authority is an issuer: a name and a key, both DER.
type authority struct{ name, key string }

func authorityOf(cert *x509.Certificate) authority {
	return authority{string(cert.RawSubject), string(cert.RawSubjectPublicKeyInfo)}
}

// A revocation names one certificate: by the content octets of its serial.
type revocation struct {
	authority
	serial string
}

// recent holds revocations that no list has yet. It is a persistent map: layers
// are never changed, each is much larger than the next, and adding one merges as
// few as keep it so. Both adding and finding cost little, whatever is there.
type recent []map[revocation]Entry

// with returns r and one more. What is there already stays as it was.
func (r recent) with(key revocation, e Entry) recent {
	if _, known := r.find(key); known {
		return r
	}
	layer := map[revocation]Entry{key: e}
	last := len(r)
	for last > 0 && len(r[last-1]) <= 8*len(layer) {
		last--
		merged := maps.Clone(r[last])
		maps.Copy(merged, layer)
		layer = merged
	}
	return append(slices.Clone(r[:last]), layer)
}

// find looks a revocation up.
func (r recent) find(key revocation) (Entry, bool) {
	for _, layer := range r {
		if e, ok := layer[key]; ok {
			return e, true
		}
	}
	return Entry{}, false
}

// of is find without allocating for a certificate that is not there.
func (r recent) of(issuer *x509.Certificate, serial []byte) (Entry, bool) {
	for _, layer := range r {
		// The compiler makes no strings of octets within an index expression.
		e, ok := layer[revocation{authority{string(issuer.RawSubject), string(issuer.RawSubjectPublicKeyInfo)}, string(serial)}]
		if ok {
			return e, true
		}
	}
	return Entry{}, false
}
