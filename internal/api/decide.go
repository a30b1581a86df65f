package api

import (
	"context"
	"crypto/sha256"
	"net/http"
	"time"

	"omca/internal/object"
)

// change is the walk of a call that may change something.
func (d *door) change(ctx context.Context, c *call, w http.ResponseWriter) (response, error) {
	r := c.route
	ctx = withProofs(ctx)
	c.request = c.request.WithContext(ctx)
	// The body may take its time to arrive. It is read for a caller who may take the route, and the decision that counts
	// is made when it is whole: a request that is kept open is no right that is kept.
	brought := r.body.media != "" && c.request.ContentLength != 0
	if brought {
		if err := d.enter(ctx, c); err != nil {
			return response{}, err
		}
		if err := c.readBody(w, r.body); err != nil {
			return response{}, err
		}
	}
	var answer response
	err := d.decided(ctx, c, func(ctx context.Context) error {
		if !brought {
			if err := c.readBody(w, r.body); err != nil {
				return err
			}
		}
		var err error
		answer, err = r.handle(ctx, c)
		return err
	})
	return answer, err
}

// decided runs act for a call that may change something, under a decision: who calls and whether they may is
// found out again each time that act is run, and what act commits expects all that was read for it. See
// [object.Store.Decide].
func (d *door) decided(ctx context.Context, c *call, act func(context.Context) error) error {
	request, facts, notices := c.request, len(c.facts), len(c.notices)
	defer func() { c.request = request }()
	return d.Objects.Decide(ctx, func(ctx context.Context) error {
		c.request = request.WithContext(ctx)
		c.facts, c.notices = c.facts[:facts], c.notices[:notices]
		if err := d.enter(ctx, c); err != nil {
			return err
		}
		return act(ctx)
	})
}

// mayCommit reports whether the route may change something.
func (r *route) mayCommit() bool { return r.method != http.MethodGet && !r.anyOrigin }

// proofs are the passwords that a request has proved: a request that is decided again neither makes the hash again
// nor counts as another guess.
type proofs struct{ of []proof }

type proof struct {
	name             string
	created, changed time.Time // of the user, and of the password
	sum              [sha256.Size]byte
}

type proofsKey struct{} // *proofs

func withProofs(ctx context.Context) context.Context {
	return context.WithValue(ctx, proofsKey{}, new(proofs))
}

func proofOf(u object.User, password []byte) proof {
	return proof{u.Name, u.Created.UTC(), u.PasswordChanged.UTC(), sha256.Sum256(password)}
}

// Prove remembers, as long as the request of ctx goes on, that the password is that of u as it is now.
func Prove(ctx context.Context, u object.User, password []byte) {
	if p, ok := ctx.Value(proofsKey{}).(*proofs); ok {
		p.of = append(p.of, proofOf(u, password))
	}
}

// Proved reports whether the request of ctx has proved that password of u, and neither the password nor the user is
// another one since.
func Proved(ctx context.Context, u object.User, password []byte) bool {
	p, ok := ctx.Value(proofsKey{}).(*proofs)
	if !ok || len(p.of) == 0 {
		return false
	}
	want := proofOf(u, password)
	for _, one := range p.of {
		if one.name == want.name && one.sum == want.sum && one.created.Equal(want.created) && one.changed.Equal(want.changed) {
			return true
		}
	}
	return false
}
