package console

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"omca/internal/wire"
)

const usersPrefix = "system/usr/"

type usersPage struct {
	Search string
	List   objectList
	Next   string // address
	MayAdd bool
	Wrong  string
}

// listUsers shows the users that the visitor may read.
func listUsers(v *visit) error {
	if err := v.identify(); err != nil {
		return err
	}
	p := usersPage{Search: strings.TrimSpace(v.r.URL.Query().Get("search"))}
	if err := v.allowed(&p.MayAdd, "create", usersPrefix+"new"); err != nil {
		return err
	}
	pattern, ok := glob(p.Search)
	if ok {
		var err error
		if p.List, err = v.objects(usersPrefix+pattern, v.r.URL.Query().Get("after")); err != nil {
			return err
		}
	} else {
		p.Wrong = "Names are of lower-case letters, digits, dots and hyphens: no user is called so."
	}
	if p.List.Next != "" {
		p.Next = "/users?" + url.Values{"search": {p.Search}, "after": {p.List.Next}}.Encode()
	}
	return v.show(http.StatusOK, "users", "Users", "users", p)
}

// userForm is what makes a user.
type userForm struct {
	Name, Grants, Names string
	Roles               []string
	Choices             []meant // of Roles
	Mine                []meant // grants of who fills it in: those can be given
	Wrong               map[string]string
}

func askUser(v *visit) error {
	if err := v.identify(); err != nil {
		return err
	}
	if err := v.needs("create", usersPrefix+"new"); err != nil {
		return err
	}
	return v.showUserForm(http.StatusOK, userForm{})
}

func (v *visit) showUserForm(status int, f userForm) error {
	f.Choices, f.Mine = serviceRoles(), meaning(v.who.RawGrant)
	return v.show(status, "usernew", "Add a user", "users", f)
}

// addUser makes a user with its certificate, and then its password: who has
// none signs in with the certificate.
func addUser(v *visit) error {
	form, err := v.form()
	if err != nil {
		return err
	}
	if err := v.identify(); err != nil {
		return err
	}
	if err := v.needs("create", usersPrefix+"new"); err != nil {
		return err
	}
	f := userForm{Name: strings.TrimSpace(form.Get("name")), Grants: words(form.Get("grant")), Names: words(form.Get("names")), Roles: form["roles"], Wrong: map[string]string{}}
	keywords := map[string]string{"grant": f.Grants, "names": f.Names, "roles": strings.Join(f.Roles, " ")}
	path := usersPrefix + f.Name
	at, err := urlOf(path)
	if err != nil || f.Name == "" {
		f.Wrong["name"] = "A user has a name."
		return v.showUserForm(http.StatusBadRequest, f)
	}
	if form.Get("password") != form.Get("again") {
		f.Wrong["password"] = "The two passwords differ."
	}
	if _, err := get[wire.ObjectItem](v, at, nil); err == nil {
		f.Wrong["name"] = "There is a user of that name."
	} else if p, ok := problemOf(err); ok && p.Status == http.StatusBadRequest {
		f.Wrong["name"] = p.Detail
	} else if !isRefused(err, http.StatusNotFound, http.StatusForbidden) {
		return err
	}
	if len(f.Wrong) == 0 {
		if err := v.judge(path, keywords, f.Wrong); err != nil {
			return err
		}
	}
	if len(f.Wrong) > 0 {
		return v.showUserForm(http.StatusBadRequest, f)
	}
	if _, err := v.post(at, nil, wire.CreateRequest{Keywords: expressions(keywords)}); err != nil {
		return err
	}
	if form.Get("password") == "" {
		return v.to("/users/" + f.Name + "?done=added")
	}
	if err := v.putPassword(at, form.Get("password")); err != nil {
		if p, ok := problemOf(err); ok {
			return v.showPassword(p.Status, f.Name, "The user is there, and has no password yet: "+p.Detail)
		}
		return err
	}
	return v.to("/users/" + f.Name + "?done=added")
}

// expressions set keywords, and leave out those without a value.
func expressions(keywords map[string]string) []string {
	var all []string
	for keyword, value := range keywords {
		if value != "" {
			all = append(all, keyword+"="+value)
		}
	}
	slices.Sort(all)
	return all
}

// words is a text as the words in it.
func words(text string) string { return strings.Join(strings.Fields(text), " ") }

type userPage struct {
	Name, Path   string
	Object       wire.ObjectItem
	Grants       []meant
	Roles        string
	Disabled     bool
	Self         bool // who looks is the user, in person
	MayChange    bool
	Certificates []wire.Record
	Sessions     []wire.SessionItem
	MayEnd       bool // sessions and tokens
	Tokens       []wire.TokenItem
	LockedOut    bool
}

// showUser shows a user with what it holds: certificates, sessions, tokens.
func showUser(v *visit) error {
	if err := v.identify(); err != nil {
		return err
	}
	name := v.r.PathValue("user")
	p := userPage{Name: name, Path: usersPrefix + name}
	at, err := urlOf(p.Path)
	if err != nil {
		return err
	}
	if p.Object, err = get[wire.ObjectItem](v, at, nil); err != nil {
		return err
	}
	p.Self = v.who.InPerson && v.who.Name == name
	p.Grants, p.Roles = meaning(p.Object.Data.Keywords["grant"]), p.Object.Data.Keywords["roles"]
	p.Disabled = p.Object.Data.Keywords["disabled"] == "true"
	if err := v.allowed(&p.MayChange, "change", p.Path); err != nil {
		return err
	}
	if err := v.allowed(&p.MayEnd, "revoke", p.Path); err != nil {
		return err
	}
	if err := p.holdings(v); err != nil {
		return err
	}
	return v.show(http.StatusOK, "user", name, "users", p)
}

// holdings reads what the user holds, as far as the visitor may see it.
func (p *userPage) holdings(v *visit) error {
	const few = 20
	all, err := get[wire.CertificateList](v, "/api/certificate", url.Values{"owner": {p.Path}, "state": {"valid"}, "limit": limit(few)})
	if err != nil {
		return err
	}
	p.Certificates = all.Items
	if p.MayEnd {
		sessions, err := get[wire.SessionList](v, "/api/session", url.Values{"user": {p.Name}})
		if err != nil && !isRefused(err, http.StatusForbidden) {
			return err
		}
		p.Sessions = sessions.Items
	}
	tokens, err := get[wire.TokenList](v, "/api/token", url.Values{"subject": {p.Name}, "state": {"valid"}, "limit": limit(few)})
	if err != nil && !isRefused(err, http.StatusForbidden) {
		return err
	}
	p.Tokens = tokens.Items
	return nil
}

// endSessions ends one session of a user, or all of them.
func endSessions(v *visit) error {
	form, err := v.form()
	if err != nil {
		return err
	}
	name := v.r.PathValue("user")
	if id := form.Get("id"); id != "" {
		_, err = v.post("/api/session/"+url.PathEscape(id)+"/revoke", nil, nil)
	} else {
		_, err = v.post("/api/session/revoke", url.Values{"user": {name}}, nil)
	}
	if err != nil {
		return err
	}
	return v.to("/users/" + url.PathEscape(name) + "?done=ended")
}

// setState disables a user, or enables it again.
func setState(v *visit) error {
	form, err := v.form()
	if err != nil {
		return err
	}
	name := v.r.PathValue("user")
	at, err := urlOf(usersPrefix + name)
	if err != nil {
		return err
	}
	query, done := url.Values{"set": {"disabled=true"}}, "disabled"
	switch form.Get("state") {
	case "disabled":
	case "enabled":
		query, done = url.Values{"unset": {"disabled"}}, "enabled"
	default:
		return bad(http.StatusBadRequest, "a user is disabled or enabled")
	}
	if _, err := v.change(http.MethodPatch, at+"/config", query, nil); err != nil {
		return err
	}
	return v.to("/users/" + url.PathEscape(name) + "?done=" + done)
}

// unlockUser forgets the attempts to guess the password of a user.
func unlockUser(v *visit) error {
	if _, err := v.form(); err != nil {
		return err
	}
	name := v.r.PathValue("user")
	at, err := urlOf(usersPrefix + name)
	if err != nil {
		return err
	}
	if _, err := v.post(at+"/action/unlock", nil, nil); err != nil {
		return err
	}
	return v.to("/users/" + url.PathEscape(name) + "?done=unlocked")
}
