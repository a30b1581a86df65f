package api

import (
	"context"
	"fmt"
	"sync"
	"time"

	"omca/usr"
)

const (
	mostDecrypting = 8               // keys that are read and that wait, together
	decryptedSoon  = 5 * time.Second // until there is room in the queue again, about
)

// decrypting is the queue of the private keys that come with a password. The writer of a
// key chooses how long that takes, up to a second or so: one is read at a time, so that
// the others lose one processor at most. Only calls with such a key wait here.
type decrypting struct {
	mu     sync.Mutex
	inside int           // being read, and waiting
	turn   chan struct{} // holds one while a key is read; nil until the first
}

// enter waits until the key of the call may be read. The func that it returns lets the
// next one in. Errors: usr.ErrQuota (the queue is full), that of ctx.
func (q *decrypting) enter(ctx context.Context) (leave func(), err error) {
	q.mu.Lock()
	if q.turn == nil {
		q.turn = make(chan struct{}, 1)
	}
	full := q.inside >= mostDecrypting
	if !full {
		q.inside++
	}
	q.mu.Unlock()
	if full {
		return nil, &usr.QuotaError{Detail: fmt.Sprintf("%d encrypted private keys are being read, at most %d at the same time", mostDecrypting, mostDecrypting), After: decryptedSoon}
	}
	out := func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.inside--
	}
	select {
	case q.turn <- struct{}{}:
	case <-ctx.Done():
		out()
		return nil, ctx.Err()
	}
	if err := ctx.Err(); err != nil { // both were there
		<-q.turn
		out()
		return nil, err
	}
	return func() {
		<-q.turn
		out()
	}, nil
}
