package usr

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/text/secure/precis"
)

// MaxPassword is the length of the longest password, in bytes as typed: hashing and normalising have to end.
const MaxPassword = 1024

// NormalPassword returns a password as it is hashed: the OpaqueString profile of RFC 8265, section 4.2, so that é is one password however
// a keyboard composes it. Letters keep their case, spaces their place.
//
// It is [ErrInvalid], which never quotes the password, when it is empty, longer than [MaxPassword], not UTF-8, or holds characters that
// nobody can be relied on to type again: control characters (NUL and the newline at the end of a file among them) and those that the
// profile does not allow.
func NormalPassword(password []byte) ([]byte, error) {
	switch {
	case len(password) == 0:
		return nil, fmt.Errorf("%w password: it is empty", ErrInvalid)
	case len(password) > MaxPassword:
		return nil, fmt.Errorf("%w password: it has %d bytes, at most %d are allowed", ErrInvalid, len(password), MaxPassword)
	case !utf8.Valid(password):
		return nil, fmt.Errorf("%w password: it is not UTF-8", ErrInvalid)
	}
	for _, c := range password {
		switch {
		case c == '\n', c == '\r':
			return nil, fmt.Errorf("%w password: it has a line break in it, maybe the one at the end of a file", ErrInvalid)
		case c < ' ', c == 0x7f:
			return nil, fmt.Errorf("%w password: it has control characters in it", ErrInvalid)
		}
	}
	normal, err := precis.OpaqueString.Bytes(password)
	if err != nil || len(normal) == 0 {
		return nil, fmt.Errorf("%w password: it has characters that RFC 8265 does not allow in passwords", ErrInvalid)
	}
	return normal, nil
}

// NormalName returns the name of a user as people may type it, the way it is kept: the UsernameCaseMapped profile of RFC 8265, section 3.3,
// which is lower case. It is [ErrInvalid] for what can be nobody's name.
func NormalName(name string) (string, error) {
	if len(name) > 4*maxName {
		return "", fmt.Errorf("%w name: it has %d bytes, at most %d characters are allowed", ErrInvalid, len(name), maxName)
	}
	normal, err := precis.UsernameCaseMapped.String(name)
	if err != nil {
		return "", fmt.Errorf("%w name: it has characters that RFC 8265 does not allow in names", ErrInvalid)
	}
	return normal, ValidName(normal)
}

// PasswordCost is the work of one argon2id hash (RFC 9106, section 3.1).
type PasswordCost struct {
	Memory  uint32 // KiB
	Passes  uint32 // over the memory
	Threads uint8
}

// DefaultPasswordCost is the floor of OWASP's Password Storage Cheat Sheet: 19 MiB, two passes, one thread.
//
// A daemon is about 45 MB, and a hash takes its memory while it is made: more of it would be most of the daemon, and more passes would only
// be more time. It is a floor against whoever has stolen the store, where the hashes are sealed besides; whoever guesses at the listener is
// stopped by [Guesses], long before the price of a hash matters.
func DefaultPasswordCost() PasswordCost { return PasswordCost{Memory: 19 << 10, Passes: 2, Threads: 1} }

// mostLanes bounds the hashes that are made at once: each takes its memory, 19 MiB, and a processor.
const mostLanes = 2

// mostWaiting bounds the logins that wait for a lane. At about 25 ms each, the last one waits for a second.
const mostWaiting = 32

// Passwords makes hashes of passwords and checks passwords against them. Only a few at once: a flood of logins takes the memory of
// two hashes and at most half of the processors, and whoever calls with a certificate or a token does not notice. It is safe for concurrent
// use.
type Passwords struct {
	cost    PasswordCost
	lanes   chan struct{}
	waiting atomic.Int64
	nobody  PasswordHash // what a password is checked against where there is none
	derived atomic.Int64 // hashes computed so far

	takes func(bytes int64) // told what memory a hash takes
}

// NewPasswords makes the service. The zero cost is [DefaultPasswordCost].
func NewPasswords(cost PasswordCost) (*Passwords, error) {
	if cost == (PasswordCost{}) {
		cost = DefaultPasswordCost()
	}
	if err := cost.check(); err != nil {
		return nil, err
	}
	p := &Passwords{cost: cost, lanes: make(chan struct{}, max(1, min(mostLanes, runtime.GOMAXPROCS(0)/2)))}
	p.nobody = PasswordHash{scheme: schemeArgon2id, cost: cost, salt: random(saltSize), sum: random(sumSize)}
	return p, nil
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // crypto/rand: never fails, or ends the program
	return b
}

// OnMemory registers who is told that a hash takes so many bytes of memory, which are garbage once it is made. It may be called by more than
// one at once. Register before use.
//
// For a collector with a limit near what lives otherwise, that memory is the end: it does nothing but collect while there is a hash.
func (p *Passwords) OnMemory(takes func(bytes int64)) { p.takes = takes }

// Derived is how many hashes were computed so far: the work that passwords were.
func (p *Passwords) Derived() int64 { return p.derived.Load() }

// Hash returns the hash of a new password, under a salt of its own. Errors: [ErrInvalid] for what cannot be a password
// ([NormalPassword]), [*LimitedError] when too many wait already, or that of ctx.
func (p *Passwords) Hash(ctx context.Context, password []byte) (PasswordHash, error) {
	normal, err := NormalPassword(password)
	if err != nil {
		return PasswordHash{}, err
	}
	leave, err := p.enter(ctx)
	if err != nil {
		return PasswordHash{}, err
	}
	defer leave()
	return p.derive(normal), nil
}

// Verify returns nil when password is that of h, and else an [ErrUnauthenticated]. For the zero hash, which is that of nobody, it does the
// same work as for one of this service and says no: how long the answer took does not tell whether there is a user.
//
// When all is well but h is not how this service makes hashes (its cost changed, or h was imported), better is a hash of the same password
// to keep in its place; else it is zero. Other errors are those of [Passwords.Hash].
func (p *Passwords) Verify(ctx context.Context, password []byte, h PasswordHash) (better PasswordHash, err error) {
	normal, err := NormalPassword(password)
	if err != nil { // whose password it might be was not looked at: this takes no time for anybody
		return PasswordHash{}, fmt.Errorf("%w: %w", ErrUnauthenticated, err)
	}
	leave, err := p.enter(ctx)
	if err != nil {
		return PasswordHash{}, err
	}
	defer leave()
	asked := h
	if h.IsZero() {
		asked = p.nobody
	}
	if !p.matches(normal, asked) || h.IsZero() {
		return PasswordHash{}, fmt.Errorf("%w: wrong password", ErrUnauthenticated)
	}
	if h.scheme == schemeArgon2id && h.cost == p.cost && len(h.salt) == saltSize && len(h.sum) == sumSize {
		return PasswordHash{}, nil
	}
	return p.derive(normal), nil
}

// errBusy is a login that finds too many others waiting.
var errBusy = errors.New("too many passwords are being checked")

// enter waits for a lane. The caller leaves it.
func (p *Passwords) enter(ctx context.Context) (leave func(), err error) {
	if p.waiting.Add(1) > mostWaiting {
		p.waiting.Add(-1)
		return nil, &LimitedError{After: time.Second, reason: errBusy.Error()}
	}
	defer p.waiting.Add(-1)
	select {
	case p.lanes <- struct{}{}:
		if p.takes != nil {
			p.takes(int64(p.cost.Memory) << 10)
		}
		return func() { <-p.lanes }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *Passwords) derive(normal []byte) PasswordHash {
	h := PasswordHash{scheme: schemeArgon2id, cost: p.cost, salt: random(saltSize)}
	h.sum = p.argon2id(normal, h, sumSize)
	return h
}

func (p *Passwords) matches(normal []byte, h PasswordHash) bool {
	if h.scheme == schemeArgon2id {
		return subtle.ConstantTimeCompare(p.argon2id(normal, h, uint32(len(h.sum))), h.sum) == 1 //nolint:gosec // bounded by ParsePasswordHash
	}
	p.derived.Add(1)
	// bcrypt looks at 72 bytes: behind them anything would do, and be kept as the password from then on.
	return len(normal) <= mostBcrypt && bcrypt.CompareHashAndPassword(h.sum, normal) == nil
}

func (p *Passwords) argon2id(normal []byte, h PasswordHash, size uint32) []byte {
	p.derived.Add(1)
	return argon2.IDKey(normal, h.salt, h.cost.Passes, h.cost.Memory, h.cost.Threads, size)
}
