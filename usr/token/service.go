package token

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"omca/usr"
)

// How long tokens live. What is asked for beyond is cut to it.
const (
	Shortest      = time.Second
	DefaultAccess = 10 * time.Minute
	LongestAccess = 24 * time.Hour

	// LongestExternal is for whoever calls with a certificate of another PKI, for itself. That PKI's list ends the certificate here, and not what
	// was got with it: nothing tells whose tokens these are.
	LongestExternal = 10 * time.Minute

	DefaultRefresh = 24 * time.Hour
	LongestRefresh = 30 * 24 * time.Hour

	// Leeway is how far the clock of the node that issued a token may be ahead of the one that verifies it.
	Leeway = 30 * time.Second
)

// Settings is what is settled for the cluster, and may change.
type Settings struct {
	Issuer   string        // how the cluster calls itself; "" is what was decided when the first key was made
	Audience string        // whom tokens are for unless they are asked for somebody else: the API of the cluster
	MaxAge   time.Duration // no token is accepted for longer after it was issued; 0 is no limit
	Living   int           // tokens of a subject that live, beyond which root alone issues another; 0 is no limit
}

// A Profile is another shape of token, made with a key of its own. Its tokens say nothing of grants: they are for services that read
// the roles.
type Profile struct {
	// Sign makes the compact form. A zero ExpiresAt is never.
	Sign func(ctx context.Context, c Claims) (string, error)

	// Verify checks the signature and the claims of a token of this profile, as [Service.Verify] does for its own. Nil: such tokens
	// are for others, and prove nothing here.
	Verify func(ctx context.Context, compact string) (Claims, error)
}

// Config says what a Service works with. Store, Settings and Now are required.
type Config struct {
	Store    Store
	Settings func(context.Context) (Settings, error) // asked on every call
	Now      func() time.Time
	Profiles map[string]Profile // by name

	// Latest waits until this node has what any other node has acknowledged: a token that another node has just issued is on
	// record here then. It returns an error when that cannot be found out. Nil: no other node issues tokens.
	Latest func(context.Context) error
}

// Service issues, verifies and takes back the tokens of a cluster. It is safe for concurrent use.
type Service struct {
	Config
	keys atomic.Pointer[KeySet] // nil: to be read

	seed    maphash.Seed
	issuing [64]sync.Mutex // of a subject, by hash: its tokens are counted and recorded one after the other
}

// New returns a service. It reads nothing yet.
func New(c Config) (*Service, error) {
	if c.Store == nil || c.Settings == nil || c.Now == nil {
		return nil, errors.New("token: Config needs Store, Settings and Now")
	}
	return &Service{Config: c, seed: maphash.MakeSeed()}, nil
}

// Init makes the keys if there are none. The issuer is how the cluster calls itself in tokens from then on, unless it is told
// otherwise. Nodes that start at once agree on the keys of the one that was first.
func (s *Service) Init(ctx context.Context, issuer string) error {
	for {
		text, revision, err := s.Store.LoadKeys(ctx)
		if err != nil {
			return fmt.Errorf("token keys: %w", err)
		}
		if text != nil {
			return s.Changed(ctx)
		}
		keys, err := NewKeySet(issuer, s.Now())
		if err != nil {
			return err
		}
		if err := s.save(ctx, revision, keys); err != nil && !s.Store.Conflict(err) {
			return err
		}
	}
}

func (s *Service) save(ctx context.Context, revision int64, keys *KeySet) error {
	text, err := keys.Marshal()
	if err != nil {
		return err
	}
	if err := s.Store.SaveKeys(ctx, revision, text); err != nil {
		return fmt.Errorf("token keys: %w", err)
	}
	return nil
}

// Changed reads the keys again. It is called whenever they may have changed; when they cannot be read no token is accepted until they
// can.
func (s *Service) Changed(ctx context.Context) error {
	s.keys.Store(nil)
	_, err := s.load(ctx)
	return err
}

// load reads the keys and keeps them.
func (s *Service) load(ctx context.Context) (*KeySet, error) {
	text, revision, err := s.Store.LoadKeys(ctx)
	if err != nil {
		return nil, fmt.Errorf("token keys: %w", err)
	}
	if text == nil {
		return nil, errors.New("token keys: there are none")
	}
	keys, err := ParseKeySet(text)
	if err != nil {
		return nil, err
	}
	keys.revision = revision
	s.keys.Store(keys)
	return keys, nil
}

// Keys returns the keys.
func (s *Service) Keys(ctx context.Context) (*KeySet, error) {
	if keys := s.keys.Load(); keys != nil {
		return keys, nil
	}
	return s.load(ctx)
}

// Rotate makes a fresh key that signs from now on. What the old ones signed is accepted until the last of it can have expired; with
// overlap false none of it is accepted from now on, which is for a key that is known to somebody else. The new key is returned.
func (s *Service) Rotate(ctx context.Context, overlap bool) (Key, error) {
	text, revision, err := s.Store.LoadKeys(ctx)
	if err != nil {
		return Key{}, fmt.Errorf("token keys: %w", err)
	}
	keys, err := ParseKeySet(text)
	if err != nil {
		return Key{}, err
	}
	now, until := s.Now(), time.Time{}
	if overlap {
		until = now.Add(LongestRefresh + Leeway + time.Second)
	}
	next, err := keys.Rotate(now, until)
	if err != nil {
		return Key{}, err
	}
	return next.Current(), s.save(ctx, revision, next)
}

// JWKS is the public keys as a JWK Set (RFC 7517): those of tokens that may still be accepted.
func (s *Service) JWKS(ctx context.Context) ([]byte, error) {
	keys, err := s.Keys(ctx)
	if err != nil {
		return nil, err
	}
	return keys.JWKS(s.Now())
}

// PublicKeys are the keys of tokens that may still be accepted, the one that signs first.
func (s *Service) PublicKeys(ctx context.Context) ([]Key, error) {
	keys, err := s.Keys(ctx)
	if err != nil {
		return nil, err
	}
	return keys.Public(s.Now()), nil
}

// Issuer is how the cluster calls itself in the tokens that it issues now.
func (s *Service) Issuer(ctx context.Context) (string, error) {
	settings, err := s.Settings(ctx)
	if err != nil || settings.Issuer != "" {
		return settings.Issuer, err
	}
	keys, err := s.Keys(ctx)
	if err != nil {
		return "", err
	}
	return keys.Issuer(), nil
}

// A Request asks for a token. Whether it may be had was decided before.
type Request struct {
	Subject  string
	Use      Use
	Grants   usr.Grants
	Roles    []string
	Lifetime time.Duration // 0 is the default of the use; in another profile it is never
	Audience []string      // nil is the API of the cluster
	Socket   bool          // the subject is the machine's root, who needs no user object
	Profile  string        // "" is the profile of this package
	By       usr.Caller    // who asks

	// In profiles that say them, all may be empty.
	Issuer   string   // how the issuer is known to whom the token is for
	FullName string   // of the subject
	Projects []string // of the subject
}

// Issued is a token and what is kept of it.
type Issued struct {
	Token string // compact: a secret
	Record
}

// Issue makes a token. Its record is durable before the token is returned.
func (s *Service) Issue(ctx context.Context, r Request) (Issued, error) {
	if r.Subject == "" {
		return Issued{}, fmt.Errorf("%w token request: no subject", usr.ErrInvalid)
	}
	if r.Profile != "" {
		return s.issueProfile(ctx, r)
	}
	settings, err := s.Settings(ctx)
	if err != nil {
		return Issued{}, err
	}
	keys, err := s.Keys(ctx)
	if err != nil {
		return Issued{}, err
	}
	c, err := s.claims(r, settings)
	if err != nil {
		return Issued{}, err
	}
	if c.Issuer == "" {
		c.Issuer = keys.Issuer()
	}
	payload, err := c.payload()
	if err != nil {
		return Issued{}, err
	}
	compact, err := keys.sign(payload)
	if err != nil {
		return Issued{}, err
	}
	if len(compact) > MaxSize {
		return Issued{}, fmt.Errorf("%w token request: with all its grants the token has %d bytes, at most %d: ask for fewer by role and scope",
			usr.ErrInvalid, len(compact), MaxSize)
	}
	return s.record(ctx, r, c, compact)
}

// claims are those of a new token of this package's profile.
func (s *Service) claims(r Request, settings Settings) (Claims, error) {
	first, longest := DefaultAccess, LongestAccess
	switch r.Use {
	case Access:
	case Refresh:
		first, longest = DefaultRefresh, LongestRefresh
	default:
		return Claims{}, fmt.Errorf("%w token request: use %.16q is neither %q nor %q", usr.ErrInvalid, r.Use, Access, Refresh)
	}
	lifetime := r.Lifetime
	if lifetime == 0 {
		lifetime = first
	}
	if settings.MaxAge > 0 {
		longest = min(longest, settings.MaxAge)
	}
	lifetime = min(max(lifetime, Shortest), longest)
	c := newClaims(r, s.Now())
	c.ID, c.Issuer, c.Audience = rand.Text(), settings.Issuer, r.Audience
	if len(c.Audience) == 0 {
		c.Audience = []string{settings.Audience}
	}
	// A claim is a whole second: up, so that nobody gets less than asked for.
	c.ExpiresAt = s.Now().Add(lifetime + time.Second - 1).UTC().Truncate(time.Second)
	return c, nil
}

// newClaims are those that every profile has. iat is never ahead of the clock: some verifiers have no leeway.
func newClaims(r Request, now time.Time) Claims {
	now = now.UTC().Truncate(time.Second)
	return Claims{
		Subject: r.Subject, Use: r.Use, Grants: r.Grants, Roles: slices.Clone(r.Roles), IssuedAt: now, NotBefore: now, Socket: r.Socket, Profile: r.Profile,
	}
}

// issueProfile makes a token of another profile.
func (s *Service) issueProfile(ctx context.Context, r Request) (Issued, error) {
	p, ok := s.Profiles[r.Profile]
	if !ok {
		return Issued{}, fmt.Errorf("%w token profile %.32q", usr.ErrInvalid, r.Profile)
	}
	r.Grants = usr.Grants{}
	c := newClaims(r, s.Now())
	c.Issuer, c.FullName, c.Projects = r.Issuer, r.FullName, r.Projects
	if r.Lifetime > 0 {
		c.ExpiresAt = s.Now().Add(max(r.Lifetime, Shortest) + time.Second - 1).UTC().Truncate(time.Second)
	}
	compact, err := p.Sign(ctx, c)
	if err != nil {
		return Issued{}, err
	}
	if c.ID == "" {
		c.ID = IDOf(compact)
	}
	return s.record(ctx, r, c, compact)
}

func (s *Service) record(ctx context.Context, r Request, c Claims, compact string) (Issued, error) {
	record := Record{
		ID: c.ID, Subject: c.Owner(), Profile: c.Profile, Use: c.Use, Grant: c.Grants.String(), Roles: c.Roles, Audience: c.Audience,
		IssuedAt: c.IssuedAt, ExpiresAt: c.ExpiresAt, By: r.By.By(), Method: r.By.Method,
	}
	done, err := s.admit(ctx, r, record.Subject)
	if err != nil {
		return Issued{}, err
	}
	defer done()
	if err := s.Store.RecordToken(ctx, record); err != nil {
		return Issued{}, fmt.Errorf("recording a token: %w", err)
	}
	return Issued{Token: compact, Record: record}, nil
}

// IDOf is the id of a token that has no jti: the first 16 bytes of the SHA-256 of its compact form, hexadecimal.
func IDOf(compact string) string {
	sum := sha256.Sum256([]byte(compact))
	return hex.EncodeToString(sum[:16])
}

// RefreshRequest asks for an access token in exchange for a refresh token.
type RefreshRequest struct {
	Token    Claims     // of the refresh token, as Verify gave them
	Held     usr.Grants // what the subject holds now
	Roles    []string   // of the subject, now
	Ask      []usr.Role // nil is all
	Scope    string     // "" is all
	Lifetime time.Duration
	By       usr.Caller
}

// Refresh makes an access token. It holds what the refresh token was given and the subject still holds, less what was not asked for.
func (s *Service) Refresh(ctx context.Context, r RefreshRequest) (Issued, error) {
	if r.Token.Use != Refresh {
		return Issued{}, fmt.Errorf("%w: token: it is no refresh token", usr.ErrUnauthenticated)
	}
	grants, err := usr.FilterGrants(usr.Intersect(r.Token.Grants, r.Held), r.Ask, r.Scope)
	if err != nil {
		return Issued{}, err
	}
	return s.Issue(ctx, Request{
		Subject: r.Token.Subject, Use: Access, Grants: grants, Roles: r.Roles, Lifetime: r.Lifetime, Audience: r.Token.Audience, Socket: r.Token.Socket, By: r.By,
	})
}

// Verify opens a token and checks it: [Service.Check] says what is checked. Refusals wrap usr.ErrUnauthenticated.
func (s *Service) Verify(ctx context.Context, compact string, use Use) (Claims, error) {
	keys, err := s.Keys(ctx)
	if err != nil {
		return Claims{}, err
	}
	if keyID, _, ok := Peek(compact); ok && keyID == "" {
		return s.verifyProfile(ctx, compact, use)
	}
	c, err := keys.Open(compact, s.Now())
	if err != nil {
		return Claims{}, err
	}
	return c, s.Check(ctx, &c, use)
}

// verifyProfile tries the profiles whose tokens name no key.
func (s *Service) verifyProfile(ctx context.Context, compact string, use Use) (Claims, error) {
	err := refused("kid is missing")
	for name, p := range s.Profiles {
		if p.Verify == nil {
			continue
		}
		c, failed := p.Verify(ctx, compact)
		if failed == nil {
			c.Profile, c.Use, c.Grants = name, Access, usr.Grants{}
			if c.ID == "" {
				c.ID = IDOf(compact)
			}
			return c, s.Check(ctx, &c, use)
		}
		if !errors.Is(failed, usr.ErrUnauthenticated) {
			return Claims{}, failed
		}
		err = failed
	}
	return Claims{}, err
}

// Check decides whether claims that were read from a token of ours count at this moment: the time, the age (Settings.MaxAge), the use,
// the key, the issuer, the audience, that the token is on record, and that it was not taken back. It is cheap, and made again on every
// call with the same token. When the store cannot be read the error is the store's, and the token does not count.
func (s *Service) Check(ctx context.Context, c *Claims, use Use) error {
	settings, err := s.Settings(ctx)
	if err != nil {
		return err
	}
	now := s.Now()
	switch {
	case c.Use != use:
		return refused("it is for %q, not for %q", c.Use, use)
	case now.Add(Leeway).Before(c.IssuedAt):
		return refused("iat %s is in the future", c.IssuedAt.Format(time.RFC3339))
	case now.Add(Leeway).Before(c.NotBefore):
		return refused("nbf %s is in the future", c.NotBefore.Format(time.RFC3339))
	case !c.ExpiresAt.IsZero() && !now.Before(c.ExpiresAt): // RFC 7519, 4.1.4: on or after
		return refused("it expired at %s", c.ExpiresAt.Format(time.RFC3339))
	case settings.MaxAge > 0 && !now.Before(c.IssuedAt.Add(settings.MaxAge)):
		return refused("it is older than token.max_age, %s", settings.MaxAge)
	}
	if err := s.CheckRecord(ctx, c.ID); err != nil {
		return err
	}
	switch {
	case c.Profile != "": // has neither of the rest
		return nil
	case !slices.Contains(c.Audience, settings.Audience):
		return refused("aud is %.128q, not %q", c.Audience, settings.Audience)
	}
	keys, err := s.Keys(ctx)
	if err != nil {
		return err
	}
	if c.Issuer != keys.Issuer() && (settings.Issuer == "" || c.Issuer != settings.Issuer) {
		return refused("iss is %.128q, not this cluster", c.Issuer)
	}
	_, err = keys.byID(c.KeyID, now)
	return err
}

// CheckRecord returns nil for the id of a token that is on record and was not taken back. Refusals wrap usr.ErrUnauthenticated.
//
// A sweep removes a record and its revocation in one commit. The revocation is asked about first: asked about second, both questions
// could fall on either side of that commit, and a revoked token would be on record and not revoked.
func (s *Service) CheckRecord(ctx context.Context, id string) error {
	for asked := false; ; asked = true {
		if s.Store.Revoked(id) {
			return refused("%s was revoked", id)
		}
		switch recorded, err := s.Store.Recorded(ctx, id); {
		case err != nil:
			return fmt.Errorf("looking for the record of a token: %w", err)
		case recorded:
			return nil
		case asked || s.Latest == nil:
			return refused("%s is not on record: it was forgotten after its expiry, or is not of this store", id)
		}
		if err := s.Latest(ctx); err != nil {
			return fmt.Errorf("looking for the record of a token: %w", err)
		}
	}
}

// Token returns the record of a token.
func (s *Service) Token(ctx context.Context, id string) (Record, error) {
	if err := CheckID(id); err != nil {
		return Record{}, err
	}
	return s.Store.Token(ctx, id)
}

// List yields the records that q selects, soonest expiry first.
func (s *Service) List(ctx context.Context, q Query) iter.Seq2[Listed, error] {
	return s.Store.Tokens(ctx, q)
}

// Revoke takes a token back, for good. It is refused on every node as soon as the change arrives there, and here when Revoke returns.
// Asking again changes nothing.
func (s *Service) Revoke(ctx context.Context, id string, by usr.Caller) (Record, error) {
	r, err := s.Token(ctx, id)
	if err != nil || !r.RevokedAt.IsZero() {
		return r, err
	}
	if err := s.Store.RevokeTokens(ctx, []Record{r}, by.By(), s.Now()); err != nil {
		return Record{}, err
	}
	return s.Store.Token(ctx, id)
}

// RevokeSubject takes back every token of a subject that is on record, and returns how many of them had not expired.
func (s *Service) RevokeSubject(ctx context.Context, subject string, by usr.Caller) (int, error) {
	return RevokeAll(ctx, s.Store, subject, by.By(), s.Now())
}

// RevokeAll takes back every token of a subject that the store has on record, and returns how many of them had not expired. Those
// that have are taken back too: the clock that says so may be ahead, and will be set back.
//
// It looks twice. What a refresh token gave while it was being taken back is on record at the second look, or else its issuer finds
// the refresh token taken back ([Service.CheckRecord]).
func RevokeAll(ctx context.Context, store Store, subject, by string, now time.Time) (living int, err error) {
	for range 2 {
		var all []Record
		for l, err := range store.Tokens(ctx, Query{Subject: subject}) {
			if err != nil {
				return living, err
			}
			if !l.RevokedAt.IsZero() {
				continue
			}
			all = append(all, l.Record)
			if l.ExpiresAt.IsZero() || now.Before(l.ExpiresAt) {
				living++
			}
		}
		if err := store.RevokeTokens(ctx, all, by, now); err != nil {
			return living, err
		}
	}
	return living, nil
}

// Sweep forgets the tokens that expired a while ago, at most limit of them, and returns how many it forgot. A token that was forgotten
// is refused from then on, whatever the clock says later.
func (s *Service) Sweep(ctx context.Context, limit int) (int, error) {
	const kept = 24 * time.Hour // for whoever asks afterwards
	return s.Store.SweepTokens(ctx, s.Now().Add(-kept), limit)
}
