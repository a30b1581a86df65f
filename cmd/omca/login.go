package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"omca/internal/client"
	"omca/internal/hint"
	"omca/internal/openid/login"
	"omca/internal/remote"
	"omca/internal/wire"
)

// loginTime is how long a login waits for its person.
const loginTime = 10 * time.Minute

// loginVerbs are the verbs of the logins to saved servers.
func loginVerbs() []verb {
	return []verb{
		{
			name: "login", usage: "log in to a saved server, the one in use unless named: with a password, or at its OpenID issuer", args: "[NAME]", max: 1,
			flags: []cli.Flag{
				findFlag(globalFlags(), "user"), findFlag(globalFlags(), "password-file"),
				&cli.BoolFlag{Name: "device", Usage: "log in at the OpenID issuer with another device, by a code"},
				&cli.BoolFlag{Name: "no-browser", Usage: "show the address of the login, and open no browser"},
				&cli.StringSliceFlag{Name: "scope", Usage: "more `SCOPE` to ask the OpenID issuer for, such as offline_access"},
			},
			example: "omca context login prod\nomca context login prod --user alice\nomca context login prod --device",
			run:     loginContext,
		},
		{
			name: "logout", usage: "forget the tokens of a login, and have them taken back", args: "[NAME]", max: 1,
			example: "omca context logout prod", run: logoutContext,
		},
	}
}

// loginTo is the saved server that is named, or in use.
func (c *call) loginTo() (destination, error) {
	name := c.flags.Args().First()
	if name == "" {
		var err error
		if name, err = c.chosenName(c.global.String("context"), c.global.String("home")); err != nil {
			return destination{}, err
		}
	}
	if name == remote.Local {
		return destination{}, hint.With(usagef("there is no login to this machine: name a context"),
			"\"%s context ls\" lists them, \"%s context add NAME --server URL\" makes one", c.name, c.name)
	}
	found, err := c.lookup(name)
	d := destination{Context: found, name: name}
	c.where = &d
	return d, err
}

func loginContext(ctx context.Context, c *call) error {
	d, err := c.loginTo()
	switch {
	case err != nil:
		return err
	case d.CertFile != "":
		return hint.With(usagef("context %q calls with a certificate: there is nothing to log in to", d.name), "make another context without --cert")
	case d.TokenFile != "":
		return hint.With(usagef("context %q calls with the token in %s", d.name, d.TokenFile), "make another context without --token-file")
	}
	if user := c.given("user"); user != "" {
		d.User = user
	}
	if file := c.given("password-file"); file != "" {
		d.PasswordFile = file
	}
	ctx, cancel := context.WithTimeout(ctx, loginTime)
	defer cancel()
	var tokens remote.Tokens
	switch {
	case d.PasswordFile != "" && d.User == "":
		return usagef("--password-file needs --user: whose password it is")
	case d.User != "" && c.flags.Bool("device"):
		return usagef("both --device and a user with a password: one says who logs in")
	case d.User != "":
		tokens, err = c.loginByPassword(ctx, d)
	default:
		tokens, err = c.loginByOpenID(ctx, d)
	}
	if err != nil {
		return err
	}
	return c.keep(ctx, d, tokens)
}

// keep writes the tokens beside the contexts, once the server has said for whom it takes them.
func (c *call) keep(ctx context.Context, d destination, t remote.Tokens) error {
	r, err := c.reachAs(ctx, d, bearer(t.AccessToken))
	if err != nil {
		return err
	}
	who, err := r.client.Whoami(ctx)
	if err := errors.Join(err, r.close()); err != nil {
		if problem, ok := errors.AsType[*client.Error](err); ok && problem.Status == http.StatusUnauthorized && t.Issuer != "" {
			return hint.With(fmt.Errorf("%s does not take the token that %s gave", d.Server, t.Issuer),
				"the daemon's log says why; most often its audience lacks %q (docs/openid.md)", t.ClientID)
		}
		return err
	}
	if err := remote.WriteTokens(ctx, c.contexts().TokenFile(d.name), t); err != nil {
		return err
	}
	holds := who.RawGrant
	if holds == "" {
		holds = "nothing"
	}
	c.caution(fmt.Sprintf("logged in to %s as %s, who holds %s", d.name, who.Name, holds))
	return nil
}

func bearer(token string) func(context.Context, string) (string, error) {
	return func(context.Context, string) (string, error) { return "Bearer " + token, nil }
}

// reachAs reaches a server with something else to call with than its context says; nil: as nobody.
func (c *call) reachAs(ctx context.Context, d destination, authorization func(context.Context, string) (string, error)) (*reached, error) {
	transport, err := client.Network(ctx, client.NetworkConfig{Server: d.Server, CAFile: d.CAFile, CAFingerprint: d.CAFingerprint, Insecure: d.Insecure})
	if err != nil {
		return nil, err
	}
	return c.through(transport, d.Server, authorization, func() error { transport.CloseIdleConnections(); return nil })
}

// loginByPassword exchanges the password of a user for tokens. It is asked for once, and kept nowhere.
func (c *call) loginByPassword(ctx context.Context, d destination) (remote.Tokens, error) {
	if d.Insecure {
		c.caution("the server is not verified (--insecure): whoever answers gets the password")
	}
	r, err := c.reachAs(ctx, d, c.basic(d))
	if err != nil {
		return remote.Tokens{}, err
	}
	t, err := r.client.IssueToken(ctx, client.TokenRequest{Refresh: true})
	if err := errors.Join(err, r.close()); err != nil {
		if problem, ok := errors.AsType[*client.Error](err); ok && problem.Status == http.StatusUnauthorized {
			err = hint.With(err, "the name or the password is wrong, or the user may not log in from here")
		}
		return remote.Tokens{}, err
	}
	return remote.Tokens{
		AccessToken: t.AccessToken, AccessExpiredAt: t.AccessExpiredAt, RefreshToken: t.RefreshToken, RefreshExpiredAt: timeOf(t.RefreshExpiredAt),
	}, nil
}

// loginByOpenID has the person log in at the issuer that the server names.
func (c *call) loginByOpenID(ctx context.Context, d destination) (remote.Tokens, error) {
	r, err := c.reachAs(ctx, d, nil)
	if err != nil {
		return remote.Tokens{}, err
	}
	info, err := r.client.AuthInfo(ctx)
	if err := errors.Join(err, r.close()); err != nil {
		return remote.Tokens{}, err
	}
	if info.OpenID == nil {
		return remote.Tokens{}, hint.With(fmt.Errorf("%s takes no OpenID tokens now, it takes: %s", d.Server, strings.Join(info.Methods, ", ")),
			"log in with a password: --user NAME")
	}
	flow, err := login.Discover(ctx, login.Config{
		Issuer: info.OpenID.Issuer, ClientID: info.OpenID.ClientID, Scopes: append([]string{"profile", "email"}, c.flags.StringSlice("scope")...), Now: c.now,
	})
	if err != nil {
		return remote.Tokens{}, err
	}
	var t login.Tokens
	switch {
	case c.flags.Bool("device") && !flow.HasDevice():
		return remote.Tokens{}, hint.With(fmt.Errorf("%s has no login by device", info.OpenID.Issuer), "leave --device out")
	case c.flags.Bool("device"), !flow.HasBrowser():
		t, err = flow.Device(ctx, c.showCode)
	default:
		t, err = flow.Browser(ctx, c.showAddress)
	}
	if err != nil {
		return remote.Tokens{}, err
	}
	return remote.Tokens{
		AccessToken: t.Bearer, AccessExpiredAt: t.ExpiresAt, RefreshToken: t.Refresh, Issuer: info.OpenID.Issuer, ClientID: info.OpenID.ClientID,
	}, nil
}

// showCode tells the person what to type at another device.
func (c *call) showCode(code login.Code) {
	c.say("open %s on any device, and type the code %s\n", code.Address, code.UserCode)
	if code.Complete != "" {
		c.say("or open %s\n", code.Complete)
	}
}

// showAddress tells the person where to log in, and opens a browser there when there is one to see.
func (c *call) showAddress(address string) {
	c.say("log in at %s\n", address)
	if !isTerminal(c.stderr) || c.flags.Bool("no-browser") {
		return
	}
	command := c.browser()
	if command == nil {
		return
	}
	opened := exec.Command(command[0], append(command[1:], address)...)
	if err := opened.Start(); err != nil {
		c.caution(fmt.Sprintf("no browser was opened: %s", err))
		return
	}
	go func() { _ = opened.Wait() }() // the person sees whether it opened
}

// browser is the command that opens a browser, nil when there is none to be seen from here.
func (p *program) browser() []string {
	switch {
	case p.getenv("BROWSER") != "":
		return []string{p.getenv("BROWSER")}
	case p.getenv("SSH_CONNECTION") != "":
		return nil
	case runtime.GOOS == "darwin":
		return []string{"open"}
	case p.getenv("DISPLAY") != "", p.getenv("WAYLAND_DISPLAY") != "":
		return []string{"xdg-open"}
	}
	return nil
}

// renewOpenID renews the tokens of an issuer.
func (c *call) renewOpenID(ctx context.Context, t remote.Tokens) (remote.Tokens, error) {
	flow, err := login.Discover(ctx, login.Config{Issuer: t.Issuer, ClientID: t.ClientID, Now: c.now})
	if err != nil {
		return remote.Tokens{}, err
	}
	next, err := flow.Refresh(ctx, t.RefreshToken)
	return remote.Tokens{AccessToken: next.Bearer, AccessExpiredAt: next.ExpiresAt, RefreshToken: next.Refresh}, err
}

// logoutContext forgets the tokens whether or not who gave them can be told to take them back.
func logoutContext(ctx context.Context, c *call) error {
	d, err := c.loginTo()
	if err != nil {
		return err
	}
	dir := c.contexts()
	file := dir.TokenFile(d.name)
	if !c.loggedIn(file) {
		return hint.With(fmt.Errorf("context %q: the tokens of a login: %w", d.name, errNotFound), "there is nothing to forget")
	}
	t, err := remote.ReadTokens(file)
	if err == nil {
		err = c.takeBack(ctx, d, t)
	}
	if err != nil {
		c.caution(fmt.Sprintf("the tokens are forgotten here, and may be good until they expire: %s", err))
	}
	return dir.Forget(d.name)
}

// takeBack has whoever gave the tokens revoke them.
func (c *call) takeBack(ctx context.Context, d destination, t remote.Tokens) error {
	if t.Issuer != "" {
		if t.RefreshToken == "" {
			return errors.New("an access token of an issuer cannot be taken back")
		}
		flow, err := login.Discover(ctx, login.Config{Issuer: t.Issuer, ClientID: t.ClientID, Now: c.now})
		if err != nil {
			return err
		}
		return flow.Revoke(ctx, t.RefreshToken)
	}
	transport, err := client.Network(ctx, client.NetworkConfig{Server: d.Server, CAFile: d.CAFile, CAFingerprint: d.CAFingerprint, Insecure: d.Insecure})
	if err != nil {
		return err
	}
	session := &remote.Session{File: c.contexts().TokenFile(d.name), Now: c.now, Renew: c.renewer(d, transport)}
	r, err := c.through(transport, d.Server, session.Authorization, func() error { transport.CloseIdleConnections(); return nil })
	if err != nil {
		return err
	}
	if t.RefreshToken != "" { // the access token last: it is who asks
		_, err = r.client.RevokeToken(ctx, tokenID(t.RefreshToken))
	}
	if err == nil {
		if now, failed := remote.ReadTokens(session.File); failed == nil { // it may have been renewed for this
			t = now
		}
		_, err = r.client.RevokeToken(ctx, tokenID(t.AccessToken))
	}
	return errors.Join(err, r.close())
}

// tokenID is the id by which the server knows a token: its jti.
func tokenID(token string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return ""
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var claims struct {
		ID string `json:"jti"`
	}
	if json.Unmarshal(text, &claims) != nil {
		return ""
	}
	return claims.ID
}

// openidColumns say in the status of a daemon how its issuer is doing.
func openidColumns() []column[wire.Status] {
	type s = wire.Status
	return []column[s]{
		{name: "OPENID ISSUER", text: func(s s) string {
			if s.OpenID == nil {
				return ""
			}
			return s.OpenID.Issuer
		}},
		{name: "OPENID", text: func(s s) string {
			switch o := s.OpenID; {
			case o == nil:
				return ""
			case o.Usable && o.Reachable:
				return "usable"
			case o.Usable:
				return fmt.Sprintf("usable with its last keys, away since %s: %s", instant(o.Since), o.LastError)
			case o.LastError != "":
				return fmt.Sprintf("not usable since %s: %s", instant(o.Since), o.LastError)
			}
			return "not usable yet"
		}},
	}
}
