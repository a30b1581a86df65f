package ca

import (
	"sync/atomic"

	"omca/crl"
	"omca/pki"
)

// OCSPCounts is what was answered since the start, by certificate: one request
// may ask about several. What servers here staple is not among it.
type OCSPCounts struct {
	Good, Revoked, Unknown uint64
	Refused                uint64 // requests: malformed, of no CA whose key is here, or of several, or a failure here
}

// ocspCounters counts. It is safe for concurrent use.
type ocspCounters struct{ good, revoked, unknown, refused atomic.Uint64 }

// Counts returns what was answered.
func (o *OCSP) Counts() OCSPCounts {
	return OCSPCounts{Good: o.counts.good.Load(), Revoked: o.counts.revoked.Load(), Unknown: o.counts.unknown.Load(), Refused: o.counts.refused.Load()}
}

func (c *ocspCounters) add(s crl.Status) {
	switch s {
	case crl.Good:
		c.good.Add(1)
	case crl.Revoked:
		c.revoked.Add(1)
	default:
		c.unknown.Add(1)
	}
}

// statuses returns what is answered of each certificate that r asks about:
// undetermined, which the answer calls unknown, of those that verdicts lacks.
func statuses(r *crl.OCSPRequest, verdicts map[pki.Serial]crl.Verdict, issued func(crl.CertID) bool) []crl.Status {
	all := make([]crl.Status, len(r.IDs))
	for i, id := range r.IDs {
		if issued(id) {
			all[i] = verdicts[id.Serial].Status
		}
	}
	return all
}
