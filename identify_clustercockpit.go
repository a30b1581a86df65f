package omca

import (
	"fmt"
	"net/http"

	"omca/usr"
)

// headerToken is the header in which ClusterCockpit's clients send a token, with
// no word before it.
const headerToken = "X-Auth-Token"

// authToken returns the token of the header X-Auth-Token, errNotTried when it is
// not there. As with cc-backend, it goes before Authorization.
func authToken(r *http.Request) (string, error) {
	lines := r.Header[headerToken]
	switch {
	case len(lines) == 0:
		return "", errNotTried
	case len(lines) > 1: // which of them did the proxy in front look at?
		return "", fmt.Errorf("%w: %s is there %d times", usr.ErrUnauthenticated, headerToken, len(lines))
	case lines[0] == "":
		return "", fmt.Errorf("%w: %s is empty", usr.ErrUnauthenticated, headerToken)
	}
	return lines[0], nil
}
