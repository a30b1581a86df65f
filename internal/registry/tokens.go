package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"omca/ca"
	"omca/internal/object"
	"omca/internal/store"
	"omca/usr"
	"omca/usr/token"
)

// Records of tokens lie in the order of their expiry, like those of certificates:
// what is to be forgotten is at the front. Revocations lie apart, so that every
// node can follow them, with the ids and the sweeps.
const (
	prefixToken        = "token/"         // token/<expiry>/<id> → record
	prefixTokenID      = "token-id/"      // token-id/<id> → expiry
	prefixTokenOf      = "token-of/"      // token-of/<subject>//<expiry>/<id> → nothing
	prefixTokenRevoked = "token-revoked/" // token-revoked/<id> → revocation
	keyTokensSwept     = "token-swept"    // → the latest expiry of a token whose record was swept

	prefixTokenWatch = "token-" // what every node follows
)

// neverExpires orders the tokens that do not expire behind all others.
const neverExpires = "ffffffffff"

// keysKey is the key of system/sec/jwt that holds the signing keys of tokens.
const keysKey = "keys"

// storedToken is what is kept of a token beside its place.
type storedToken struct {
	Subject  string     `json:"s"`
	Profile  string     `json:"p,omitempty"`
	Use      token.Use  `json:"u"`
	Grant    string     `json:"g,omitempty"`
	Roles    []string   `json:"r,omitempty"`
	Audience []string   `json:"a,omitempty"`
	IssuedAt int64      `json:"t"` // seconds since 1970, like the next
	Expires  int64      `json:"e,omitempty"`
	By       string     `json:"b"`
	Method   usr.Method `json:"m"`
}

// tokenRevocation is what is kept of the revocation of a token.
type tokenRevocation struct {
	At      int64  `json:"t"` // seconds since 1970
	Expires string `json:"e"` // of the token, as in its key
	By      string `json:"b"`
}

// revokedTokens are the ids of those that were taken back.
type revokedTokens struct {
	mu  sync.RWMutex
	ids map[string]struct{}
}

func (r *revokedTokens) has(id string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	_, ok := r.ids[id]
	return ok
}

func (r *revokedTokens) set(id string, revoked bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if revoked {
		r.ids[id] = struct{}{}
	} else {
		delete(r.ids, id)
	}
}

// maxRecorded bounds what is remembered of records of tokens: about 100 bytes each.
const maxRecorded = 8192

// recordedTokens are ids of which the store has a record. A record goes in a sweep
// alone: then all are forgotten.
type recordedTokens struct {
	mu     sync.RWMutex
	sweeps uint64 // counts the sweeps that were seen
	ids    map[string]struct{}
}

// has reports whether there is a record of the token, as far as is remembered, and
// the number of sweeps for add.
func (r *recordedTokens) has(id string) (known bool, sweeps uint64) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	_, known = r.ids[id]
	return known, r.sweeps
}

// add remembers a record that was read, unless a sweep came after has was asked.
func (r *recordedTokens) add(id string, sweeps uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sweeps != sweeps {
		return
	}
	if len(r.ids) >= maxRecorded {
		clear(r.ids)
	}
	r.ids[id] = struct{}{}
}

// swept forgets all.
func (r *recordedTokens) swept() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sweeps++
	clear(r.ids)
}

func tokenExpiry(t time.Time) string {
	if t.IsZero() {
		return neverExpires
	}
	return expiryKey(t)
}

func tokenOfKey(subject, expiry, id string) string {
	return prefixTokenOf + subject + "//" + expiry + "/" + id
}

// LoadKeys implements [token.Store].
func (s *Store) LoadKeys(ctx context.Context) ([]byte, int64, error) {
	e, err := s.entry(ctx, object.JWTPath())
	if errors.Is(err, ca.ErrNotFound) {
		return nil, 0, nil
	}
	if err != nil || !e.has(keysKey) {
		return nil, revisionOf(e), err
	}
	text, err := s.value(ctx, object.JWTPath(), keysKey)
	return text, e.rev, err
}

func revisionOf(e *entry) int64 {
	if e == nil {
		return 0
	}
	return e.rev
}

// SaveKeys implements [token.Store].
func (s *Store) SaveKeys(ctx context.Context, revision int64, text []byte) error {
	p := object.JWTPath()
	fill := func(h *head, tx *store.Tx) error { return s.putKey(p, h, tx, KeyInfo{Name: keysKey, Made: true}, text) }
	if revision == 0 {
		return s.remake(ctx, staged{path: p, config: object.NewConfig(p), created: s.now().UTC()}, fill)
	}
	return s.change(ctx, p, revision, fill)
}

// Conflict implements [token.Store].
func (s *Store) Conflict(err error) bool { return errors.Is(err, ca.ErrConflict) }

// RecordToken implements [token.Store]. A user who has gone since it was decided
// that there may be a token gets none: nothing would be left to revoke it by.
// When it returns, this process knows of every revocation, of a certificate or of a
// token, that came before the record: a second look at the caller misses none.
func (s *Store) RecordToken(ctx context.Context, r token.Record) error {
	if err := errors.Join(token.CheckID(r.ID), checkSubject(r.Subject)); err != nil {
		return err
	}
	kept := storedToken{
		Subject: r.Subject, Profile: r.Profile, Use: r.Use, Grant: r.Grant, Roles: r.Roles, Audience: r.Audience,
		IssuedAt: r.IssuedAt.Unix(), By: r.By, Method: r.Method,
	}
	if !r.ExpiresAt.IsZero() {
		kept.Expires = r.ExpiresAt.Unix()
	}
	value, err := json.Marshal(kept)
	if err != nil {
		return err
	}
	expiry := tokenExpiry(r.ExpiresAt)
	tx := store.Tx{
		Expect: []store.Expect{{Key: prefixTokenID + r.ID}, {Key: prefixTokenRevoked + r.ID}},
		Puts: []store.Put{
			{Key: prefixToken + expiry + "/" + r.ID, Value: value},
			{Key: prefixTokenID + r.ID, Value: []byte(expiry)},
			{Key: tokenOfKey(r.Subject, expiry, r.ID)},
		},
	}
	if r.Subject == usr.MachineRoot { // it has no object
		_, err := s.db.Commit(ctx, tx)
		return fromStore(err)
	}
	subject, err := object.UserPath(r.Subject)
	if err != nil {
		return err
	}
	switch u, err := s.User(ctx, r.Subject); {
	case err == nil && u.Disabled:
		// Those that it had were taken back: this one would be left, and count again once the user is enabled.
		return fmt.Errorf("%w: user %q was disabled meanwhile", usr.ErrDenied, u.Name)
	case err == nil:
		tx.Expect = append(tx.Expect, store.Expect{Key: prefixObject + subject.Key(), Rev: u.Revision})
	case !errors.Is(err, ca.ErrNotFound):
		return err
	}
	rev, err := s.write(ctx, tx)
	if err != nil {
		s.forget(subject)
		return fromStore(err)
	}
	if s.shared { // else the revocation of a certificate finds the record
		if err := s.revoked.wait(ctx, rev); err != nil {
			return err
		}
	}
	return s.tokenWatch.wait(ctx, rev)
}

// CountTokens implements [token.Store]. It reads keys of the index alone: an expiry and
// an id each.
func (s *Store) CountTokens(ctx context.Context, subject string, now time.Time, most int) (token.Count, error) {
	const revokedToo = 10
	prefix := prefixTokenOf + subject + "//"
	var n token.Count
	var all, living []string // expiries, soonest first
	for r := (store.Range{Prefix: prefix, After: prefix + expiryKey(now) + "/~"}); n.Recorded < revokedToo*most; {
		page, err := s.db.Scan(ctx, r)
		if err != nil {
			return n, err
		}
		for _, e := range page.Entries {
			r.After = e.Key
			expiry, id, _ := strings.Cut(strings.TrimPrefix(e.Key, prefix), "/")
			n.Recorded++
			all = append(all, expiry)
			if !s.tokensRevoked.has(id) {
				living = append(living, expiry)
			}
		}
		if !page.More {
			break
		}
	}
	n.Living = len(living)
	full, bound := living, most
	if n.Living < most {
		full, bound = all, revokedToo*most
	}
	if most == 0 || len(full) < bound {
		return n, nil
	}
	if last := full[len(full)-bound]; last != neverExpires {
		seconds, err := strconv.ParseInt(last, 16, 64)
		if err != nil {
			return n, fmt.Errorf("store key %q: no time: %w", prefix+last, err)
		}
		n.Room = time.Unix(seconds, 0)
	}
	return n, nil
}

// checkSubject refuses a name that no subject of a token can have.
func checkSubject(subject string) error {
	if subject == usr.MachineRoot {
		return nil
	}
	return usr.ValidName(subject)
}

// ofMachine reports whether the record is that of a token of the machine's root in
// the form of earlier builds, which called it as the user "root" is called. Records
// of tokens that were got by a refresh token do not say so.
func (t storedToken) ofMachine() bool {
	return t.Subject == usr.RootUser && t.By == usr.RootUser && t.Method == usr.MethodSocket && t.Profile == ""
}

// Recorded implements [token.Store]. That a record is there is remembered until the
// next sweep: a read of the store costs more than all else that a call with a
// token asks. That it is not there is never remembered.
func (s *Store) Recorded(ctx context.Context, id string) (bool, error) {
	known, sweeps := s.tokensRecorded.has(id)
	if known {
		return true, nil
	}
	_, err := s.db.Get(ctx, prefixTokenID+id)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	s.tokensRecorded.add(id, sweeps)
	return true, nil
}

// Token implements [token.Store].
func (s *Store) Token(ctx context.Context, id string) (token.Record, error) {
	e, err := s.db.Get(ctx, prefixTokenID+id)
	if errors.Is(err, store.ErrNotFound) {
		return token.Record{}, fmt.Errorf("%w: no token with id %s is known here", ca.ErrNotFound, id)
	}
	if err != nil {
		return token.Record{}, err
	}
	return s.tokenAt(ctx, string(e.Value)+"/"+id)
}

// tokenAt reads the record at "<expiry>/<id>".
func (s *Store) tokenAt(ctx context.Context, at string) (token.Record, error) {
	e, err := s.db.Get(ctx, prefixToken+at)
	if err != nil {
		return token.Record{}, fmt.Errorf("the index names a token that cannot be read: %w", fromStore(err))
	}
	return s.readToken(ctx, at, e.Value)
}

// readToken makes a record of what is kept at "<expiry>/<id>", and of its
// revocation.
func (s *Store) readToken(ctx context.Context, at string, value []byte) (token.Record, error) {
	var kept storedToken
	if err := json.Unmarshal(value, &kept); err != nil {
		return token.Record{}, fmt.Errorf("store key %q: %w", prefixToken+at, err)
	}
	_, id, ok := strings.Cut(at, "/")
	if !ok {
		return token.Record{}, fmt.Errorf("store key %q: no token", prefixToken+at)
	}
	r := token.Record{
		ID: id, Subject: kept.Subject, Profile: kept.Profile, Use: kept.Use, Grant: kept.Grant, Roles: kept.Roles, Audience: kept.Audience,
		IssuedAt: time.Unix(kept.IssuedAt, 0).UTC(), By: kept.By, Method: kept.Method,
	}
	if kept.ofMachine() {
		r.Subject, r.By = usr.MachineRoot, usr.MachineRoot
	}
	if kept.Expires != 0 {
		r.ExpiresAt = time.Unix(kept.Expires, 0).UTC()
	}
	if !s.tokensRevoked.has(id) {
		return r, nil
	}
	e, err := s.db.Get(ctx, prefixTokenRevoked+id)
	if errors.Is(err, store.ErrNotFound) {
		return r, nil // swept meanwhile
	}
	if err != nil {
		return token.Record{}, err
	}
	var revoked tokenRevocation
	if err := json.Unmarshal(e.Value, &revoked); err != nil {
		return token.Record{}, fmt.Errorf("store key %q: %w", e.Key, err)
	}
	r.RevokedAt, r.RevokedBy = time.Unix(revoked.At, 0).UTC(), revoked.By
	return r, nil
}

// Tokens implements [token.Store]. The cursor of a record is "<expiry>/<id>".
func (s *Store) Tokens(ctx context.Context, q token.Query) iter.Seq2[token.Listed, error] {
	return func(yield func(token.Listed, error) bool) {
		r := store.Range{Prefix: prefixToken}
		if q.Subject != "" {
			r.Prefix = prefixTokenOf + q.Subject + "//"
		}
		if q.After != "" {
			r.After = r.Prefix + q.After
		}
		for e, err := range entriesIn(ctx, s.db, r) {
			if err != nil {
				yield(token.Listed{}, err)
				return
			}
			l := token.Listed{Cursor: strings.TrimPrefix(e.Key, r.Prefix)}
			if q.Subject == "" {
				l.Record, err = s.readToken(ctx, l.Cursor, e.Value)
			} else if l.Record, err = s.tokenAt(ctx, l.Cursor); errors.Is(err, ca.ErrNotFound) {
				continue // swept meanwhile
			}
			if err == nil && q.Subject != "" && l.Subject != q.Subject {
				continue // of the machine's root, in the form of earlier builds
			}
			if !yield(l, err) || err != nil {
				return
			}
		}
	}
}

// RevokeTokens implements [token.Store].
func (s *Store) RevokeTokens(ctx context.Context, records []token.Record, by string, at time.Time) error {
	for len(records) > 0 {
		batch := records[:min(len(records), maxCounted)]
		records = records[len(batch):]
		var tx store.Tx
		for _, r := range batch {
			if s.tokensRevoked.has(r.ID) {
				continue
			}
			value, err := json.Marshal(tokenRevocation{At: at.Unix(), Expires: tokenExpiry(r.ExpiresAt), By: by})
			if err != nil {
				return err
			}
			tx.Puts = append(tx.Puts, store.Put{Key: prefixTokenRevoked + r.ID, Value: value})
		}
		if len(tx.Puts) == 0 {
			continue
		}
		rev, err := s.write(Repeatable(ctx), tx)
		if err != nil {
			return fromStore(err)
		}
		if err := s.tokenWatch.wait(ctx, rev); err != nil {
			return err
		}
	}
	return nil
}

// endTokens takes back the tokens of the user at p, which is about to go: what a
// deleted user leaves behind must not be of use to the next one of that name.
func (s *Store) endTokens(ctx context.Context, p object.Path, why string) error {
	if p.Namespace != object.NamespaceSystem || p.Kind != object.KindUsr {
		return nil
	}
	if _, err := token.RevokeAll(ctx, s, p.Name, why, s.now()); err != nil {
		return fmt.Errorf("%s: its tokens: %w", p, err)
	}
	return nil
}

// TokenRevoked reports whether a token was taken back, as the store has it now. The
// decision of ctx notes it.
func (s *Store) TokenRevoked(ctx context.Context, id string) (bool, error) {
	_, err := s.revocation(ctx, prefixTokenRevoked+id)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Revoked implements [token.Store].
func (s *Store) Revoked(id string) bool { return s.tokensRevoked.has(id) }

// sweepAttempts is how often a sweep gives way to that of another node.
const sweepAttempts = 8

// SweepTokens implements [token.Store].
func (s *Store) SweepTokens(ctx context.Context, before time.Time, limit int) (int, error) {
	swept, lost := 0, 0
	for swept < limit {
		n, err := s.sweepTokens(ctx, expiryKey(before), limit-swept)
		switch {
		case errors.Is(err, ca.ErrConflict) && lost < sweepAttempts:
			lost++
		case err != nil || n == 0:
			return swept, err
		}
		swept += n
	}
	return swept, nil
}

// sweepTokens sweeps, in one commit, what expired before the given time: at most
// limit records, and no more than a transaction takes. The latest expiry of them
// is noted in that commit, so that no backup brings them back. ErrConflict when
// another node sweeps at the same moment: nothing was swept then. What was swept is
// on record no more, here, when it returns.
func (s *Store) sweepTokens(ctx context.Context, before string, limit int) (int, error) {
	const perToken = 4 // operations; one more is the note, and one what is counted
	noted, rev, err := sweptTokens(ctx, s.db)
	if err != nil {
		return 0, err
	}
	page, err := s.db.Scan(ctx, store.Range{Prefix: prefixToken, Limit: min(limit, (store.MaxOps-2)/perToken)})
	if err != nil {
		return 0, err
	}
	var tx store.Tx
	n := 0
	for _, e := range page.Entries {
		expiry, id, ok := strings.Cut(strings.TrimPrefix(e.Key, prefixToken), "/")
		if expiry >= before {
			break
		}
		var kept storedToken
		if err := json.Unmarshal(e.Value, &kept); err != nil || !ok {
			return 0, fmt.Errorf("store key %q: no token: %w", e.Key, err)
		}
		tx.Deletes = append(tx.Deletes, e.Key, prefixTokenID+id, tokenOfKey(kept.Subject, expiry, id))
		// Two tokens of another profile that say the same of the same second are one
		// token: without the revocation it could be made, and recorded, again.
		if kept.Profile == "" {
			tx.Deletes = append(tx.Deletes, prefixTokenRevoked+id)
		}
		n, noted = n+1, max(noted, expiry)
	}
	if n == 0 {
		return 0, nil
	}
	tx.Expect = []store.Expect{{Key: keyTokensSwept, Rev: rev}}
	tx.Puts = []store.Put{{Key: keyTokensSwept, Value: []byte(noted)}}
	if rev, err = s.db.Commit(ctx, tx); err != nil {
		return 0, fromStore(err)
	}
	return n, s.tokenWatch.wait(ctx, rev)
}

// sweptTokens reads up to which expiry tokens have been swept; "" for none.
func sweptTokens(ctx context.Context, db Reader) (expiry string, rev int64, err error) {
	e, err := db.Get(ctx, keyTokensSwept)
	if errors.Is(err, store.ErrNotFound) {
		return "", 0, nil
	}
	return string(e.Value), e.Rev, err
}

// loadTokenRevocations reads what was taken back. What changes meanwhile the
// watch shows.
func (s *Store) loadTokenRevocations(ctx context.Context) error {
	for e, err := range entries(ctx, s.db, prefixTokenRevoked) {
		if err != nil {
			return err
		}
		s.tokensRevoked.set(strings.TrimPrefix(e.Key, prefixTokenRevoked), true)
	}
	return nil
}

// tokensLost starts from what is there: some changes were not seen, and a sweep may
// be among them.
func (s *Store) tokensLost(ctx context.Context) error {
	s.tokensRecorded.swept()
	return s.loadTokenRevocations(ctx)
}

// tokensChanged takes the sweeps and the revocations of a change over: the sweeps
// first. The other way round a revoked token would be on record and not revoked
// for a moment.
func (s *Store) tokensChanged(change store.Change) error {
	if slices.ContainsFunc(change.Events, func(e store.Event) bool { return e.Key == keyTokensSwept || e.Deleted }) {
		s.tokensRecorded.swept()
	}
	for _, e := range change.Events {
		if id, ok := strings.CutPrefix(e.Key, prefixTokenRevoked); ok {
			s.tokensRevoked.set(id, !e.Deleted)
		}
	}
	return nil
}

// TokenSettings reads what the cluster's keywords say about tokens.
func (s *Store) TokenSettings(ctx context.Context) (token.Settings, error) {
	e, err := s.entry(ctx, object.ClusterPath())
	if err != nil {
		return token.Settings{}, err
	}
	return once(s, &e.tokens, func() (token.Settings, error) {
		r := reader{c: e.Config}
		settings := token.Settings{Issuer: r.text("token.issuer"), MaxAge: r.duration("token.max_age"), Audience: "omca:" + r.text("cluster.id"), Living: read(&r, e.Config.Int, "cluster.max_tokens")}
		return settings, r.err
	})
}
