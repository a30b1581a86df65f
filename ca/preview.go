package ca

import (
	"cmp"
	"context"
	"crypto/x509"

	"omca/pki"
	"omca/usr"
)

// Preview is a certificate that would be signed: it went the walk of one that
// is, up to the signature. Its serial number and its times are those of now, and
// a key that would be made is another one each time.
type Preview struct {
	Certificate *x509.Certificate // without a signature
	TBS         []byte            // what would be signed: TBSCertificate, DER
	Findings    []pki.Finding     // of the lints, none an error
	Issuer      string            // path of the CA
	Owner       string            // path
	Profile     string
	KeyMade     bool     // the object would get a new private key
	LeftOut     []string // as in Issued
}

// Preview says what [Authority.Create] would sign, with the errors of Create.
// Nothing is signed by the key of a CA, and nothing is recorded.
func (a *Authority) Preview(ctx context.Context, who usr.Caller, path string, opt CreateOptions) (Preview, error) {
	w, err := a.wanted(ctx, who, path, opt)
	if err != nil {
		return Preview{}, err
	}
	p, err := a.preview(ctx, w.order)
	p.KeyMade = w.made
	return p, err
}

// PreviewSign says what [Authority.Sign] would sign, with the errors of Sign.
// Nothing is signed by the key of a CA, and nothing is recorded.
func (a *Authority) PreviewSign(ctx context.Context, who usr.Caller, r SignRequest) (Preview, error) {
	o, err := a.orderToSign(ctx, who, r, func() (pki.Request, error) { return pki.ParseRequest(r.CSR) })
	if err != nil {
		return Preview{}, err
	}
	return a.preview(ctx, o)
}

func (a *Authority) preview(ctx context.Context, o order) (Preview, error) {
	draft, _, err := a.draft(ctx, o)
	if err == nil {
		// The commit of a certificate asks for itself.
		err = cmp.Or(a.unblocked(ctx, o.request.PublicKey()), a.signerUnblocked(ctx, o))
	}
	if err != nil {
		return Preview{}, err
	}
	return Preview{
		Certificate: draft.Unsigned(), TBS: draft.TBS(), Findings: draft.Findings(),
		Issuer: o.issuer.path, Owner: o.owner, Profile: o.profile.Name, LeftOut: o.request.LeftOut(),
	}, nil
}
