package usr

import "fmt"

// CanIssueToken decides whether c may have a token for the user of the name subject, and a refresh token with it.
//
// Who proved to be the user in person may have an access token: with a password, a client certificate, a session, on the unix socket. A
// token does not beget tokens, or it would live for as long as anybody kept copying it; a refresh token does, on its own route, up to
// its own end. The subject of an identity provider is no user of the cluster. For another user it needs root.
//
// A refresh token lives longer than what a certificate or a session stands for: either may be taken back meanwhile. So it goes to who
// has the password, and to the socket.
func CanIssueToken(c Caller, subject string, refresh bool) error {
	const try = "issuing a token"
	if !c.Authenticated() {
		return ErrUnauthenticated
	}
	switch c.Method {
	case MethodSocket, MethodPassword:
	case MethodX509, MethodSession:
		if refresh {
			return fmt.Errorf("%s: %w: a refresh token needs a password, and %.64q came by %s", try, ErrDenied, c.Name, c.Method)
		}
	default:
		return fmt.Errorf("%s: %w: who came by %s gets none; call with a password or a client certificate", try, ErrDenied, c.Method)
	}
	if subject == c.Name {
		return nil
	}
	return c.mayTo(fmt.Sprintf("issuing a token for %.64q", subject), Root())
}
