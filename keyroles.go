package omca

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"

	"omca/ca"
	"omca/internal/hint"
	"omca/internal/object"
)

// A keyRole is a key that is in use, and what for.
type keyRole struct {
	role, path string
	public     crypto.PublicKey
}

// apart tells whether the key must have no other role: what it signs is believed.
func (k keyRole) apart() bool {
	return k.role == ca.ProfileCA || k.role == ca.ProfileOCSP || strings.HasPrefix(k.role, roleToken)
}

// roleToken is the role of the keys that sign tokens.
const roleToken = "token"

// separateKeys refuses to start when one key has two roles: what is signed in one
// of them could be taken for something of the other. The roles are CA, OCSP
// responder, listener and tokens; the keys looked at are those of system/sec/*.
func (s *Server) separateKeys(ctx context.Context) error {
	used, err := s.keysInUse(ctx)
	if err != nil {
		return err
	}
	type public interface{ Equal(crypto.PublicKey) bool }
	for i, a := range used {
		key, ok := a.public.(public)
		if !ok {
			return fmt.Errorf("%s: a key of type %T", a.path, a.public)
		}
		for _, b := range used[:i] {
			if a.role != b.role && (a.apart() || b.apart()) && key.Equal(b.public) {
				return hint.With(fmt.Errorf("%s and %s have the same key, and one is for a %s, the other for a %s", b.path, a.path, b.role, a.role),
					"each role has a key of its own; commands work without a daemon: \"omca PATH certificate renew --rekey\" makes another one")
			}
		}
	}
	return nil
}

// keysInUse lists the keys of system/sec/*, each with its role.
func (s *Server) keysInUse(ctx context.Context) ([]keyRole, error) {
	sel, err := object.ParseSelector("system/sec/*")
	if err != nil {
		return nil, err
	}
	paths, err := s.objects.List(ctx, sel)
	if err != nil {
		return nil, err
	}
	var used []keyRole
	for _, p := range paths {
		h, err := s.objects.Holder(ctx, p.String())
		if err != nil {
			return nil, err
		}
		if h.PrivateKey == nil || h.Chain == nil {
			continue
		}
		chain, _, err := s.authority.Serving(ctx, p.String())
		if errors.Is(err, ca.ErrInvalid) || errors.Is(err, ca.ErrNotFound) {
			continue // no set that is in use
		}
		if err != nil {
			return nil, err
		}
		used = append(used, keyRole{h.Profile, p.String(), chain[0].PublicKey})
	}
	keys, err := s.tokens.PublicKeys(ctx)
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		used = append(used, keyRole{roleToken, object.JWTPath().String(), ed25519.PublicKey(k.Public)})
	}
	foreign, err := s.foreignKeysInUse(ctx)
	return append(used, foreign...), err
}
