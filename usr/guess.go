package usr

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"sync"
	"time"
)

// ErrLimited is an attempt that was not looked at: there were too many before it. The errors are [*LimitedError].
var ErrLimited = errors.New("too many attempts to log in")

// LimitedError is an [ErrLimited] that says when to come back.
type LimitedError struct {
	After  time.Duration // from now, at least a second
	reason string        // for the log: which limit
}

// Error says which limit it was, for the log.
func (e *LimitedError) Error() string {
	return fmt.Sprintf("%s: %s; again in %s", ErrLimited, e.reason, e.After.Round(time.Second))
}

// Is tells that e is an [ErrLimited].
func (e *LimitedError) Is(target error) bool { return target == ErrLimited }

// GuessLimit is how many attempts a user, and an address, has.
type GuessLimit struct {
	Rate  float64 // per second; 0 is no limit
	Burst int     // at once; less than 1 counts as 1
}

// mostCounted bounds the users, and the addresses, whose attempts are counted: about 200 bytes each.
const mostCounted = 8192

// Guesses counts attempts to log in, by user and by address, before anything is done about them: a token bucket each, which
// fills at the rate and holds the burst. Users who do not exist are counted like those who do, under the names that were tried.
//
// Memory is bounded. When it is full, the count that forgets the least goes: one of the fullest of a few that are looked at, which is one
// that was tried once, and not the one that somebody is after.
type Guesses struct {
	now func() time.Time

	mu        sync.Mutex
	users     counts[[sha256.Size]byte]
	addresses counts[netip.Addr]
}

// NewGuesses makes empty counts that read the clock with now.
func NewGuesses(now func() time.Time) *Guesses {
	return &Guesses{now: now, users: make(counts[[sha256.Size]byte]), addresses: make(counts[netip.Addr])}
}

// Attempt is one attempt that was let through.
type Attempt struct {
	of      *Guesses
	limit   GuessLimit
	user    [sha256.Size]byte
	address netip.Addr
}

// Take counts an attempt to log in as user from an address, or refuses it, and then counts nothing: [*LimitedError]. Addresses of one
// IPv6 network of 64 bits count as one, since whoever has one has all.
func (g *Guesses) Take(limit GuessLimit, user string, from netip.Addr) (Attempt, error) {
	a := Attempt{of: g, limit: limit, user: sha256.Sum256([]byte(user)), address: network(from)}
	if limit.Rate <= 0 {
		return a, nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	address := g.addresses.at(a.address, limit, now)
	if wait := address.wait(limit); wait > 0 {
		return Attempt{}, &LimitedError{After: wait, reason: fmt.Sprintf("from address %s", a.address)}
	}
	u := g.users.at(a.user, limit, now)
	if wait := u.wait(limit); wait > 0 {
		return Attempt{}, &LimitedError{After: wait, reason: "as this user"}
	}
	address.tokens--
	u.tokens--
	if u.from != a.address {
		u.from, u.spent = a.address, 0
	}
	u.spent++
	return a, nil
}

// Succeeded gives back what the attempt took. The user also gets back what the attempts just before it took, if they came from the same
// address: whoever mistyped a few times is not kept out. The address gets back this one alone, and so do attempts from elsewhere nothing: with
// a password of one's own, and while the owner comes and goes, one guesses no faster.
func (a Attempt) Succeeded() {
	if a.limit.Rate <= 0 {
		return
	}
	g := a.of
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	address := g.addresses.at(a.address, a.limit, now)
	address.tokens = min(address.tokens+1, a.limit.burst())
	u := g.users.at(a.user, a.limit, now)
	back := 1.0
	if u.from == a.address {
		back, u.spent = max(back, u.spent), 0
	}
	u.tokens = min(u.tokens+back, a.limit.burst())
}

// Unlock forgets the attempts to log in as user, and reports whether the user was locked out.
func (g *Guesses) Unlock(limit GuessLimit, user string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	key := sha256.Sum256([]byte(user))
	if g.users[key] == nil {
		return false
	}
	locked := limit.Rate > 0 && g.users.at(key, limit, g.now()).wait(limit) > 0
	delete(g.users, key)
	return locked
}

// network is what an address is counted as.
func network(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if !a.Is6() {
		return a
	}
	const bits = 64
	p, err := a.Prefix(bits)
	if err != nil { // cannot be: 64 bits are fewer than 128
		return a
	}
	return p.Addr()
}

// count is one token bucket.
type count struct {
	tokens float64
	at     time.Time  // when tokens was right
	from   netip.Addr // of a user: where the last attempt came from
	spent  float64    // of a user: what attempts from there took in a row
}

type counts[K comparable] map[K]*count

// at returns the count of key as it is now: full, when there is none yet.
func (c counts[K]) at(key K, limit GuessLimit, now time.Time) *count {
	one := c[key]
	if one == nil {
		if len(c) >= mostCounted {
			c.forget(limit, now)
		}
		one = &count{tokens: limit.burst(), at: now}
		c[key] = one
	}
	one.fill(limit, now)
	return one
}

// forget drops the fullest of a few counts. The order of a map is random.
func (c counts[K]) forget(limit GuessLimit, now time.Time) {
	const few = 16
	var fullest K
	most, seen := math.Inf(-1), 0
	for key, one := range c {
		one.fill(limit, now)
		if one.tokens > most {
			fullest, most = key, one.tokens
		}
		if seen++; seen == few {
			break
		}
	}
	delete(c, fullest)
}

// fill adds what the time since the last look is worth. A clock that goes back adds nothing.
func (c *count) fill(limit GuessLimit, now time.Time) {
	if passed := now.Sub(c.at).Seconds(); passed > 0 {
		c.tokens += passed * limit.Rate
	}
	c.at = now
	if c.tokens >= limit.burst() {
		c.tokens, c.spent = limit.burst(), 0
	}
}

// wait is how long until there is an attempt to be had, 0 when there is one. In whole seconds, as HTTP has it (RFC 9110, 10.2.3).
func (c *count) wait(limit GuessLimit) time.Duration {
	const almost = 1e-9 // what fractions of a token lose when they are added
	if c.tokens >= 1-almost {
		return 0
	}
	seconds := math.Ceil((1 - c.tokens) / limit.Rate)
	return time.Duration(min(max(1, seconds), 86400)) * time.Second
}

func (l GuessLimit) burst() float64 { return float64(max(1, l.Burst)) }
