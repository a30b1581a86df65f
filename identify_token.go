package omca

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"omca/internal/api"
	"omca/internal/clustercockpit"
	"omca/internal/object"
	"omca/internal/registry"
	"omca/internal/store"
	"omca/usr"
	"omca/usr/token"
)

// newTokens makes the service of the tokens.
func (s *Server) newTokens() error {
	s.cockpit = clustercockpit.New(clustercockpit.Config{
		Objects: s.objects, CheckRecord: func(ctx context.Context, id string) error { return s.tokens.CheckRecord(ctx, id) },
		KeysInUse: s.keysInUse, Now: s.config.Now, Log: s.config.Log,
	})
	c := token.Config{Store: s.objects, Settings: s.objects.TokenSettings, Now: s.config.Now, Profiles: s.cockpit.All()}
	if s.db.follows != nil {
		c.Latest = s.latestTokens
	}
	var err error
	s.tokens, err = token.New(c)
	return err
}

// latestTokens waits until this node has the records of the tokens that other
// nodes have issued. While the store is away it returns store.ErrAway: whether
// there is a record cannot be known.
func (s *Server) latestTokens(ctx context.Context) error {
	s.db.follows.Latest(ctx)
	if err := s.db.follows.Away(); err != nil {
		return fmt.Errorf("%w: %w", store.ErrAway, err)
	}
	return ctx.Err()
}

// makeTokenKeys makes the keys that sign tokens. The first start settles by
// which URL the cluster calls itself in them: the node's, which a change of
// listeners or addresses leaves as it is (docs/adr/0020-token-issuer.md).
func (s *Server) makeTokenKeys(ctx context.Context) error {
	address, err := s.listenAddress(ctx)
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("address %q: %w", address, err)
	}
	if port == "0" { // any that is free: not one to call oneself by
		port = "1215"
	}
	return s.tokens.Init(ctx, "https://"+net.JoinHostPort(strings.ToLower(s.config.NodeName), port))
}

// tokenKeysChanged has the keys read again. What was verified with the former
// ones is verified anew.
func (s *Server) tokenKeysChanged(ctx context.Context) {
	s.verified.clear()
	if err := s.tokens.Changed(ctx); err != nil && ctx.Err() == nil {
		s.config.Log.ErrorContext(ctx, "no token is accepted", "error", err)
	}
}

// A verifiedToken is one whose signature was found good.
type verifiedToken struct {
	claims token.Claims
	holds  atomic.Pointer[holding]
}

// holding is what a token gives while its subject's object is at that revision.
type holding struct {
	revision int64
	grants   usr.Grants
	roles    []string
}

// now is what the token gives to whom u is now: what it was given, as far as u
// still holds it.
func (v *verifiedToken) now(u registry.User) *holding {
	if h := v.holds.Load(); h != nil && h.revision == u.Revision {
		return h
	}
	h := &holding{revision: u.Revision, grants: usr.Intersect(v.claims.Grants, u.Grants)}
	for _, role := range v.claims.Roles {
		if slices.Contains(u.Roles, role) {
			h.roles = append(h.roles, role)
		}
	}
	v.holds.Store(h)
	return h
}

// maxVerified bounds what is remembered of tokens: about a kilobyte each.
const maxVerified = 8192

// verifiedTokens remembers, by the SHA-256 of a token, that its signature is
// good. Everything else is looked at on each call.
type verifiedTokens struct {
	mu    sync.RWMutex
	epoch uint64 // counts how often all was forgotten
	known map[[sha256.Size]byte]*verifiedToken
}

// get returns what is remembered of a token, nil for nothing, and the epoch for put.
func (t *verifiedTokens) get(sum [sha256.Size]byte) (*verifiedToken, uint64) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.known[sum], t.epoch
}

// put remembers a token, unless the keys may have changed since get: it may have
// been verified with one that is gone.
func (t *verifiedTokens) put(sum [sha256.Size]byte, v *verifiedToken, epoch uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.epoch != epoch {
		return
	}
	if t.known == nil || len(t.known) >= maxVerified {
		t.known = make(map[[sha256.Size]byte]*verifiedToken)
	}
	t.known[sum] = v
}

func (t *verifiedTokens) clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.known = nil
	t.epoch++
}

// bearer returns the bearer token of a request, errNotTried when there is none.
//
// RFC 6750, section 2: it is taken from the header alone. In a URL it would end
// up in logs.
func bearer(r *http.Request) (string, error) {
	if compact, err := authToken(r); !errors.Is(err, errNotTried) {
		return compact, err
	}
	lines := r.Header["Authorization"]
	if len(lines) == 0 {
		return "", errNotTried
	}
	if len(lines) > 1 {
		return "", fmt.Errorf("%w: Authorization is there %d times", usr.ErrUnauthenticated, len(lines))
	}
	scheme, compact, _ := strings.Cut(lines[0], " ")
	if !strings.EqualFold(scheme, "Bearer") { // RFC 9110, 11.1
		return "", errNotTried
	}
	return compact, nil
}

// byToken takes a bearer token of the cluster.
func (s *Server) byToken(r *http.Request) (usr.Caller, error) {
	compact, err := bearer(r)
	if err != nil {
		return usr.Caller{}, err
	}
	if err := s.noteTokenKeys(r.Context()); err != nil {
		return usr.Caller{}, err
	}
	v, err := s.verifyToken(r.Context(), compact)
	if err != nil {
		return usr.Caller{}, err
	}
	if err := s.noteToken(r.Context(), v.claims.ID); err != nil {
		return usr.Caller{}, err
	}
	return s.tokenCaller(r, v)
}

// noteTokenKeys notes for a decision the keys that verify tokens. It is called before
// they are used.
func (s *Server) noteTokenKeys(ctx context.Context) error {
	if !registry.Deciding(ctx) {
		return nil
	}
	keys, err := s.tokens.Keys(ctx)
	if err != nil {
		return err
	}
	registry.Note(ctx, object.JWTPath(), keys.Revision())
	return nil
}

// noteToken notes for a decision that a token, which was checked, is not taken back.
func (s *Server) noteToken(ctx context.Context, id string) error {
	if !registry.Deciding(ctx) {
		return nil
	}
	_, err := s.objects.TokenRevoked(registry.Assumed(ctx), id)
	return err
}

// verifyToken finds the access token good, at this moment. The signature of one
// that was seen before is not looked at again.
func (s *Server) verifyToken(ctx context.Context, compact string) (*verifiedToken, error) {
	if len(compact) > token.MaxSize {
		return nil, fmt.Errorf("%w: token: %d bytes, at most %d", usr.ErrUnauthenticated, len(compact), token.MaxSize)
	}
	sum := sha256.Sum256([]byte(compact))
	v, epoch := s.verified.get(sum)
	if v != nil {
		return v, s.tokens.Check(ctx, &v.claims, token.Access)
	}
	foreign, err := s.foreign(ctx, compact)
	if err != nil {
		return nil, err
	}
	if foreign {
		return nil, errNotTried
	}
	claims, err := s.tokens.Verify(ctx, compact, token.Access)
	if err != nil {
		return nil, err
	}
	v = &verifiedToken{claims: claims}
	s.verified.put(sum, v, epoch)
	return v, nil
}

// foreign reports whether a token is for the identity provider to answer for: it
// names no key of ours, and names that issuer. No token is taken both ways.
func (s *Server) foreign(ctx context.Context, compact string) (bool, error) {
	keyID, issuer, ok := token.Peek(compact)
	if !ok || issuer == "" {
		return false, nil
	}
	keys, err := s.tokens.Keys(ctx)
	if err != nil || keys.Has(keyID) {
		return false, err
	}
	return s.openid.Mine(compact), nil
}

// tokenCaller is who calls with a token that is good. The subject must be the
// user for whom it was issued, and may call; what the token gives is no more
// than the user holds now.
func (s *Server) tokenCaller(r *http.Request, v *verifiedToken) (usr.Caller, error) {
	c := &v.claims
	who := usr.Caller{Name: c.Subject, Method: usr.MethodToken, Machine: c.Socket, TokenID: c.ID, Profile: c.Profile, Address: s.from(r)}
	if c.Socket {
		who.Grants, who.Roles = c.Grants, c.Roles
		return who, nil
	}
	u, err := s.tokenUser(r, c)
	if err != nil {
		return usr.Caller{}, err
	}
	h := v.now(u)
	who.Grants, who.Roles = h.grants, h.roles
	return who, nil
}

// tokenUser is the user whom a token is about.
func (s *Server) tokenUser(r *http.Request, c *token.Claims) (registry.User, error) {
	u, err := s.user(r, c.Subject)
	if err != nil {
		return registry.User{}, err
	}
	// A claim is a whole second. What was issued in the very second to a former
	// user of the name was revoked when that one was deleted.
	if c.IssuedAt.Before(u.Created.Truncate(time.Second)) {
		return registry.User{}, fmt.Errorf("%w: token %s is that of an earlier user %q", usr.ErrUnauthenticated, c.ID, u.Name)
	}
	return u, nil
}

// identifyRefresh names the caller who sends a refresh token, which no other way
// takes: what it was given, and what its subject holds now.
func (s *Server) identifyRefresh(r *http.Request) (api.Refresher, error) {
	if err := s.current(r.Context()); err != nil {
		return api.Refresher{}, err
	}
	compact, err := bearer(r)
	if errors.Is(err, errNotTried) {
		return api.Refresher{}, fmt.Errorf("%w: no refresh token", usr.ErrUnauthenticated)
	}
	if err != nil {
		return api.Refresher{}, err
	}
	if err := s.noteTokenKeys(r.Context()); err != nil {
		return api.Refresher{}, err
	}
	claims, err := s.tokens.Verify(r.Context(), compact, token.Refresh)
	if err != nil {
		return api.Refresher{}, err
	}
	if err := s.noteToken(r.Context(), claims.ID); err != nil {
		return api.Refresher{}, err
	}
	who := usr.Caller{Name: claims.Subject, Method: usr.MethodToken, Machine: claims.Socket, TokenID: claims.ID, Address: s.from(r)}
	if claims.Socket {
		who.Grants = usr.RootGrants()
		return api.Refresher{Caller: who, Token: claims}, nil
	}
	u, err := s.tokenUser(r, &claims)
	if err != nil {
		return api.Refresher{}, err
	}
	who.Grants, who.Roles = u.Grants, u.Roles
	return api.Refresher{Caller: who, Token: claims}, nil
}

// inspectToken says what a token is, whose caller need not be here: what it says,
// what it gives now, and why it is refused.
func (s *Server) inspectToken(r *http.Request, compact string, use token.Use) (token.Claims, usr.Grants, error) {
	if err := s.current(r.Context()); err != nil {
		return token.Claims{}, usr.Grants{}, err
	}
	claims, err := s.tokens.Verify(r.Context(), compact, use)
	if err != nil {
		return claims, usr.Grants{}, err
	}
	if claims.Socket {
		return claims, claims.Grants, nil
	}
	u, err := s.objects.User(r.Context(), claims.Subject)
	if err != nil {
		return claims, usr.Grants{}, fmt.Errorf("%w: token: its subject %q: %w", usr.ErrUnauthenticated, claims.Subject, err)
	}
	if u.Disabled {
		return claims, usr.Grants{}, fmt.Errorf("%w: token: user %q is disabled", usr.ErrUnauthenticated, u.Name)
	}
	if claims.IssuedAt.Before(u.Created.Truncate(time.Second)) {
		return claims, usr.Grants{}, fmt.Errorf("%w: token %s is that of an earlier user %q", usr.ErrUnauthenticated, claims.ID, u.Name)
	}
	return claims, usr.Intersect(claims.Grants, u.Grants), nil
}

// sweepTokens forgets, now and then, the tokens that expired a while ago.
func (s *Server) sweepTokens(ctx context.Context) {
	const every, most = time.Hour, 10_000
	for {
		n, err := 0, error(nil)
		if s.chosen() {
			n, err = s.tokens.Sweep(ctx, most)
		}
		if err != nil && ctx.Err() == nil {
			s.config.Log.ErrorContext(ctx, "expired tokens not swept", "error", err)
		}
		if n > 0 {
			s.config.Log.InfoContext(ctx, "expired tokens swept", "count", n)
		}
		timer := time.NewTimer(every)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}
