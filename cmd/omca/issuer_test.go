package main

import (
	"encoding/json"
	"os"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"

	"omca/internal/openid/openidtest"
)

// issuers are the OpenID issuers of the scripts.
type issuers struct {
	mu  sync.Mutex
	all map[*testscript.TestScript]*openidtest.Issuer
}

// command is "issuer": an OpenID issuer on the loopback by HTTPS, its URL in $ISSUER and its CA in issuer.pem. "issuer down" takes it away
// and "issuer up" brings it back, "issuer rotate" gives it another key, "issuer user FILE" other claims for whoever logs in, and "issuer
// token FILE" writes an access token for them.
func (i *issuers) command(ts *testscript.TestScript, neg bool, args []string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	is := i.all[ts]
	what := ""
	if len(args) > 0 {
		what = args[0]
	}
	switch {
	case neg:
		ts.Fatalf("usage: issuer [down|up|rotate|user FILE|token FILE]")
	case what == "" && is == nil:
		is, ca, stop, err := openidtest.ServeTLS("127.0.0.1:0", openidtest.Config{})
		ts.Check(err)
		ts.Defer(func() { _ = stop() }) // ends with the script
		i.all[ts] = is
		ts.Setenv("ISSUER", is.URL())
		ts.Check(os.WriteFile(ts.MkAbs("issuer.pem"), ca, 0o600))
	case is == nil:
		ts.Fatalf("there is no issuer")
	case what == "down", what == "up":
		is.Down(what == "down")
	case what == "rotate":
		ts.Check(is.Rotate())
	case what == "user" && len(args) == 2:
		var claims map[string]any
		ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[1])), &claims))
		is.SetUser(claims)
	case what == "token" && len(args) == 2:
		token, err := is.Token(nil)
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(token), 0o600))
	default:
		ts.Fatalf("usage: issuer [down|up|rotate|user FILE|token FILE]")
	}
}
