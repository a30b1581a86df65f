package api

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"omca/ca"
	"omca/internal/hint"
	"omca/internal/object"
	"omca/internal/registry"
	"omca/internal/wire"
	"omca/pki"
)

func (d *door) previewRoutes() []route {
	return []route{
		{method: http.MethodPost, path: "/api/certificate/preview", rule: authenticated(), id: "previewSigning",
			about: "What signing a request made elsewhere would give. Nothing is signed or recorded.",
			body:  jsonBody[wire.SignRequest](limitCSR), answer: jsonAnswer[wire.Preview](http.StatusOK), handle: d.previewSigning},
		{method: http.MethodPost, path: pathObject + "/certificate/preview", rule: d.creates(), id: "previewCertificate",
			about: "What an object would get, or one with these keywords that is not there yet. Nothing is signed or recorded.",
			body:  jsonOption[wire.PreviewRequest](), answer: jsonAnswer[wire.Preview](http.StatusOK), handle: d.previewCertificate},
	}
}

func (d *door) previewSigning(ctx context.Context, c *call) (response, error) {
	r, err := c.signRequest()
	if err != nil {
		return response{}, err
	}
	p, err := d.Authority.PreviewSign(ctx, c.who, r)
	if err != nil {
		return response{}, err
	}
	c.noticeLeftOut(p.LeftOut)
	old, err := d.predecessor(ctx, c, p)
	if err != nil {
		return response{}, err
	}
	return reply(http.StatusOK, describePreview(p, old))
}

func (d *door) previewCertificate(ctx context.Context, c *call) (response, error) {
	want, err := decode[wire.PreviewRequest](c)
	if err != nil {
		return response{}, err
	}
	if err := d.certifiable(c.path); err != nil {
		return response{}, err
	}
	opt := ca.CreateOptions{Rekey: want.Rekey, ReplaceExternal: want.ReplaceExternal}
	_, err = d.Objects.Get(ctx, c.path)
	switch {
	case errors.Is(err, ca.ErrNotFound) && len(want.Keywords) > 0:
		return d.previewNew(ctx, c, want.Keywords, opt)
	case err != nil:
		return response{}, err
	case len(want.Keywords) > 0:
		return response{}, hint.With(fmt.Errorf("%w: %s", registry.ErrExists, c.path), "set its keywords first; the preview then needs none")
	}
	p, err := d.Authority.Preview(ctx, c.who, c.path.String(), opt)
	if err != nil {
		return response{}, err
	}
	held, err := d.Authority.Held(ctx, c.path.String())
	if err != nil {
		return response{}, err
	}
	var old *x509.Certificate
	if len(held.Chain) > 0 {
		old = held.Chain[0]
	}
	return reply(http.StatusOK, describePreview(p, old))
}

// previewNew is for an object that would be made with these keywords, by who may
// make it so.
func (d *door) previewNew(ctx context.Context, c *call, keywords []string, opt ca.CreateOptions) (response, error) {
	exprs, err := object.ParseExprs(keywords)
	if err != nil {
		return response{}, err
	}
	config, changed, err := object.NewConfig(c.path).Apply(object.Update{Set: exprs})
	if err != nil {
		return response{}, err
	}
	if err := d.maySet(ctx, c.who, config, changed); err != nil {
		return response{}, err
	}
	p, err := d.Authority.Preview(d.Objects.Stage(ctx, c.path, 0, config), c.who, c.path.String(), opt)
	if err != nil {
		return response{}, err
	}
	return reply(http.StatusOK, describePreview(p, nil))
}

// predecessor is the living certificate that says the same of the same owner, of
// which there may be several: the one that lives longest. nil for none among
// those that are looked at.
func (d *door) predecessor(ctx context.Context, c *call, p ca.Preview) (*x509.Certificate, error) {
	ctx = registry.Unnoted(ctx)
	var old *x509.Certificate
	looked := 0
	for r, err := range d.Authority.Records(ctx, ca.Query{Owner: p.Owner, Profile: p.Profile, ExpiresAfter: d.Now()}) {
		if err != nil {
			return nil, err
		}
		if looked++; looked > maxScan {
			break
		}
		if r.Certificate.Subject.String() != p.Certificate.Subject.String() {
			continue
		}
		if sees, err := d.mayReadRecord(ctx, c.who, r.Record); err != nil {
			return nil, err
		} else if !sees {
			continue
		}
		_, revoked, err := d.Authority.RevocationOf(ctx, r.Certificate)
		if err != nil {
			return nil, err
		}
		if !revoked {
			old = r.Certificate // in the order of their ends
		}
	}
	return old, nil
}

func describePreview(p ca.Preview, old *x509.Certificate) wire.Preview {
	cert := p.Certificate
	usage, uses := pki.Uses(cert)
	v := wire.Preview{
		Owner: p.Owner, Profile: p.Profile, Subject: cert.Subject.String(), Names: append([]string{}, pki.NamesOf(cert).Strings()...),
		Issuer: cert.Issuer.CommonName, IssuerPath: p.Issuer, NotBefore: cert.NotBefore.UTC(), NotAfter: cert.NotAfter.UTC(),
		KeyType: pki.DescribeKey(cert.PublicKey), NewKey: p.KeyMade, KeyUsage: usage, ExtKeyUsage: append([]string{}, uses...), IsCA: cert.IsCA,
		Pointers: pointersOf(cert), TBS: p.TBS, Findings: []wire.LintFinding{}, Changes: []wire.Difference{},
	}
	for _, f := range p.Findings {
		v.Findings = append(v.Findings, wire.LintFinding{Lint: f.Lint, Severity: string(f.Severity), Citation: f.Citation, Detail: f.Detail})
	}
	if old != nil {
		v.Replaces, v.Changes = string(pki.SerialOf(old)), differences(old, cert, p.KeyMade)
	}
	return v
}

func pointersOf(cert *x509.Certificate) []string {
	return append(append([]string{}, cert.CRLDistributionPoints...), cert.OCSPServer...)
}

// differences are the fields in which what would be signed differs from what is
// there, beside what always does.
func differences(from, to *x509.Certificate, newKey bool) []wire.Difference {
	all := []wire.Difference{}
	add := func(field, a, b string) {
		if a != b {
			all = append(all, wire.Difference{Field: field, From: a, To: b})
		}
	}
	list := func(words []string) string { return strings.Join(slices.Sorted(slices.Values(words)), ", ") }
	const day = 24 * time.Hour
	life := func(cert *x509.Certificate) string {
		lasts := cert.NotAfter.Sub(cert.NotBefore).Round(time.Hour)
		if lasts < 2*day {
			return fmt.Sprintf("%d hours", int(lasts/time.Hour))
		}
		return fmt.Sprintf("%d days", int(lasts.Round(day)/day))
	}
	fromUsage, fromUses := pki.Uses(from)
	toUsage, toUses := pki.Uses(to)
	add("subject", from.Subject.String(), to.Subject.String())
	add("names", list(pki.NamesOf(from).Strings()), list(pki.NamesOf(to).Strings()))
	add("issuer", from.Issuer.String(), to.Issuer.String())
	add("lives", life(from), life(to))
	if key := pki.DescribeKey(to.PublicKey); newKey || !pki.SameKey(from.PublicKey, to.PublicKey) {
		add("key", pki.DescribeKey(from.PublicKey)+", the present one", key+", another one")
	}
	add("key usage", fromUsage, toUsage)
	add("for", list(fromUses), list(toUses))
	add("revocation published at", list(pointersOf(from)), list(pointersOf(to)))
	return all
}
