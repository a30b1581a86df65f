package api

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"

	"omca/ca"
	"omca/internal/object"
	"omca/internal/registry"
	"omca/pki"
)

// reign is the CA of the cluster at one time.
type reign struct {
	path string
	cert *x509.Certificate // nil when there is none
}

// reign reads what the CA of the cluster is.
func (d *door) reign(ctx context.Context) (reign, error) {
	held, err := d.clusterCA(ctx)
	if errors.Is(err, ca.ErrNotFound) {
		return reign{}, nil
	}
	if err != nil {
		return reign{}, err
	}
	return reign{held.Path, held.Chain[0]}, nil
}

// noteReign keeps what the CA of the cluster was before a call that is about a CA, however
// often the call is decided. See tellOrphans.
func (d *door) noteReign(ctx context.Context, c *call) error {
	if c.before != nil || c.path.Kind != object.KindSec {
		return nil
	}
	ctx = registry.Unnoted(ctx)
	o, err := d.Objects.Get(ctx, c.path)
	switch {
	case err != nil && !errors.Is(err, ca.ErrNotFound):
		return err
	case err == nil && !saysCA(o.Config):
		return nil
	}
	before, err := d.reign(ctx)
	if err == nil {
		c.before = &before
	}
	return err
}

// tellOrphans says what another CA of the cluster has ended, and what brings it back. The
// manuals' own ways to another CA do not ask (docs/external-pki.md).
func (d *door) tellOrphans(ctx context.Context, c *call) error {
	if c.before == nil || c.before.cert == nil {
		return nil
	}
	n, err := d.orphans(ctx, *c.before)
	if err != nil {
		return fmt.Errorf("done, but what it ends could not be counted: %w", err)
	}
	if n == 0 {
		return nil
	}
	back := "\"omca ca rollback\" goes back"
	if was := c.before.path; was != c.path.String() {
		back = fmt.Sprintf("\"omca cluster config update --set cluster.ca+=%s\" has them accepted again", was)
	}
	subject := fmt.Sprintf("%d certificates that %s signed before are", n, c.before.path)
	if n == 1 {
		subject = fmt.Sprintf("1 certificate that %s signed before is", c.before.path)
	}
	c.notice("%s no longer accepted: \"omca certificate ls --issuer %[2]s\" lists them, \"omca PATH certificate create\" reissues each; %[3]s",
		subject, c.before.path, back)
	return nil
}

// orphans counts the living certificates that lead to what the CA of the cluster was, and
// to nothing that is trusted now.
func (d *door) orphans(ctx context.Context, before reign) (int, error) {
	trusted, err := d.Authority.Trust(ctx)
	if err != nil && len(trusted) == 0 {
		return 0, err
	}
	id := pki.AuthorityOf(before.cert)
	for _, cert := range trusted {
		if pki.AuthorityOf(cert) == id {
			return 0, nil
		}
	}
	return d.Authority.CountBelow(registry.Unnoted(ctx), id)
}
