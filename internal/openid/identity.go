package openid

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"omca/usr"
)

// Prefix begins the name of everybody whom an issuer names. No user of the cluster has a name with a colon.
const Prefix = "openid:"

const (
	maxSubject = 255 // characters: OpenID Connect Core 1.0, section 2
	maxStrange = 64  // words that the log is told of
)

// Identity is whom a token speaks for.
type Identity struct {
	Name    string // Prefix and what the issuer calls them, such as "openid:alice@mycorp"
	Subject string // the claim sub: the only name that the issuer never gives to somebody else
	Grants  usr.Grants
	Expires time.Time // of the token
}

// identity reads whom verified claims name, and what they grant.
func (p *provider) identity(c claims) (Identity, error) {
	subject, err := c.text("sub")
	if err != nil {
		return Identity{}, err
	}
	name, err := c.name(subject)
	if err != nil {
		return Identity{}, err
	}
	expires, err := c.time("exp")
	if err != nil {
		return Identity{}, err
	}
	grants, strange, err := c.grants(p.GrantClaim, "entitlements")
	if err != nil {
		return Identity{}, err
	}
	p.passedOver(name, strange)
	return Identity{Name: Prefix + name, Subject: subject, Grants: grants, Expires: expires}, nil
}

// name returns the first of the names of a person that can be shown anywhere: in a header, a log, a table. An address counts when the
// issuer has verified it.
func (c claims) name(subject string) (string, error) {
	var candidates []string
	if name, err := c.text("preferred_username"); err == nil {
		candidates = append(candidates, name)
	}
	if email, err := c.text("email"); err == nil && string(c["email_verified"]) == "true" {
		candidates = append(candidates, email)
	}
	candidates = append(candidates, subject)
	i := slices.IndexFunc(candidates, presentable)
	if i < 0 {
		return "", errors.New("it has no name that can be shown: want letters, digits and . _ - + @ : / | # = ~, at most 255")
	}
	return candidates[i], nil
}

// presentable tells whether a name looks like what it is, everywhere: no white space, no quotes, no letters that look like others.
func presentable(name string) bool {
	if name == "" || len(name) > maxSubject {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("._-+@:/|#=~", r))
	})
}

// grants returns what the claims of those names grant, each a string or an array of strings with words as docs/authorization.md writes
// them, and the words that were passed over. A claim may be there for others too, so a word that is no grant is no error: a grant less
// gives nobody more. Errors: more grants than anybody may hold.
func (c claims) grants(names ...string) (usr.Grants, []string, error) {
	var taken, strange []string
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			continue
		}
		for _, word := range c.words(name) {
			switch {
			case !grantable(word):
				strange = append(strange, word)
			case !slices.Contains(taken, word):
				taken = append(taken, word)
			}
		}
	}
	grants, err := usr.ParseGrants(strings.Join(taken, " "))
	return grants, strange, err
}

// words returns the words of a claim; one of another type has none.
func (c claims) words(name string) []string {
	var text string
	if json.Unmarshal(c[name], &text) == nil {
		return strings.Fields(text)
	}
	var all []any
	if json.Unmarshal(c[name], &all) != nil {
		return nil
	}
	var words []string
	for _, one := range all {
		if text, ok := one.(string); ok {
			words = append(words, strings.Fields(text)...)
		} else {
			words = append(words, fmt.Sprint(one))
		}
	}
	return words
}

// grantable tells whether a word is a grant that an issuer can give. Whoever runs the issuer could give it to themselves, so what leads to
// the keys of the CA is not: root, and the roles that let a machine in or out of the cluster.
func grantable(word string) bool {
	g, err := usr.ParseGrants(word)
	return err == nil && !slices.ContainsFunc(
		[]usr.Role{usr.RoleRoot, usr.RoleJoin, usr.RoleLeave, usr.RoleHeartbeat},
		func(r usr.Role) bool { return g.Has(r, "") })
}

// passedOver logs each word that gives nothing once.
func (p *provider) passedOver(name string, words []string) {
	p.v.mu.Lock()
	defer p.v.mu.Unlock()
	for _, word := range words {
		word = Printable(word)
		if p.strange[word] || len(p.strange) == maxStrange {
			continue
		}
		p.strange[word] = true
		p.v.cfg.Log.LogAttrs(p.ctx, slog.LevelWarn, "openid grant passed over", slog.String("grant", word), slog.String("first_seen_for", Prefix+name), slog.String("issuer", p.Issuer))
	}
}
