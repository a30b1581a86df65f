package omca

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"

	"omca/ca"
	"omca/internal/clustercockpit"
	"omca/internal/hint"
	"omca/internal/object"
)

// standsAlone tells whether the key must have no other role: what it signs is believed.
func standsAlone(k clustercockpit.Key) bool {
	return k.Role == ca.ProfileCA || k.Role == ca.ProfileOCSP || strings.HasPrefix(k.Role, clustercockpit.RoleToken)
}

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
		key, ok := a.Public.(public)
		if !ok {
			return fmt.Errorf("%s: a key of type %T", a.Path, a.Public)
		}
		for _, b := range used[:i] {
			if a.Role != b.Role && (standsAlone(a) || standsAlone(b)) && key.Equal(b.Public) {
				return hint.With(fmt.Errorf("%s and %s have the same key, and one is for a %s, the other for a %s", b.Path, a.Path, b.Role, a.Role),
					"each role has a key of its own; commands work without a daemon: \"omca PATH certificate renew --rekey\" makes another one")
			}
		}
	}
	return nil
}

// keysInUse lists the keys of system/sec/*, each with its role.
func (s *Server) keysInUse(ctx context.Context) ([]clustercockpit.Key, error) {
	sel, err := object.ParseSelector("system/sec/*")
	if err != nil {
		return nil, err
	}
	paths, err := s.objects.List(ctx, sel)
	if err != nil {
		return nil, err
	}
	var used []clustercockpit.Key
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
		used = append(used, clustercockpit.Key{Role: h.Profile, Path: p.String(), Public: chain[0].PublicKey})
	}
	keys, err := s.tokens.PublicKeys(ctx)
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		used = append(used, clustercockpit.Key{Role: clustercockpit.RoleToken, Path: object.JWTPath().String(), Public: ed25519.PublicKey(k.Public)})
	}
	foreign, err := s.cockpit.KeysInUse(ctx)
	return append(used, foreign...), err
}
