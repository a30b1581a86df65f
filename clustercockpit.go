package omca

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"time"

	"omca/ca"
	"omca/internal/api"
	"omca/internal/hint"
	"omca/internal/object"
	"omca/internal/registry"
	"omca/usr"
	"omca/usr/clustercockpit"
	"omca/usr/token"
)

// Tokens for other services are those of ClusterCockpit: whoever verifies them has
// one public key and asks nobody. So each profile signs with a key of its own, and
// a token of one opens nothing that another is for (docs/clustercockpit.md).

// The profiles of tokens for other services.
const (
	profileClusterCockpit = "clustercockpit" // the APIs of cc-backend; proves a name here too
	profileCrossLogin     = "cross-login"    // the pages of cc-backend
	profileMetricStore    = "metric-store"   // cc-metric-store, which looks at no role
)

func foreignProfileNames() []string {
	return []string{profileClusterCockpit, profileCrossLogin, profileMetricStore}
}

// tokenKeyPrefix begins the name of the object that holds the key of a profile.
const tokenKeyPrefix = "jwt-"

// tokenKeyPath is the object that holds the key of a profile.
func tokenKeyPath(profile string) (object.Path, error) {
	for _, name := range foreignProfileNames() {
		if name == profile {
			return object.ParsePath("system/sec/" + tokenKeyPrefix + profile)
		}
	}
	return object.Path{}, fmt.Errorf("%w: token profile %.32q, there are %s", ca.ErrNotFound, profile, strings.Join(foreignProfileNames(), ", "))
}

// tokenProfileAt is the profile whose key the object holds, "" for none.
func tokenProfileAt(p object.Path) string {
	for _, name := range foreignProfileNames() {
		if at, err := tokenKeyPath(name); err == nil && at == p {
			return name
		}
	}
	return ""
}

// foreignProfiles are how the tokens of each profile are signed and verified.
func (s *Server) foreignProfiles() map[string]token.Profile {
	profiles := make(map[string]token.Profile)
	for _, name := range foreignProfileNames() {
		profiles[name] = token.Profile{Sign: func(ctx context.Context, c token.Claims) (string, error) { return s.signForeign(ctx, name, c) }}
	}
	api := profiles[profileClusterCockpit]
	api.Verify = s.verifyClusterCockpit
	profiles[profileClusterCockpit] = api
	return profiles
}

// signForeign makes a token. A token of this kind has no id: two that say the
// same of the same second are one, and taking back the first would take back the
// second. So the time of issue goes back, a second at a time, to one that no token
// has that is on record, or was taken back: the revocation outlives the record.
func (s *Server) signForeign(ctx context.Context, profile string, c token.Claims) (string, error) {
	const most = 600 // seconds
	key, err := s.profileKey(ctx, profile, true)
	if err != nil {
		return "", err
	}
	signer, err := clustercockpit.NewSigner(key, s.config.Now)
	if err != nil {
		return "", err
	}
	sign := signer.Sign
	if profile == profileCrossLogin {
		sign = signer.SignLogin
	}
	claims := clustercockpit.Claims{Subject: c.Subject, Expires: c.ExpiresAt, Issuer: c.Issuer, Name: c.FullName, Projects: c.Projects}
	for _, role := range c.Roles {
		claims.Roles = append(claims.Roles, clustercockpit.Role(role))
	}
	for back := range most {
		claims.IssuedAt = c.IssuedAt.Add(-clustercockpit.Backdate - time.Duration(back)*time.Second)
		compact, err := sign(claims)
		if err != nil {
			return "", fmt.Errorf("%w: %w", usr.ErrInvalid, err)
		}
		id := token.IDOf(compact)
		recorded, err := s.objects.Recorded(ctx, id)
		if err != nil {
			return "", err
		}
		if !recorded && !s.objects.Revoked(id) {
			return compact, nil
		}
	}
	return "", hint.With(fmt.Errorf("%w: %q has %d tokens that were issued just now", ca.ErrConflict, c.Subject, most), "wait a minute")
}

// verifyClusterCockpit accepts the tokens that were issued and recorded here. One
// that somebody else signed with the same key, before it was imported, is good
// elsewhere: here nobody could take it back.
func (s *Server) verifyClusterCockpit(ctx context.Context, compact string) (token.Claims, error) {
	key, err := s.profileKey(ctx, profileClusterCockpit, false)
	if errors.Is(err, ca.ErrNotFound) {
		return token.Claims{}, fmt.Errorf("%w: token: none of profile %s was issued here", usr.ErrUnauthenticated, profileClusterCockpit)
	}
	if err != nil {
		return token.Claims{}, err
	}
	verifier, err := clustercockpit.NewVerifier(key.Public().(ed25519.PublicKey), s.config.Now)
	if err != nil {
		return token.Claims{}, err
	}
	read, err := verifier.Verify(compact)
	if err != nil {
		return token.Claims{}, fmt.Errorf("%w: %w", usr.ErrUnauthenticated, err)
	}
	id := token.IDOf(compact)
	if err := s.tokens.CheckRecord(ctx, id); err != nil {
		return token.Claims{}, err
	}
	record, err := s.objects.Token(ctx, id)
	if errors.Is(err, ca.ErrNotFound) {
		return token.Claims{}, fmt.Errorf("%w: token: %s is not on record any more", usr.ErrUnauthenticated, id)
	}
	if err != nil {
		return token.Claims{}, err
	}
	c := token.Claims{ID: record.ID, Subject: read.Subject, IssuedAt: record.IssuedAt, ExpiresAt: read.Expires}
	for _, role := range read.Roles {
		c.Roles = append(c.Roles, string(role))
	}
	return c, nil
}

// profileKey is the key that signs the tokens of a profile. Where there is none
// yet it is made, or ca.ErrNotFound.
func (s *Server) profileKey(ctx context.Context, profile string, make bool) (ed25519.PrivateKey, error) {
	p, err := tokenKeyPath(profile)
	if err != nil {
		return nil, err
	}
	text, err := s.objects.Value(ctx, p, ca.KeyPrivate)
	if errors.Is(err, ca.ErrNotFound) && make {
		if err := s.makeForeignKey(ctx, p); err != nil {
			return nil, err
		}
		text, err = s.objects.Value(ctx, p, ca.KeyPrivate)
	}
	if err != nil {
		return nil, err
	}
	key, err := clustercockpit.ParsePrivateKey(text)
	if err != nil {
		return nil, hint.With(fmt.Errorf("%s: %w", p, err), "\"omca token keypair --out FILE\" makes one, \"omca %s key change --name %s --from FILE\" imports it", p, ca.KeyPrivate)
	}
	return key, nil
}

// makeForeignKey makes the key of a profile, unless there is one by now. It is a
// decision of its own, on the absence of the key: no caller asked for it.
func (s *Server) makeForeignKey(ctx context.Context, p object.Path) error {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return err
	}
	err = s.objects.Decide(ctx, func(ctx context.Context) error { return s.storeForeignKey(ctx, p, registry.Add, key) })
	if errors.Is(err, registry.ErrExists) {
		return nil
	}
	if err == nil {
		s.config.Log.InfoContext(ctx, "token key made", "path", p.String())
	}
	return err
}

// storeForeignKey puts the key into its object, or makes the object with it.
func (s *Server) storeForeignKey(ctx context.Context, p object.Path, action registry.Action, key ed25519.PrivateKey) error {
	text, err := clustercockpit.FormatPrivateKey(clustercockpit.FormatBase64, key)
	if err != nil {
		return err
	}
	edits := []registry.Edit{{Action: action, Name: ca.KeyPrivate, Value: []byte(strings.TrimSpace(text))}}
	if _, err := s.objects.Get(ctx, p); errors.Is(err, ca.ErrNotFound) {
		return s.objects.MakeWith(ctx, p, object.NewConfig(p), edits)
	} else if err != nil {
		return err
	}
	return s.objects.Edit(ctx, p, edits)
}

// foreignPublicKey is the public key of a profile.
func (s *Server) foreignPublicKey(ctx context.Context, profile string, make bool) (ed25519.PublicKey, error) {
	key, err := s.profileKey(ctx, profile, make)
	if err != nil {
		return nil, err
	}
	return key.Public().(ed25519.PublicKey), nil
}

// importForeignKey takes a key made elsewhere, in any form in which ClusterCockpit
// has it. It is refused when it is known to everybody, or has another role here.
func (s *Server) importForeignKey(ctx context.Context, p object.Path, text []byte) error {
	key, err := clustercockpit.ParsePrivateKey(text)
	if err != nil {
		return hint.With(fmt.Errorf("%w: %s: %w", ca.ErrInvalid, p, err), "the value of JWT_PRIVATE_KEY, the output of gen-keypair, or PEM")
	}
	public := key.Public().(ed25519.PublicKey)
	if clustercockpit.IsDemo(public) {
		return hint.With(fmt.Errorf("%w: %s: this is the key of ClusterCockpit's demonstration: everybody has it", ca.ErrInvalid, p),
			"\"omca token keypair --out FILE\" makes one")
	}
	used, err := s.keysInUse(registry.Unnoted(ctx)) // of any number of objects
	if err != nil {
		return err
	}
	for _, other := range used {
		if held, ok := other.public.(ed25519.PublicKey); ok && other.path != p.String() && bytes.Equal(held, public) {
			return hint.With(fmt.Errorf("%w: %s: this key is in use at %s, for a %s", ca.ErrConflict, p, other.path, other.role),
				"each role has a key of its own: \"omca token keypair --out FILE\" makes one")
		}
	}
	return s.storeForeignKey(ctx, p, registry.PutKey, key)
}

// foreignKeysInUse are the keys of the profiles that have one.
func (s *Server) foreignKeysInUse(ctx context.Context) ([]keyRole, error) {
	var used []keyRole
	for _, profile := range foreignProfileNames() {
		public, err := s.foreignPublicKey(ctx, profile, false)
		if errors.Is(err, ca.ErrNotFound) || errors.Is(err, clustercockpit.ErrInvalid) {
			continue // nothing is signed with it
		}
		if err != nil {
			return nil, err
		}
		p, err := tokenKeyPath(profile)
		if err != nil {
			return nil, err
		}
		used = append(used, keyRole{roleToken + " of profile " + profile, p.String(), public})
	}
	return used, nil
}

// foreignTokens is what the API needs of all this.
func (s *Server) foreignTokens() api.ForeignTokens {
	return api.ForeignTokens{Profile: tokenProfileAt, PublicKey: s.foreignPublicKey, Import: s.importForeignKey}
}
