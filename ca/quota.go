package ca

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"omca/pki"
	"omca/usr"
)

const (
	quotaWindow = time.Hour
	// quotaShare is the part of what is left to a caller that is issued before the store
	// is asked again what there is: others may issue on other nodes meanwhile. As many
	// nodes together do not go beyond the bound.
	quotaShare = 4
	quotaFresh = 5 * time.Minute // the store is asked again then at the latest
)

// quota bounds the certificates that each caller without root gets in an hour. The
// records of the inventory count, so the bound holds on every node and after a restart.
// The store is asked rarely while a caller is far from the bound.
type quota struct {
	mu      sync.Mutex
	callers map[string]*allowance // by name

	counting sync.Mutex // one count at a time
}

// allowance is what a caller may have without another look at the store.
type allowance struct {
	most    int // the bound that it was made for
	left    int
	pending int       // on the way to the store
	issued  int       // that came there, since the allowance was made
	since   time.Time // when the store was asked
	until   time.Time // when it is asked again
	full    time.Time // there is no room before; zero when there is
}

// take takes one of the allowance of a caller. known is false when the store is to be
// asked first.
func (q *quota) take(caller string, most int, now time.Time) (known bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	al := q.callers[caller]
	switch {
	case al == nil || al.most != most || now.Before(al.since):
		return false, nil
	case now.Before(al.full):
		return true, quotaError(caller, most, al.full.Sub(now))
	case al.left == 0 || !now.Before(al.until):
		return false, nil
	}
	al.left--
	al.pending++
	return true, nil
}

// issued returns how many certificates were issued from the allowance of a caller.
func (q *quota) issued(caller string) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if al := q.callers[caller]; al != nil {
		return al.issued
	}
	return 0
}

// counted makes the allowance of a caller of the times at which it got certificates in
// the last hour, oldest first. The store was asked when the allowance had issued before:
// the answer may lack those that came there since.
func (q *quota) counted(caller string, most int, issued []time.Time, before int, now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.callers == nil {
		q.callers = make(map[string]*allowance)
	}
	const many = 1024 // callers: then those who did nothing for a while are forgotten
	if len(q.callers) >= many {
		for name, al := range q.callers {
			if al.pending == 0 && !now.Before(al.until) && !now.Before(al.full) {
				delete(q.callers, name)
			}
		}
	}
	al := q.callers[caller]
	if al == nil {
		al = new(allowance)
		q.callers[caller] = al
	}
	al.most, al.left, al.since, al.until, al.full = most, 0, now, now.Add(quotaFresh), time.Time{}
	switch room := most - len(issued) - al.pending - (al.issued - before); {
	case len(issued) >= most:
		al.full = issued[len(issued)-most].Add(quotaWindow)
	case room > 0:
		al.left = max(1, room/quotaShare)
	default: // those that are pending may fail
		al.full = now.Add(time.Second)
	}
}

// done ends what take began. What was not issued may be taken again.
func (q *quota) done(caller string, issued bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	al := q.callers[caller]
	al.pending--
	if issued {
		al.issued++
	} else {
		al.left++
	}
}

func quotaError(caller string, most int, after time.Duration) error {
	return &usr.QuotaError{
		Detail:  fmt.Sprintf("%.64q had %d certificates issued within an hour, and cluster.max_certificates is %d for callers without root", caller, most, most),
		Keyword: "cluster.max_certificates", After: min(max(after, time.Second), quotaWindow),
	}
}

// admit lets the certificate of o be issued, within the bound of its caller. The func
// that it returns is called once that has been done, or has failed. again reports
// whether the certificate does not count: it renews another one.
func (a *Authority) admit(ctx context.Context, o order, now time.Time) (done func(issued bool), again bool, err error) {
	free := func(bool) {}
	if isRoot(o.who) {
		return free, false, nil
	}
	cluster, err := a.store.Cluster(ctx)
	if err != nil || cluster.Bounds.Certificates == 0 {
		return free, false, err
	}
	if again, err := a.renews(ctx, o, now); again || err != nil {
		return free, again, err
	}
	caller, most := o.who.By(), cluster.Bounds.Certificates
	known, err := a.quota.take(caller, most, now)
	if !known && err == nil {
		err = a.countIssued(ctx, caller, most, now)
	}
	if err != nil {
		return free, false, err
	}
	return func(issued bool) { a.quota.done(caller, issued) }, false, nil
}

// countIssued asks the store what a caller got, and takes one of what is left.
func (a *Authority) countIssued(ctx context.Context, caller string, most int, now time.Time) error {
	a.quota.counting.Lock()
	defer a.quota.counting.Unlock()
	if known, err := a.quota.take(caller, most, now); known {
		return err // another call asked meanwhile
	}
	before := a.quota.issued(caller)
	issued, err := a.store.IssuedBy(ctx, caller, now.Add(-quotaWindow))
	if err != nil {
		return fmt.Errorf("counting the certificates of %q: %w", caller, err)
	}
	slices.SortFunc(issued, time.Time.Compare)
	a.quota.counted(caller, most, issued, before, now)
	if known, err := a.quota.take(caller, most, now); known {
		return err
	}
	return quotaError(caller, most, time.Second)
}

// renews reports whether the certificate of o takes the place of a living one of the
// same object, with the same names, that was issued longer ago than the window: each
// of those is renewed once in an hour without a count.
func (a *Authority) renews(ctx context.Context, o order, now time.Time) (bool, error) {
	if o.held == nil || !now.Before(o.held.NotAfter) {
		return false, nil
	}
	r, ours, err := a.recordOf(ctx, o.held)
	if err != nil || !ours || r.Owner != o.owner || now.Sub(r.IssuedAt) < quotaWindow {
		return false, err
	}
	have, want := pki.NamesOf(o.held), o.request.Names()
	if o.id != nil { // what every certificate of the object carries beside its names
		have.URI = slices.DeleteFunc(have.URI, func(uri string) bool { return strings.EqualFold(uri, o.id.String()) })
	}
	x, y := have.Strings(), want.Strings()
	slices.Sort(x)
	slices.Sort(y)
	return slices.Equal(x, y) && o.held.Subject.CommonName == o.request.Subject().CommonName, nil
}
