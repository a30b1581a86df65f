package console

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"omca/internal/wire"
	"omca/usr"
)

// grantsPage changes what a user holds.
type grantsPage struct {
	Name, Path  string
	Held        []meant
	Kept        []string // of Held
	Role, Scope string   // to be added
	Roles       []meant  // that can be given
	Mine        []meant  // grants of who changes them
	Service     []meant  // roles for other services
	Services    []string // of Service: those that the user has
	Wrong       map[string]string
}

// grantsOf reads what the user has now.
func (v *visit) grantsOf(name string) (p grantsPage, at string, err error) {
	p = grantsPage{Name: name, Path: usersPrefix + name, Service: serviceRoles(), Wrong: map[string]string{}, Mine: meaning(v.who.RawGrant)}
	if at, err = urlOf(p.Path); err != nil {
		return p, at, err
	}
	o, err := get[wire.ObjectItem](v, at, nil)
	if err != nil {
		return p, at, err
	}
	p.Held = meaning(o.Data.Keywords["grant"])
	for _, m := range p.Held {
		p.Kept = append(p.Kept, m.Word)
	}
	p.Services = strings.Fields(o.Data.Keywords["roles"])
	for _, role := range v.who.givable() {
		p.Roles = append(p.Roles, meant{role, means(usr.Role(role), "its namespaces")})
	}
	return p, at, nil
}

func (v *visit) showGrants(status int, p grantsPage) error {
	return v.show(status, "grants", "Grants of "+p.Name, "users", p)
}

func askGrants(v *visit) error {
	if err := v.identify(); err != nil {
		return err
	}
	p, _, err := v.grantsOf(v.r.PathValue("user"))
	if err != nil {
		return err
	}
	if err := v.needs("change", p.Path); err != nil {
		return err
	}
	return v.showGrants(http.StatusOK, p)
}

// setGrants stores the grants that were kept and the one that was added, and the
// roles for other services.
func setGrants(v *visit) error {
	form, err := v.form()
	if err != nil {
		return err
	}
	if err := v.identify(); err != nil {
		return err
	}
	p, at, err := v.grantsOf(v.r.PathValue("user"))
	if err != nil {
		return err
	}
	if err := v.needs("change", p.Path); err != nil {
		return err
	}
	before := map[string]string{"grant": strings.Join(p.Kept, " "), "roles": strings.Join(p.Services, " ")}
	p.Kept, p.Services = form["keep"], form["roles"]
	p.Role, p.Scope = form.Get("role"), strings.Join(strings.FieldsFunc(form.Get("scope"), func(r rune) bool { return r == ' ' || r == ',' }), ",")
	all := slices.Clone(p.Kept)
	switch {
	case p.Role != "" && p.Scope != "" && !scoped(p.Role):
		p.Wrong["grant"] = p.Role + " takes no namespace"
	case p.Role != "" && p.Scope != "":
		all = append(all, p.Role+":"+p.Scope)
	case p.Role != "":
		all = append(all, p.Role)
	case p.Scope != "":
		p.Wrong["grant"] = "choose the role that is to hold there"
	}
	after := map[string]string{"grant": words(strings.Join(all, " ")), "roles": strings.Join(p.Services, " ")}
	for keyword := range after {
		if after[keyword] == before[keyword] {
			delete(after, keyword)
		}
	}
	if len(p.Wrong) == 0 {
		if err := v.judge(p.Path, after, p.Wrong); err != nil {
			return err
		}
	}
	if len(p.Wrong) > 0 {
		return v.showGrants(http.StatusBadRequest, p)
	}
	if len(after) == 0 {
		return v.to("/users/" + url.PathEscape(p.Name) + "?done=same")
	}
	if _, err := v.change(http.MethodPatch, at+"/config", changes(after), nil); err != nil {
		if no, ok := problemOf(err); ok {
			p.Wrong["grant"] = no.Detail
			return v.showGrants(no.Status, p)
		}
		return err
	}
	return v.to("/users/" + url.PathEscape(p.Name) + "?done=saved")
}

// passwordPage sets the password of a user.
type passwordPage struct {
	Name, Wrong string
	Own         bool // by the user, who knows the one until now
}

func (v *visit) showPassword(status int, name, wrong string) error {
	own := v.who.InPerson && v.who.Name == name
	return v.show(status, "password", "Password of "+name, "users", passwordPage{name, wrong, own})
}

func askPassword(v *visit) error {
	if err := v.identify(); err != nil {
		return err
	}
	name := v.r.PathValue("user")
	if !v.who.InPerson || v.who.Name != name {
		if err := v.needs("change", usersPrefix+name); err != nil {
			return err
		}
	}
	return v.showPassword(http.StatusOK, name, "")
}

// setPassword changes the visitor's own password, or sets that of another user.
func setPassword(v *visit) error {
	form, err := v.form()
	if err != nil {
		return err
	}
	if err := v.identify(); err != nil {
		return err
	}
	name := v.r.PathValue("user")
	at, err := urlOf(usersPrefix + name)
	if err != nil {
		return err
	}
	if form.Get("password") == "" || form.Get("password") != form.Get("again") {
		return v.showPassword(http.StatusBadRequest, name, "Enter the new password twice.")
	}
	if v.who.InPerson && v.who.Name == name && form.Get("reset") == "" {
		var a *recorder
		if a, err = v.post("/api/auth/password", nil, wire.PasswordChange{Current: form.Get("current"), Password: form.Get("password")}); err == nil {
			// The session goes on with another secret.
			v.w.Header()["Set-Cookie"] = a.header["Set-Cookie"]
		}
	} else {
		err = v.putPassword(at, form.Get("password"))
	}
	if no, ok := problemOf(err); ok {
		return v.showPassword(no.Status, name, no.Detail)
	}
	if err != nil {
		return err
	}
	return v.to("/users/" + url.PathEscape(name) + "?done=password")
}

// putPassword sets the password of the user at an address, whatever it was.
func (v *visit) putPassword(at, password string) error {
	query := url.Values{"name": {"password"}}
	_, err := v.send(http.MethodPut, at+"/data/key", query, "application/octet-stream", []byte(password))
	if isRefused(err, http.StatusNotFound) { // it has none
		_, err = v.send(http.MethodPost, at+"/data/key", query, "application/octet-stream", []byte(password))
	}
	return err
}
