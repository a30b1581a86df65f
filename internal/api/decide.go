package api

import (
	"context"
	"crypto/sha256"
	"net/http"
	"slices"

	"omca/usr"
)

// change is the walk of a call that may change something.
func (d *door) change(ctx context.Context, c *call, w http.ResponseWriter) (response, error) {
	r := c.route
	ctx = withProofs(ctx)
	// The body is read only for a caller that may take the route, and may take its time to arrive. The decision that
	// counts is made when it is whole: a request that is kept open is no right that is kept.
	brought := r.body.media != "" && c.request.ContentLength != 0
	if brought {
		if _, _, basic := c.request.BasicAuth(); basic { // the proof of the password is remembered
			c.request = c.request.WithContext(ctx)
		}
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

// decided runs act for a call that may change something, under a decision. The caller is identified and the rule of the
// route is asked each time that act is run, and the commits of act expect all that was read for both. See
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

// proofs are the passwords that a request has proved: a request that is decided again neither computes the hash again
// nor counts as another guess.
type proofs struct{ of []proof }

type proof struct {
	name     string
	password [sha256.Size]byte
	hash     string // as it is kept: the same password set again has another
}

type proofsKey struct{} // *proofs

func withProofs(ctx context.Context) context.Context {
	return context.WithValue(ctx, proofsKey{}, new(proofs))
}

func proofOf(name string, password []byte, hash usr.PasswordHash) proof {
	return proof{name, sha256.Sum256(password), string(hash.Encode())}
}

// Prove remembers, as long as the request of ctx goes on, that the hash of the user of that name is that of the password.
func Prove(ctx context.Context, name string, password []byte, hash usr.PasswordHash) {
	if p, ok := ctx.Value(proofsKey{}).(*proofs); ok {
		p.of = append(p.of, proofOf(name, password, hash))
	}
}

// Proved reports whether the request of ctx has proved so before, of the hash that the user has now.
func Proved(ctx context.Context, name string, password []byte, now func(ctx context.Context, name string) (usr.PasswordHash, error)) (bool, error) {
	p, ok := ctx.Value(proofsKey{}).(*proofs)
	if !ok || len(p.of) == 0 {
		return false, nil
	}
	hash, err := now(ctx, name)
	return err == nil && !hash.IsZero() && slices.Contains(p.of, proofOf(name, password, hash)), err
}
