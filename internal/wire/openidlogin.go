package wire

// OpenIDRequest asks where to log in at the OpenID issuer.
type OpenIDRequest struct {
	RedirectURI string `json:"redirect_uri"` // https://HOST/login/openid/callback
}

// OpenIDQuestion is a login at the OpenID issuer that has begun. The browser keeps
// it: nothing of it is kept here.
type OpenIDQuestion struct {
	Address  string `json:"address"` // where the person logs in
	State    string `json:"state"`
	Nonce    string `json:"nonce"`
	Verifier string `json:"verifier"` // of PKCE (RFC 7636)
}

// OpenIDAnswer is what the issuer sent the browser back with, and what it is the
// answer to.
type OpenIDAnswer struct {
	RedirectURI string `json:"redirect_uri"`
	State       string `json:"state"`
	Nonce       string `json:"nonce"`
	Verifier    string `json:"verifier"`
	Query       string `json:"query"` // of the address that the browser came back to
}
