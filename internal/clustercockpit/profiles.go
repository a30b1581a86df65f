package clustercockpit

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"omca/ca"
	"omca/internal/hint"
	"omca/internal/object"
	"omca/internal/registry"
	"omca/usr"
	"omca/usr/clustercockpit"
	"omca/usr/token"
)

// Key is a public key that is in use in this cluster, and what for.
type Key struct {
	Role   string // such as "ca", or "token of profile cross-login"
	Path   string // of the object that holds it
	Public crypto.PublicKey
}

// RoleToken begins the role of the keys that sign tokens.
const RoleToken = "token"

// Config is what the [Profiles] work with. Every field is required.
type Config struct {
	Objects     *registry.Store
	CheckRecord func(ctx context.Context, id string) error // whether the token of this id is not revoked
	KeysInUse   func(ctx context.Context) ([]Key, error)   // of all roles
	Now         func() time.Time
	Log         *slog.Logger
}

// Profiles sign and verify the tokens for other services. They keep nothing: the keys are objects.
type Profiles struct{ config Config }

// New returns the profiles.
func New(c Config) *Profiles { return &Profiles{c} }

// Tokens for other services are those of ClusterCockpit: whoever verifies them has
// one public key and asks nobody. So each profile signs with a key of its own, and
// a token of one opens nothing that another is for (docs/clustercockpit.md).

// The profiles of tokens for other services.
const (
	profileClusterCockpit = "clustercockpit" // the APIs of cc-backend; proves a name here too
	profileCrossLogin     = "cross-login"    // the pages of cc-backend
	profileMetricStore    = "metric-store"   // cc-metric-store, which looks at no role
)

func names() []string {
	return []string{profileClusterCockpit, profileCrossLogin, profileMetricStore}
}

// keyPrefix begins the name of the object that holds the key of a profile.
const keyPrefix = "jwt-"

// keyPath is the object that holds the key of a profile.
func keyPath(profile string) (object.Path, error) {
	for _, name := range names() {
		if name == profile {
			return object.ParsePath("system/sec/" + keyPrefix + profile)
		}
	}
	return object.Path{}, fmt.Errorf("%w: token profile %.32q, there are %s", ca.ErrNotFound, profile, strings.Join(names(), ", "))
}

// ProfileAt is the profile whose key the object holds, "" for none.
func ProfileAt(p object.Path) string {
	for _, name := range names() {
		if at, err := keyPath(name); err == nil && at == p {
			return name
		}
	}
	return ""
}

// All are how the tokens of each profile are signed and verified.
func (t *Profiles) All() map[string]token.Profile {
	profiles := make(map[string]token.Profile)
	for _, name := range names() {
		profiles[name] = token.Profile{Sign: func(ctx context.Context, c token.Claims) (string, error) { return t.sign(ctx, name, c) }}
	}
	api := profiles[profileClusterCockpit]
	api.Verify = t.verify
	profiles[profileClusterCockpit] = api
	return profiles
}

// sign makes a token. A token of this kind has no id: two that say the
// same of the same second are one, and taking back the first would take back the
// second. So the time of issue goes back, a second at a time, to one that no token
// has that is on record, or was taken back: the revocation outlives the record.
func (t *Profiles) sign(ctx context.Context, profile string, c token.Claims) (string, error) {
	const most = 600 // seconds
	key, err := t.profileKey(ctx, profile, true)
	if err != nil {
		return "", err
	}
	signer, err := clustercockpit.NewSigner(key, t.config.Now)
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
		recorded, err := t.config.Objects.Recorded(ctx, id)
		if err != nil {
			return "", err
		}
		if !recorded && !t.config.Objects.Revoked(id) {
			return compact, nil
		}
	}
	return "", hint.With(fmt.Errorf("%w: %q has %d tokens that were issued just now", ca.ErrConflict, c.Subject, most), "wait a minute")
}

// verify accepts the tokens that were issued and recorded here. One
// that somebody else signed with the same key, before it was imported, is good
// elsewhere: here nobody could take it back.
func (t *Profiles) verify(ctx context.Context, compact string) (token.Claims, error) {
	key, err := t.profileKey(ctx, profileClusterCockpit, false)
	if errors.Is(err, ca.ErrNotFound) {
		return token.Claims{}, fmt.Errorf("%w: token: none of profile %s was issued here", usr.ErrUnauthenticated, profileClusterCockpit)
	}
	if err != nil {
		return token.Claims{}, err
	}
	verifier, err := clustercockpit.NewVerifier(key.Public().(ed25519.PublicKey), t.config.Now)
	if err != nil {
		return token.Claims{}, err
	}
	read, err := verifier.Verify(compact)
	if err != nil {
		return token.Claims{}, fmt.Errorf("%w: %w", usr.ErrUnauthenticated, err)
	}
	id := token.IDOf(compact)
	if err := t.config.CheckRecord(ctx, id); err != nil {
		return token.Claims{}, err
	}
	record, err := t.config.Objects.Token(ctx, id)
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
func (t *Profiles) profileKey(ctx context.Context, profile string, make bool) (ed25519.PrivateKey, error) {
	p, err := keyPath(profile)
	if err != nil {
		return nil, err
	}
	text, err := t.config.Objects.Value(ctx, p, ca.KeyPrivate)
	if errors.Is(err, ca.ErrNotFound) && make {
		if err := t.makeKey(ctx, p); err != nil {
			return nil, err
		}
		text, err = t.config.Objects.Value(ctx, p, ca.KeyPrivate)
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

// makeKey makes the key of a profile, unless there is one by now. It is a
// decision of its own, on the absence of the key: no caller asked for it.
func (t *Profiles) makeKey(ctx context.Context, p object.Path) error {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return err
	}
	err = t.config.Objects.Decide(ctx, func(ctx context.Context) error { return t.storeKey(ctx, p, registry.Add, key) })
	if errors.Is(err, registry.ErrExists) {
		return nil
	}
	if err == nil {
		t.config.Log.InfoContext(ctx, "token key made", "path", p.String())
	}
	return err
}

// storeKey puts the key into its object, or makes the object with it.
func (t *Profiles) storeKey(ctx context.Context, p object.Path, action registry.Action, key ed25519.PrivateKey) error {
	text, err := clustercockpit.FormatPrivateKey(clustercockpit.FormatBase64, key)
	if err != nil {
		return err
	}
	edits := []registry.Edit{{Action: action, Name: ca.KeyPrivate, Value: []byte(strings.TrimSpace(text))}}
	if _, err := t.config.Objects.Get(ctx, p); errors.Is(err, ca.ErrNotFound) {
		return t.config.Objects.MakeWith(ctx, p, object.NewConfig(p), edits)
	} else if err != nil {
		return err
	}
	return t.config.Objects.Edit(ctx, p, edits)
}

// PublicKey is the public key of a profile.
func (t *Profiles) PublicKey(ctx context.Context, profile string, make bool) (ed25519.PublicKey, error) {
	key, err := t.profileKey(ctx, profile, make)
	if err != nil {
		return nil, err
	}
	return key.Public().(ed25519.PublicKey), nil
}

// Import takes a key made elsewhere, in any form in which ClusterCockpit
// has it. It is refused when it is known to everybody, or has another role here.
func (t *Profiles) Import(ctx context.Context, p object.Path, text []byte) error {
	key, err := clustercockpit.ParsePrivateKey(text)
	if err != nil {
		return hint.With(fmt.Errorf("%w: %s: %w", ca.ErrInvalid, p, err), "the value of JWT_PRIVATE_KEY, the output of gen-keypair, or PEM")
	}
	public := key.Public().(ed25519.PublicKey)
	if clustercockpit.IsDemo(public) {
		return hint.With(fmt.Errorf("%w: %s: this is the key of ClusterCockpit's demonstration: everybody has it", ca.ErrInvalid, p),
			"\"omca token keypair --out FILE\" makes one")
	}
	used, err := t.config.KeysInUse(registry.Unnoted(ctx)) // of any number of objects
	if err != nil {
		return err
	}
	for _, other := range used {
		if held, ok := other.Public.(ed25519.PublicKey); ok && other.Path != p.String() && bytes.Equal(held, public) {
			return hint.With(fmt.Errorf("%w: %s: this key is in use at %s, for a %s", ca.ErrConflict, p, other.Path, other.Role),
				"each role has a key of its own: \"omca token keypair --out FILE\" makes one")
		}
	}
	return t.storeKey(ctx, p, registry.PutKey, key)
}

// KeysInUse are the keys of the profiles that have one.
func (t *Profiles) KeysInUse(ctx context.Context) ([]Key, error) {
	var used []Key
	for _, profile := range names() {
		public, err := t.PublicKey(ctx, profile, false)
		if errors.Is(err, ca.ErrNotFound) || errors.Is(err, clustercockpit.ErrInvalid) {
			continue // nothing is signed with it
		}
		if err != nil {
			return nil, err
		}
		p, err := keyPath(profile)
		if err != nil {
			return nil, err
		}
		used = append(used, Key{RoleToken + " of profile " + profile, p.String(), public})
	}
	return used, nil
}
