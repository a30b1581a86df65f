package token

import (
	"context"
	"iter"
	"time"

	"omca/usr"
)

// A Record is what is kept of a token that was issued. The token itself is not kept.
type Record struct {
	ID        string // jti; of a token without one, what [IDOf] makes of it
	Subject   string // as Claims.Owner says
	Profile   string // "" is the profile of this package
	Use       Use
	Grant     string   // as text
	Roles     []string // of the subject
	Audience  []string
	IssuedAt  time.Time
	ExpiresAt time.Time  // zero: never
	By        string     // who asked
	Method    usr.Method // how they had proved their name

	RevokedAt time.Time // zero: it was not
	RevokedBy string
}

// Query selects records.
type Query struct {
	Subject string // "" is everybody
	After   string // only those behind this cursor
}

// Listed is a record in a list.
type Listed struct {
	Record
	Cursor string // for Query.After
}

// Store remembers the keys and the tokens of a cluster. Every method may be called at the same time as any other.
//
// What is absent, and what has changed meanwhile, is an error of the store's own, which passes through.
type Store interface {
	// LoadKeys returns the stored form of the keys, nil when there are none yet, and the revision for SaveKeys.
	LoadKeys(ctx context.Context) (text []byte, revision int64, err error)

	// SaveKeys replaces the keys, sealed and durable when it returns, unless they have another revision by now: that is an error, and
	// conflict reports true of it.
	SaveKeys(ctx context.Context, revision int64, text []byte) error
	Conflict(err error) bool

	// RecordToken makes a record durable. It fails when there is one with that id, when that id was taken back, and when the subject's
	// object has gone meanwhile.
	RecordToken(ctx context.Context, r Record) error

	// CountTokens counts the tokens of a subject that have not expired. It may stop at ten times the given number of them. Room is when
	// fewer than that number live, or fewer than ten times as many are on record.
	CountTokens(ctx context.Context, subject string, now time.Time, most int) (Count, error)

	// Recorded reports whether there is a record with that id. It is asked on every call. What it remembers of an answer it forgets,
	// on every node, as soon as the sweep of a record is known there, and before Revoked forgets the revocation that went with it.
	Recorded(ctx context.Context, id string) (bool, error)

	// Token returns the record with that id.
	Token(ctx context.Context, id string) (Record, error)

	// Tokens yields the records that q selects, soonest expiry first, those that never expire last.
	Tokens(ctx context.Context, q Query) iter.Seq2[Listed, error]

	// RevokeTokens takes tokens back, durably, and returns once Revoked says so here. On every other node it does so as soon as the change
	// arrives. Asking again changes nothing.
	RevokeTokens(ctx context.Context, records []Record, by string, at time.Time) error

	// Revoked reports whether the token with that id was taken back. It is asked on every call and waits for nothing. It may forget
	// a token when the record of it is gone.
	Revoked(id string) bool

	// SweepTokens removes records of what expired before the given time, at most limit of them, and returns how many it removed. The
	// revocation of a token goes with its record, in one commit, and never before it. Of a token in a profile whose tokens have no id
	// of their own it stays: the same token can be made again. Several nodes may sweep at once.
	SweepTokens(ctx context.Context, before time.Time, limit int) (int, error)
}
