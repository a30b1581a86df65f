package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"omca/ca"
	"omca/internal/hint"
	"omca/internal/object"
	"omca/internal/registry"
	"omca/internal/wire"
	"omca/pki"
	"omca/usr"
)

func (d *door) getCertificate(ctx context.Context, c *call) (response, error) {
	state, err := d.certificateState(ctx, c.who, c.path)
	if err != nil {
		return response{}, err
	}
	return reply(http.StatusOK, state)
}

// certificateState describes the certificate of the object at p to who.
func (d *door) certificateState(ctx context.Context, who usr.Caller, p object.Path) (wire.CertificateState, error) {
	held, err := d.Authority.Held(ctx, p.String())
	if err != nil {
		return wire.CertificateState{}, err
	}
	s := wire.CertificateState{
		Path: p.String(), State: string(held.State), SignedBy: held.SignedBy,
		Names: []string{}, Pending: append([]string{}, held.Pending...),
	}
	if len(held.Chain) == 0 {
		return s, nil
	}
	leaf := held.Chain[0]
	s.Serial, s.Subject, s.Issuer = string(pki.SerialOf(leaf)), leaf.Subject.String(), leaf.Issuer.String()
	s.Names = append(s.Names, pki.NamesOf(leaf).Strings()...)
	s.NotBefore, s.NotAfter, s.DaysLeft = leaf.NotBefore.UTC(), leaf.NotAfter.UTC(), pki.DaysLeft(leaf, d.Now())
	s.SHA256, s.KeyType = pki.Fingerprint(leaf), pki.DescribeKey(leaf.PublicKey)
	revocation, revoked, err := d.Authority.RevocationOf(ctx, leaf)
	s.State, s.Withdrawal = standing(revocation, revoked, held.State)
	if err != nil {
		return wire.CertificateState{}, err
	}
	switch err := d.mayReadKey(ctx, who, p, ca.KeyChain); {
	case err == nil:
		s.Certificate = string(pki.EncodeCertificates(leaf))
		s.CertificateChain = string(pki.EncodeCertificates(held.Chain...))
	case !errors.Is(err, usr.ErrDenied):
		return wire.CertificateState{}, err
	}
	return s, nil
}

func (d *door) createCertificate(ctx context.Context, c *call) (response, error) {
	want, err := decode[wire.Creation](c)
	if err != nil {
		return response{}, err
	}
	return d.answerIssued(ctx, c, ca.CreateOptions{ReplaceExternal: want.ReplaceExternal}, want.Revoke)
}

func (d *door) renewCertificate(ctx context.Context, c *call) (response, error) {
	if err := d.certifiable(c.path); err != nil {
		return response{}, err
	}
	want, err := decode[wire.Renewal](c)
	if err != nil {
		return response{}, err
	}
	held, err := d.Authority.Held(ctx, c.path.String())
	if err != nil {
		return response{}, err
	}
	if len(held.Chain) == 0 {
		return response{}, hint.With(fmt.Errorf("%w: %s has no certificate to renew", ca.ErrConflict, c.path), "\"omca %s certificate create\" makes the first one", c.path)
	}
	if want.Rekey {
		if err := c.askFirst(func() ([]wire.Break, error) { return d.rekeyBreaks(ctx, c.path) }); err != nil {
			return response{}, err
		}
	}
	return d.answerIssued(ctx, c, ca.CreateOptions{Rekey: want.Rekey, ReplaceExternal: want.ReplaceExternal}, want.Revoke)
}

// answerIssued gives the object of the call a certificate, and takes back the
// one that it replaces, if that is wanted.
func (d *door) answerIssued(ctx context.Context, c *call, opt ca.CreateOptions, revoke bool) (response, error) {
	var old pki.Serial
	if revoke {
		var err error
		if old, err = d.mayReplace(ctx, c); err != nil {
			return response{}, err
		}
		if err := c.reaches(old); err != nil {
			return response{}, err
		}
	}
	if err := d.noteReign(ctx, c); err != nil {
		return response{}, err
	}
	issued, err := d.issue(ctx, c, opt)
	if err == nil {
		err = d.tellOrphans(ctx, c)
	}
	if err != nil {
		return response{}, err
	}
	if err := d.supersede(registry.Undecided(ctx), c, old); err != nil {
		return response{}, err
	}
	return reply(http.StatusOK, wire.Issued{
		Path: c.path.String(), Serial: string(pki.SerialOf(issued.Certificate)),
		Certificate:      string(pki.EncodeCertificates(issued.Certificate)),
		CertificateChain: string(pki.EncodeCertificates(issued.Chain...)),
		NotBefore:        issued.Certificate.NotBefore.UTC(), NotAfter: issued.Certificate.NotAfter.UTC(),
	})
}

// issue gives the object of the call a certificate, and counts it.
func (d *door) issue(ctx context.Context, c *call, opt ca.CreateOptions) (ca.Issued, error) {
	o, err := d.Objects.Get(ctx, c.path)
	if err == nil {
		err = d.certifiable(c.path)
	}
	if err != nil {
		return ca.Issued{}, err
	}
	issued, err := d.Authority.Create(ctx, c.who, c.path.String(), opt)
	if err != nil {
		return ca.Issued{}, err
	}
	profile, err := o.Config.Eval("profile")
	if err != nil {
		profile = "unknown" // what was issued is issued
	}
	d.metrics.issued.WithLabelValues(profile).Inc()
	c.noticeCut(issued)
	if issued.Rekeyed {
		c.notice("%s: the key was revoked as compromised and is never certified again: the certificate is for a new key", c.path)
	}
	return issued, nil
}

// noticeCut says that a certificate has less than the validity that was asked for.
func (c *call) noticeCut(issued ca.Issued) {
	if issued.Cut {
		c.notice("the certificate ends with its CA at %s, before the validity that was asked for", issued.Certificate.NotAfter.UTC().Format(time.RFC3339))
	}
}

func (d *door) signingRequest(ctx context.Context, c *call) (response, error) {
	if err := d.certifiable(c.path); err != nil {
		return response{}, err
	}
	text, err := d.Authority.SigningRequest(ctx, c.who, c.path.String())
	if err != nil {
		return response{}, err
	}
	return response{status: http.StatusOK, media: mediaText, body: text}, nil
}

func (d *door) pkcs12(ctx context.Context, c *call) (response, error) {
	want, err := decode[wire.PKCS12Request](c)
	if err != nil {
		return response{}, err
	}
	if want.Format == "" {
		want.Format = string(pki.PKCS12Modern)
	}
	chain, key, err := d.Authority.Serving(ctx, c.path.String())
	if err != nil {
		return response{}, err
	}
	file, err := pki.EncodePKCS12(key, chain, want.Password, pki.PKCS12Format(want.Format))
	if err != nil {
		return response{}, err
	}
	return response{status: http.StatusOK, media: mediaP12, body: file}, nil
}

// clusterCA reads the certificate of the cluster's CA; ErrNotFound when there is none.
func (d *door) clusterCA(ctx context.Context) (ca.Held, error) {
	none := fmt.Errorf("%w: the cluster has no CA certificate yet", ca.ErrNotFound)
	path, err := d.Authority.ClusterCA(ctx)
	if errors.Is(err, ca.ErrNotFound) {
		return ca.Held{}, none
	}
	if err != nil {
		return ca.Held{}, err
	}
	held, err := d.Authority.Held(ctx, path)
	if errors.Is(err, ca.ErrNotFound) || err == nil && len(held.Chain) == 0 {
		return ca.Held{}, none
	}
	return held, err
}

func (d *door) getCA(ctx context.Context, _ *call) (response, error) {
	held, err := d.clusterCA(ctx)
	if err != nil {
		return response{}, err
	}
	cert := held.Chain[0]
	return reply(http.StatusOK, wire.Authority{
		Path: held.Path, Subject: cert.Subject.String(), SHA256: pki.Fingerprint(cert),
		NotBefore: cert.NotBefore.UTC(), NotAfter: cert.NotAfter.UTC(), CertificateChain: string(pki.EncodeCertificates(held.Chain...)),
	})
}

func (d *door) getCAPEM(ctx context.Context, _ *call) (response, error) {
	held, err := d.clusterCA(ctx)
	if err != nil {
		return response{}, err
	}
	return response{status: http.StatusOK, media: mediaPEM, body: pki.EncodeCertificates(held.Chain...)}, nil
}
