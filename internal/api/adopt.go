package api

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"

	"omca/ca"
	"omca/internal/object"
	"omca/internal/registry"
	"omca/internal/wire"
)

// limitAdoption bounds the certificates of a cluster, in bytes.
const limitAdoption = 8 << 20

func (d *door) adoptionRoutes() []route {
	return []route{
		{method: http.MethodPost, path: pathObject + "/import", rule: root(), id: "adoptCluster",
			about: "Take over a cluster that lived without a daemon: its CA, its users, and all that the CA signed.",
			body:  jsonBody[wire.Adoption](limitAdoption), answer: jsonAnswer[wire.Adopted](http.StatusOK), audit: auditByCA, handle: d.adopt},
	}
}

func (d *door) adopt(ctx context.Context, c *call) (response, error) {
	want, err := decode[wire.Adoption](c)
	if err != nil {
		return response{}, err
	}
	ad := ca.Adoption{Path: c.path.String(), PrivateKey: []byte(want.PrivateKey), Certificate: []byte(want.Certificate), Stage: d.stageUser}
	for _, f := range want.Signed {
		ad.Signed = append(ad.Signed, ca.AdoptedFile{Name: f.Name, Certificate: []byte(f.Certificate)})
	}
	// An adoption that was cut short can be run again, and reads more objects than a
	// commit can expect: each of its commits expects the one object that it is about.
	if err := d.noteReign(ctx, c); err != nil {
		return response{}, err
	}
	done, err := d.Authority.Adopt(registry.Unnoted(registry.Repeatable(ctx)), c.who, ad)
	c.adopted = append(c.adopted, done.Users...)
	c.recorded += done.Recorded
	if err != nil {
		return response{}, err
	}
	done.Known, done.Recorded, done.Users = done.Known+done.Recorded-c.recorded, c.recorded, c.adopted
	c.note(slog.Int("users", len(done.Users)))
	c.note(slog.Int("recorded", done.Recorded))
	if done.Changed {
		if err := d.tellOrphans(ctx, c); err != nil {
			return response{}, err
		}
	}
	return reply(http.StatusOK, wire.Adopted{
		Path: c.path.String(), IsChanged: done.Changed, Recorded: done.Recorded, Known: done.Known,
		Users: append([]string{}, done.Users...), Unnamed: append([]string{}, done.Unnamed...),
	})
}

// stageUser stages a user who has nothing but a name.
func (d *door) stageUser(ctx context.Context, path string) (context.Context, error) {
	p, err := object.ParsePath(path)
	if err != nil {
		return nil, err
	}
	if p.String() != path {
		return nil, fmt.Errorf("%w: %q is another way to write %s", ca.ErrInvalid, path, p)
	}
	return d.Objects.Stage(ctx, p, 0, object.NewConfig(p)), nil
}
