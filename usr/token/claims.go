package token

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"

	"omca/usr"
)

// MaxSize is the length in bytes of the longest token: it travels in one line of a header.
const MaxSize = 32 << 10

// Use is what a token is good for.
type Use string

// The uses, as in the claim token_use.
const (
	Access  Use = "access"  // proves a name on every route
	Refresh Use = "refresh" // gets access tokens, and nothing else
)

// Claims is what a token says, read and checked for form.
type Claims struct {
	ID        string // jti
	Subject   string // sub: the name of a user
	Issuer    string
	Audience  []string
	Use       Use
	Grants    usr.Grants // of a refresh token: what the tokens that it gets may hold at most
	Roles     []string   // of the subject, for services that read them
	IssuedAt  time.Time
	NotBefore time.Time
	ExpiresAt time.Time // zero: never, in a profile that permits it
	Socket    bool      // it was asked for on the unix socket for the machine's root, who needs no user object
	Profile   string    // "" is the profile of this package
	KeyID     string    // of the key that signed it; "" in other profiles

	FullName string   // of the subject, in profiles that say it
	Projects []string // the same
}

// Owner returns the owner of the token: the subject, and [usr.MachineRoot] for a token of the machine's root, which is not the user of that name.
func (c Claims) Owner() string {
	if c.Socket {
		return usr.MachineRoot
	}
	return c.Subject
}

// methodSocket is the authentication method (claim amr, RFC 8176) of a token of the machine's root.
const methodSocket = "ux"

// header is all that the header of a token may say.
//
// RFC 8725, 3.1 and 3.10: a token chooses neither its algorithm nor its key. So jku, jwk, x5u, x5c and crit (RFC 7515, 4.1) are as
// unknown here as any other word, and an unknown word is refused.
type header struct{ Algorithm, KeyID, Type string }

// wire is the claims as JSON has them (RFC 7519, 4.1).
type wire struct {
	Issuer    string   `json:"iss"`
	Subject   string   `json:"sub"`
	Audience  audience `json:"aud"`
	IssuedAt  *int64   `json:"iat"`
	NotBefore *int64   `json:"nbf"`
	ExpiresAt *int64   `json:"exp"`
	ID        string   `json:"jti"`
	Use       Use      `json:"token_use"`
	Grant     []string `json:"grant"`
	Roles     []string `json:"roles,omitempty"`
	Methods   []string `json:"amr,omitempty"`
}

// audience is one string or a list of them (RFC 7519, 4.1.3). It is written as a list.
type audience []string

// UnmarshalJSON reads either form.
func (a *audience) UnmarshalJSON(text []byte) error {
	if len(text) > 0 && text[0] == '[' {
		return json.Unmarshal(text, (*[]string)(a))
	}
	var one string
	if err := json.Unmarshal(text, &one); err != nil {
		return errors.New("aud is neither a string nor a list of them")
	}
	*a = audience{one}
	return nil
}

// refused is a token that proves nothing.
func refused(format string, args ...any) error {
	return fmt.Errorf("%w: token: %w", usr.ErrUnauthenticated, fmt.Errorf(format, args...))
}

// parts are the three parts of a compact token (RFC 7515, 7.1), decoded.
type parts struct{ header, payload, signature []byte }

// split takes a compact token apart. It looks at the size first, and accepts each value in one spelling only: no white space, no
// padding, no bits that nobody reads, for tokens are compared and remembered as text.
func split(compact string) (parts, error) {
	if len(compact) > MaxSize {
		return parts{}, refused("%d bytes, at most %d", len(compact), MaxSize)
	}
	texts := strings.Split(compact, ".")
	if len(texts) != 3 {
		return parts{}, refused("%d parts, want the three of a signed one", len(texts))
	}
	var decoded [3][]byte
	for i, text := range texts {
		if strings.ContainsAny(text, "\r\n") { // the decoder skips them
			return parts{}, refused("part %d has a line break in it", i+1)
		}
		var err error
		if decoded[i], err = base64.RawURLEncoding.Strict().DecodeString(text); err != nil {
			return parts{}, refused("part %d is not base64url: %w", i+1, err)
		}
	}
	return parts{decoded[0], decoded[1], decoded[2]}, nil
}

// readHeader reads the header, which may say nothing but what is expected.
func readHeader(text []byte) (header, error) {
	var words map[string]any
	if err := json.Unmarshal(text, &words); err != nil { // refuses names that are there twice, and what follows the object
		return header{}, refused("header: %w", err)
	}
	var h header
	for word, value := range words {
		text, ok := value.(string)
		switch word {
		case "alg":
			h.Algorithm = text
		case "kid":
			h.KeyID = text
		case "typ":
			h.Type = text
		default:
			return h, refused("header: %.32q has no business there", word)
		}
		if !ok {
			return h, refused("header: %s is no string", word)
		}
	}
	return h, nil
}

// Peek reads, without checking anything, which key a compact token names and whom it calls its issuer. It is for choosing who is to
// verify the token, and for nothing else. ok is false for what is not the compact form of a signed token.
func Peek(compact string) (keyID, issuer string, ok bool) {
	p, err := split(compact)
	if err != nil {
		return "", "", false
	}
	var h struct {
		KeyID string `json:"kid"`
	}
	var w struct {
		Issuer string `json:"iss"`
	}
	if json.Unmarshal(p.header, &h) != nil || json.Unmarshal(p.payload, &w) != nil {
		return "", "", false
	}
	return h.KeyID, w.Issuer, true
}

// Open verifies the signature of a compact token and reads its claims: everything that can be known from the token and the keys alone.
// The time, the issuer, the audience, the use and revocations are for [Service.Check].
func (k *KeySet) Open(compact string, now time.Time) (Claims, error) {
	p, err := split(compact)
	if err != nil {
		return Claims{}, err
	}
	h, err := readHeader(p.header)
	if err != nil {
		return Claims{}, err
	}
	// RFC 8725, 3.1: the key says which algorithm, and ours know one.
	if h.Algorithm != string(jose.EdDSA) {
		return Claims{}, refused("alg is %.16q, the keys are for %q", h.Algorithm, jose.EdDSA)
	}
	if h.Type != typeJWT {
		return Claims{}, refused("typ is %.16q, want %q", h.Type, typeJWT)
	}
	key, err := k.byID(h.KeyID, now)
	if err != nil {
		return Claims{}, err
	}
	// RFC 7515, 5.2, step 8: over the first two parts as they came. By hand: a library would parse all of it once more to get here, and what
	// is left to do for EdDSA (RFC 8037, 3.1) is this one call. It refuses an S that is not reduced (RFC 8032, 5.1.7).
	if !ed25519.Verify(key.Public, []byte(compact[:strings.LastIndexByte(compact, '.')]), p.signature) {
		return Claims{}, refused("the signature is not that of key %s", key.ID)
	}
	c, err := readClaims(p.payload)
	c.KeyID = key.ID
	return c, err
}

// readClaims reads the payload of a token whose signature is ours. Still it takes nothing for granted: a claim that has another form
// than we write is not one that we wrote.
func readClaims(payload []byte) (Claims, error) {
	var w wire
	if err := json.Unmarshal(payload, &w); err != nil { // refuses names that are there twice
		return Claims{}, refused("claims: %w", err)
	}
	if name := w.missing(); name != "" {
		return Claims{}, refused("claim %s is missing", name)
	}
	if err := CheckID(w.ID); err != nil {
		return Claims{}, refused("jti: %w", err)
	}
	grants, err := usr.ParseGrants(strings.Join(w.Grant, " "))
	if err != nil {
		return Claims{}, refused("claim grant: %w", err)
	}
	return Claims{
		ID: w.ID, Subject: w.Subject, Issuer: w.Issuer, Audience: w.Audience, Use: w.Use, Grants: grants, Roles: w.Roles,
		IssuedAt: time.Unix(*w.IssuedAt, 0).UTC(), NotBefore: time.Unix(*w.NotBefore, 0).UTC(), ExpiresAt: time.Unix(*w.ExpiresAt, 0).UTC(),
		Socket: len(w.Methods) == 1 && w.Methods[0] == methodSocket,
	}, nil
}

// missing names the first claim that a token must have and that is not there, "" for none.
func (w wire) missing() string {
	switch {
	case w.ExpiresAt == nil:
		return "exp"
	case w.IssuedAt == nil:
		return "iat"
	case w.NotBefore == nil:
		return "nbf"
	case w.Issuer == "":
		return "iss"
	case len(w.Audience) == 0:
		return "aud"
	case w.Subject == "":
		return "sub"
	case w.ID == "":
		return "jti"
	case w.Use == "":
		return "token_use"
	}
	return ""
}

// payload writes the claims as JSON.
func (c Claims) payload() ([]byte, error) {
	issued, begins, ends := c.IssuedAt.Unix(), c.NotBefore.Unix(), c.ExpiresAt.Unix()
	w := wire{
		Issuer: c.Issuer, Subject: c.Subject, Audience: c.Audience, IssuedAt: &issued, NotBefore: &begins, ExpiresAt: &ends,
		ID: c.ID, Use: c.Use, Grant: append([]string{}, c.Grants.Words()...), Roles: c.Roles,
	}
	if c.Socket {
		w.Methods = []string{methodSocket}
	}
	return json.Marshal(w)
}

// CheckID returns nil when id can be the id of a token: letters, digits, '-' and '_', at most 64.
func CheckID(id string) error {
	const most = 64
	if id == "" || len(id) > most {
		return fmt.Errorf("%w token id: %d characters, want 1 to %d", usr.ErrInvalid, len(id), most)
	}
	for i := range len(id) {
		switch c := id[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return fmt.Errorf("%w token id %q: want letters, digits, '-' and '_'", usr.ErrInvalid, id)
		}
	}
	return nil
}
