package console

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"omca/internal/wire"
)

type tokensPage struct {
	Subject, State string
	States         []string
	Items          []wire.TokenItem
	Next           string // address
	First          bool
	MayIssue       bool
}

// listTokens shows what is known of the tokens that the visitor may see.
func listTokens(v *visit) error {
	if err := v.identify(); err != nil {
		return err
	}
	asked := v.r.URL.Query()
	p := tokensPage{Subject: strings.TrimSpace(asked.Get("subject")), State: asked.Get("state"), States: []string{"valid", "expired", "revoked", "all"}, First: asked.Get("after") == ""}
	if p.State == "" {
		p.State = "valid"
	}
	query := url.Values{"limit": limit(pageSize)}
	for name, value := range map[string]string{"subject": p.Subject, "state": p.State, "after": asked.Get("after")} {
		if value != "" && value != "all" {
			query.Set(name, value)
		}
	}
	list, err := get[wire.TokenList](v, "/api/token", query)
	if err != nil {
		return err
	}
	p.Items, p.MayIssue = list.Items, v.who.InPerson || v.who.Root
	if list.Next != "" {
		p.Next = "/tokens?" + url.Values{"subject": {p.Subject}, "state": {p.State}, "after": {list.Next}}.Encode()
	}
	return v.show(http.StatusOK, "tokens", "Tokens", "tokens", p)
}

// tokenForm asks for a token.
type tokenForm struct {
	For, Subject, Duration, Scope string
	Roles                         []string
	Self                          string   // name of who asks
	Others                        bool     // may ask for others
	Kinds                         []meant  // what the visitor may ask for
	Held                          []string // roles of the visitor's grants
	Wrong, Hint                   string
}

// forAPI is a token for the API of the cluster; the others are profiles.
const forAPI = "api"

// tokenForm is the form with what the visitor may ask for.
func (v *visit) tokenForm() (tokenForm, error) {
	f := tokenForm{Self: v.who.Name, Others: v.who.Root, For: forAPI, Subject: v.who.Name}
	if v.who.InPerson && v.who.RawGrant != "" || v.who.Root {
		f.Kinds = append(f.Kinds, meant{forAPI, "this cluster: it says no more than its user holds"})
	}
	for role := range v.who.Grant {
		f.Held = append(f.Held, role)
	}
	slices.Sort(f.Held)
	var mine []string
	if v.who.InPerson {
		at, err := urlOf(v.who.Path())
		if err != nil {
			return f, err
		}
		me, err := get[wire.ObjectItem](v, at, nil)
		if err != nil {
			return f, err
		}
		mine = strings.Fields(me.Data.Keywords["roles"])
	}
	admin := v.who.Root || slices.Contains(mine, "admin")
	f.Others = admin
	if admin || slices.Contains(mine, "api") {
		f.Kinds = append(f.Kinds, meant{"clustercockpit", "the APIs of ClusterCockpit"}, meant{"cross-login", "the pages of ClusterCockpit, to sign in there"})
	}
	if admin {
		f.Kinds = append(f.Kinds, meant{"metric-store", "cc-metric-store, all of it"})
	}
	if len(f.Kinds) > 0 {
		f.For = f.Kinds[0].Word
	}
	return f, nil
}

func askToken(v *visit) error {
	if err := v.identify(); err != nil {
		return err
	}
	f, err := v.tokenForm()
	if err != nil {
		return err
	}
	if subject := v.r.URL.Query().Get("subject"); subject != "" && f.Others {
		f.Subject = subject
	}
	return v.show(http.StatusOK, "tokennew", "Issue a token", "tokens", f)
}

// issuedToken is a token as it is shown once.
type issuedToken struct {
	Token, For, Subject, Host string
	Roles                     []string
	ExpiresAt                 *time.Time // nil: never
}

// issueToken shows the token on its answer and nowhere else: the address holds
// nothing of it, and the page is not kept.
func issueToken(v *visit) error {
	form, err := v.form()
	if err != nil {
		return err
	}
	if err := v.identify(); err != nil {
		return err
	}
	f, err := v.tokenForm()
	if err != nil {
		return err
	}
	f.For, f.Duration, f.Scope, f.Roles = form.Get("for"), strings.TrimSpace(form.Get("duration")), strings.TrimSpace(form.Get("scope")), form["role"]
	if subject := strings.TrimSpace(form.Get("subject")); subject != "" {
		f.Subject = subject
	}
	made, err := v.askedToken(f)
	if no, ok := problemOf(err); ok {
		f.Wrong, f.Hint = no.Detail, no.Hint
		return v.show(no.Status, "tokennew", "Issue a token", "tokens", f)
	}
	if err != nil {
		return err
	}
	return v.show(http.StatusOK, "token", "The token", "tokens", made)
}

// askedToken has the API issue what a form asks for.
func (v *visit) askedToken(f tokenForm) (issuedToken, error) {
	made := issuedToken{For: f.For, Subject: f.Subject, Host: v.r.Host}
	if f.For != forAPI {
		a, err := v.post("/api/token/profile/"+url.PathEscape(f.For), nil, wire.ForeignTokenRequest{Subject: f.Subject, Duration: f.Duration})
		if err != nil {
			return made, err
		}
		t, err := read[wire.ForeignToken](a)
		made.Token, made.Roles, made.ExpiresAt = t.Token, t.Roles, t.ExpiresAt
		return made, err
	}
	query := url.Values{"role": f.Roles}
	for name, value := range map[string]string{"scope": f.Scope, "access_duration": f.Duration, "subject": f.Subject} {
		if value != "" {
			query.Set(name, value)
		}
	}
	a, err := v.post("/api/auth/token", query, nil)
	if err != nil {
		return made, err
	}
	t, err := read[wire.TokenPair](a)
	made.Token, made.ExpiresAt = t.AccessToken, &t.AccessExpiredAt
	return made, err
}

// revokeToken takes back one token, or all of a user.
func revokeToken(v *visit) error {
	form, err := v.form()
	if err != nil {
		return err
	}
	if id := form.Get("id"); id != "" {
		_, err = v.post("/api/token/"+url.PathEscape(id)+"/revoke", nil, nil)
	} else if subject := form.Get("subject"); subject != "" {
		_, err = v.post("/api/token/revoke", url.Values{"subject": {subject}}, nil)
	} else {
		return bad(http.StatusBadRequest, "no token was named")
	}
	if err != nil {
		return err
	}
	if user := form.Get("user"); user != "" {
		return v.to("/users/" + url.PathEscape(user) + "?done=token")
	}
	return v.to("/tokens?done=token")
}
