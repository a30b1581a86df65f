package api

import (
	"fmt"
	"net/http"

	"omca/usr"
)

// Three of the proofs of a name go with every request that a browser makes to
// this server, whichever page made it: the cookie of a session, a client
// certificate, and a password that the browser remembers. So a change is made
// only for a page of our own. Other clients say nothing of pages and are not
// concerned.

// sameOrigin refuses a request that a browser makes for a page of another
// origin, unless its method changes nothing.
func sameOrigin(r *http.Request) error {
	if err := new(http.CrossOriginProtection).Check(r); err != nil {
		return fmt.Errorf("%w: needs a request of this origin: a page of another one asked the browser for it", usr.ErrDenied)
	}
	return nil
}

// changing is [sameOrigin] for a request that changes something although its
// method does not say so.
func changing(r *http.Request) error {
	post := *r
	post.Method = http.MethodPost
	return sameOrigin(&post)
}
