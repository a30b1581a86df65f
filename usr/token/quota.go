package token

import (
	"context"
	"fmt"
	"hash/maphash"
	"time"

	"omca/usr"
)

// onRecord is how many tokens that have not expired, revoked ones among them, a subject may have on record for each that may live: a loop that makes
// tokens and takes them back fills the store too.
const onRecord = 10

// Count is what a subject has of tokens that have not expired.
type Count struct {
	Living   int
	Recorded int       // revoked ones among them
	Room     time.Time // when there is room for another; zero when there is, and when those that fill it never expire
}

// admit lets another token of a subject be issued, within the bound of the cluster. The func that it returns is called once the token is on
// record. Until then no other token of the subject is counted here, so that on one node the bound is exact.
func (s *Service) admit(ctx context.Context, r Request, subject string) (done func(), err error) {
	settings, err := s.Settings(ctx)
	if err != nil {
		return nil, err
	}
	if settings.Living == 0 || r.By.May(usr.Root()) == nil {
		return func() {}, nil
	}
	lock := &s.issuing[maphash.String(s.seed, subject)%uint64(len(s.issuing))]
	lock.Lock()
	n, err := s.Store.CountTokens(ctx, subject, s.Now(), settings.Living)
	if err == nil {
		err = within(n, subject, settings.Living, s.Now())
	}
	if err != nil {
		lock.Unlock()
		return nil, err
	}
	return lock.Unlock, nil
}

// within returns nil when n leaves room for another token.
func within(n Count, subject string, most int, now time.Time) error {
	e := &usr.QuotaError{Keyword: "cluster.max_tokens"}
	switch {
	case n.Living >= most:
		e.Detail = fmt.Sprintf("%.64q has %d living tokens, and cluster.max_tokens is %d for callers without root", subject, n.Living, most)
	case n.Recorded >= onRecord*most:
		e.Detail = fmt.Sprintf("%.64q has %d tokens on record that have not expired, revoked ones among them: at most %d, ten times cluster.max_tokens",
			subject, n.Recorded, onRecord*most)
	default:
		return nil
	}
	if !n.Room.IsZero() {
		e.After = max(n.Room.Sub(now), time.Second)
	}
	return e
}
