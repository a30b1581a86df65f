package join

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/hmac"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"
)

// A Record is what the cluster keeps of a token. Nothing in it opens anything:
// ProofKey checks proofs, so it is kept sealed like every secret.
type Record struct {
	ID       string    // Token.ID
	Expires  time.Time // from then on it is refused, and can be deleted
	Cluster  string
	ProofKey []byte // 32 bytes, derived from the secret, which they do not show
	SealKey  []byte // 32 bytes, derived from the secret too: binds the answer to it
	By       string // who made the token, for the audit trail
}

// Record returns what to keep of a token.
func (t Token) Record(by string) Record {
	return Record{ID: t.ID(), Expires: t.Expires, Cluster: t.Cluster, ProofKey: t.derive("proof"), SealKey: t.derive("seal"), By: by}
}

// Store keeps the records of tokens.
type Store interface {
	// Token returns the record with an id, and its revision. ErrRefused: there
	// is none. Any other error means that it is not known whether there is.
	Token(ctx context.Context, id string) (Record, int64, error)
	// Spend deletes the record, durably, if it is still of that revision.
	// ErrRefused: it is not, somebody else was first. After any other error
	// nothing is given for the token.
	Spend(ctx context.Context, id string, rev int64) error
}

// Server takes requests. All fields are required, but for Limit.
type Server struct {
	Cluster string // id of this cluster
	Store   Store
	Now     func() time.Time
	// Limit is asked before anything is looked at, with the caller's address, zero
	// when it cannot be known; an error refuses the request (too many tries).
	Limit func(from netip.Addr) error
	// Check is asked about a request that has proven that it knows its token, before
	// the token is spent; the caller hears its error. Nil: nothing is asked.
	Check func(Request) error
}

// A Redeemed is a request whose token was spent for it: it is carried out now,
// or the machine needs a new token.
type Redeemed struct {
	Request
	By string // who made the token

	transcript []byte
	sealKey    []byte
}

// errorRefused is ErrRefused with the reason for the operator's log, which the
// caller never sees: it is not in the text.
type errorRefused struct{ reason error }

func (e *errorRefused) Error() string        { return ErrRefused.Error() }
func (e *errorRefused) Is(target error) bool { return target == ErrRefused }

func refuse(reason error) error { return &errorRefused{reason} }

// Reason returns why a request was refused, for the log. It holds no secret.
func Reason(err error) error {
	var e *errorRefused
	if errors.As(err, &e) {
		return e.reason
	}
	return err
}

// Redeem reads a request and spends its token. The caller hears one and the same
// ErrRefused for everything that is wrong with the request; Reason has more. An
// error that is not ErrRefused is the store's.
func (s *Server) Redeem(ctx context.Context, from netip.Addr, text []byte) (*Redeemed, error) {
	if s.Limit != nil {
		if err := s.Limit(from); err != nil {
			return nil, refuse(err)
		}
	}
	r, err := ParseRequest(text)
	if err != nil {
		return nil, refuse(err)
	}
	record, rev, err := s.Store.Token(ctx, r.Token)
	known := err == nil
	if err != nil && !errors.Is(err, ErrRefused) {
		return nil, fmt.Errorf("looking for token %s: %w", r.Token, err)
	}
	if !known {
		// As much work as for a token that is there.
		record = Record{ProofKey: make([]byte, 32)}
	}
	transcript := r.transcript()
	proven := hmac.Equal(r.Proof, proof(record.ProofKey, transcript))
	switch {
	case !known:
		return nil, refuse(fmt.Errorf("token %s: there is none, or it was used", r.Token))
	case len(record.ProofKey) != 32 || len(record.SealKey) != 32 || record.ID != r.Token:
		return nil, fmt.Errorf("%w: record of token %s", ErrInvalid, r.Token)
	case !proven:
		return nil, refuse(fmt.Errorf("token %s: the request does not prove that it knows the token, or was altered", r.Token))
	case r.Cluster != s.Cluster || record.Cluster != s.Cluster:
		return nil, refuse(fmt.Errorf("token %s is for cluster %q, this is %q", r.Token, r.Cluster, s.Cluster))
	case !s.Now().Before(record.Expires):
		return nil, refuse(fmt.Errorf("token %s: %w at %s", r.Token, ErrExpired, record.Expires.Format(time.RFC3339)))
	}
	if s.Check != nil {
		if err := s.Check(r); err != nil {
			return nil, err
		}
	}
	if err := s.Store.Spend(ctx, r.Token, rev); err != nil {
		if errors.Is(err, ErrRefused) {
			return nil, refuse(fmt.Errorf("token %s: another request was first", r.Token))
		}
		return nil, fmt.Errorf("spending token %s: %w", r.Token, err)
	}
	return &Redeemed{Request: r, By: record.By, transcript: transcript, sealKey: record.SealKey}, nil
}

// Answer returns the answer with the master key sealed for the machine that
// asked. Errors: ErrInvalid for a grant that cannot be right.
func (r *Redeemed) Answer(g Grant, masterKey []byte) ([]byte, error) {
	if len(masterKey) == 0 || len(masterKey) > maxKey {
		return nil, fmt.Errorf("%w: master key of %d bytes: expected 1 to %d", ErrInvalid, len(masterKey), maxKey)
	}
	if err := g.check(); err != nil {
		return nil, err
	}
	to, err := hpke.DHKEM(ecdh.X25519()).NewPublicKey(r.Key)
	if err != nil {
		return nil, fmt.Errorf("%w: the machine's key: %w", ErrInvalid, err)
	}
	a := Answer{Version: version, Cluster: r.Cluster, Grant: g}
	sealed, err := hpke.Seal(to, hpke.HKDFSHA256(), hpke.AES256GCM(), binding(r.sealKey, r.transcript, a), masterKey)
	if err != nil {
		return nil, fmt.Errorf("%w: sealing for the machine's key: %w", ErrInvalid, err)
	}
	a.Sealed = sealed
	return json.Marshal(a)
}

// A Session is the new machine's side of one exchange.
type Session struct {
	token      Token
	key        hpke.PrivateKey
	transcript []byte
	body       []byte
}

// Begin makes the request of a machine: who it wants to be and where, with the
// signing request for its node certificate. Errors: ErrInvalid, ErrExpired.
func Begin(t Token, me Member, csr []byte, now time.Time) (*Session, error) {
	if err := t.check(); err != nil {
		return nil, err
	}
	if !now.Before(t.Expires) {
		return nil, fmt.Errorf("%w at %s", ErrExpired, t.Expires.Format(time.RFC3339))
	}
	key, err := hpke.DHKEM(ecdh.X25519()).GenerateKey()
	if err != nil {
		return nil, err
	}
	r := Request{Version: Current, Token: t.ID(), Cluster: t.Cluster, Node: me.Name, URL: me.URL, CSR: string(csr), Key: key.PublicKey().Bytes()}
	transcript := r.transcript()
	r.Proof = proof(t.derive("proof"), transcript)
	if err := r.check(); err != nil {
		return nil, err
	}
	body, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return &Session{token: t, key: key, transcript: transcript, body: body}, nil
}

// Body returns the request to send. It can be sent again, to another member too.
func (s *Session) Body() []byte { return bytes.Clone(s.body) }

// Finish opens the answer: what the machine was given, and the master key. The
// chains in it are authentic, but not verified: that is for the reader of
// certificates. Errors: ErrInvalid, ErrUntrusted when it is not an answer to
// this request of somebody who knows the token.
func (s *Session) Finish(text []byte) (Grant, []byte, error) {
	a, err := ParseAnswer(text)
	if err != nil {
		return Grant{}, nil, err
	}
	if a.Cluster != s.token.Cluster {
		return Grant{}, nil, fmt.Errorf("%w: the answer is of cluster %q, the token of %q", ErrUntrusted, a.Cluster, s.token.Cluster)
	}
	key, err := hpke.Open(s.key, hpke.HKDFSHA256(), hpke.AES256GCM(), binding(s.token.derive("seal"), s.transcript, a), a.Sealed)
	if err != nil {
		return Grant{}, nil, fmt.Errorf("%w: its answer does not open", ErrUntrusted)
	}
	return a.Grant, key, nil
}

// transcript is a hash of everything in the request but its proof.
func (r Request) transcript() []byte {
	return digest("request", strconv.Itoa(r.Version), r.Token, r.Cluster, r.Node, r.URL, r.CSR, string(r.Key))
}

// binding is what the sealed key is tied to: the secret, the request and the
// rest of the answer.
func binding(sealKey, transcript []byte, a Answer) []byte {
	parts := []string{strconv.Itoa(a.Version), a.Cluster, a.Certificate, a.CA}
	for _, m := range a.Members {
		parts = append(parts, m.Name, m.URL)
	}
	mac := hmac.New(sha256.New, sealKey)
	mac.Write(transcript)
	mac.Write(digest("answer", parts...))
	return append([]byte("omca join 1 master key\x00"), mac.Sum(nil)...)
}

// digest hashes parts, each behind its length, so that no two lists of them are
// the same bytes.
func digest(what string, parts ...string) []byte {
	h := sha256.New()
	for _, p := range append([]string{"omca join 1 " + what}, parts...) {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(p))))
		h.Write([]byte(p))
	}
	return h.Sum(nil)
}

func proof(key, transcript []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(transcript)
	return mac.Sum(nil)
}
