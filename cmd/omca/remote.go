package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"omca/internal/client"
	"omca/internal/hint"
	"omca/internal/remote"
)

// destination is what the flags, the environment and the saved contexts say about where to call, and as whom.
type destination struct {
	remote.Context        // without a server: this machine
	name           string // of the context that it was made of; "" for none
	token          string // given by itself
}

// isLocal tells whether the daemon of this machine is meant, or its store.
func (d destination) isLocal() bool { return d.Server == "" }

// contexts is the directory of the saved contexts, "" when the environment names none.
func (p *program) contexts() remote.Dir {
	if dir := p.getenv("XDG_CONFIG_HOME"); filepath.IsAbs(dir) { // one that is not absolute does not count (XDG Base Directory)
		return remote.Dir(filepath.Join(dir, "omca"))
	}
	if dir := p.getenv("HOME"); dir != "" {
		return remote.Dir(filepath.Join(dir, ".config/omca"))
	}
	return ""
}

// destination finds out where to call: flags, else --context, else OMCA_CONTEXT, else the current context, else this machine.
func (c *call) destination() (destination, error) {
	if c.where != nil {
		return *c.where, nil
	}
	server, name, home := c.global.String("server"), c.global.String("context"), c.global.String("home")
	switch {
	case server != "" && name != "":
		return destination{}, usagef("both --server and --context: one says where to call")
	case home != "" && (server != "" || name != "" && name != remote.Local):
		return destination{}, usagef("--home is this machine's, and --server and --context are for others")
	}
	d := destination{Context: remote.Context{Server: server}}
	if server == "" {
		var err error
		if d, err = c.chosen(); err != nil {
			return d, err
		}
	}
	err := c.override(&d)
	if err == nil {
		c.where = &d
	}
	return d, err
}

// chosen is the context that counts when no server is named.
func (p *program) chosenName(flag, home string) (name string, err error) {
	if flag != "" {
		return flag, nil
	}
	if home != "" {
		return remote.Local, nil
	}
	if name := p.getenv("OMCA_CONTEXT"); name != "" {
		return name, nil
	}
	dir := p.contexts()
	if p.getenv("OMCA_HOME") != "" || dir == "" {
		return remote.Local, nil
	}
	book, err := dir.Load()
	if err != nil || book.Current == "" {
		return remote.Local, err
	}
	return book.Current, nil
}

func (c *call) chosen() (destination, error) {
	name, err := c.chosenName(c.global.String("context"), c.global.String("home"))
	if err != nil || name == remote.Local {
		return destination{}, err
	}
	found, err := c.lookup(name)
	return destination{Context: found, name: name}, err
}

// lookup returns a saved context.
func (p *program) lookup(name string) (remote.Context, error) {
	dir := p.contexts()
	if dir == "" {
		return remote.Context{}, errNoConfigDir()
	}
	book, err := dir.Load()
	if err != nil {
		return remote.Context{}, err
	}
	return book.Lookup(name)
}

func errNoConfigDir() error {
	return hint.With(errors.New("no directory for contexts"), "say which with XDG_CONFIG_HOME or HOME")
}

// override puts what was given by flags in place of what the context says.
func (c *call) override(d *destination) error {
	g := c.global
	for _, name := range []string{"cert", "key", "token", "token-file", "user", "password-file", "ca", "ca-fingerprint", "insecure"} {
		if d.isLocal() && g.IsSet(name) {
			return usagef("--%s is for a remote server: give --server or --context too", name)
		}
	}
	if d.isLocal() {
		return nil
	}
	given := remote.Context{
		CertFile: g.String("cert"), KeyFile: g.String("key"), TokenFile: g.String("token-file"), User: g.String("user"),
	}
	d.token = g.String("token")
	if d.token != "" && given.TokenFile != "" {
		return usagef("both --token and --token-file")
	}
	ways := given.Ways()
	if d.token != "" {
		ways = append(ways, "token")
	}
	switch {
	case len(ways) > 1:
		return usagef("--%s: one says who calls", strings.ReplaceAll(strings.Join(ways, " and --"), "_", "-"))
	case len(ways) == 1 || given.KeyFile != "":
		d.CertFile, d.KeyFile, d.TokenFile, d.User, d.PasswordFile = given.CertFile, given.KeyFile, given.TokenFile, given.User, ""
	case c.getenv("OMCA_TOKEN") != "" && !g.IsSet("password-file"):
		d.token = c.getenv("OMCA_TOKEN")
		d.CertFile, d.KeyFile, d.TokenFile, d.User, d.PasswordFile = "", "", "", "", ""
	}
	if file := g.String("password-file"); file != "" {
		if d.User == "" {
			return usagef("--password-file needs --user: whose password it is")
		}
		d.PasswordFile = file
	}
	return c.overrideTrust(d)
}

// overrideTrust does the same for how to know the server.
func (c *call) overrideTrust(d *destination) error {
	file, sum := c.global.String("ca"), c.global.String("ca-fingerprint")
	if file != "" && sum != "" {
		return usagef("both --ca and --ca-fingerprint")
	}
	if file != "" || sum != "" {
		d.CAFile, d.CAFingerprint = file, sum
	}
	if c.global.IsSet("insecure") {
		d.Insecure = c.global.Bool("insecure")
	}
	return nil
}

// reachServer reaches a server on the network. Nothing is sent that proves who calls before the first call is made.
func (c *call) reachServer(ctx context.Context, d destination) (*reached, error) {
	if _, err := client.ParseServer(d.Server); err != nil {
		return nil, usagef("%s", err)
	}
	transport, err := client.Network(ctx, client.NetworkConfig{
		Server: d.Server, CertFile: d.CertFile, KeyFile: d.KeyFile,
		CAFile: d.CAFile, CAFingerprint: d.CAFingerprint, Insecure: d.Insecure,
	})
	if err != nil {
		return nil, err
	}
	if c.authorize == nil { // once: a password is not asked for again
		if c.authorize, err = c.authorization(ctx, d, transport); err != nil {
			return nil, err
		}
		if c.authorize != nil && d.Insecure {
			c.caution("the server is not verified (--insecure): whoever answers gets what you call with")
		}
	}
	return c.through(transport, d.Server, c.authorize, func() error { transport.CloseIdleConnections(); return nil })
}

// caution says what the operator should know, unless they want to hear nothing.
func (c *call) caution(text string) {
	if !c.global.Bool("quiet") {
		c.notice(text)
	}
}

// authorization is what gives each call its Authorization header; nil when none is needed.
func (c *call) authorization(ctx context.Context, d destination, transport http.RoundTripper) (func(context.Context, string) (string, error), error) {
	if d.token != "" {
		if c.global.IsSet("token") {
			c.caution("--token shows the token to everybody who may list processes: give it with --token-file or OMCA_TOKEN")
		}
		return fixed(remote.ParseTokens([]byte(d.token)))
	}
	file, saved := d.TokenFile, c.contexts().TokenFile(d.name)
	if file == "" && d.name != "" && d.CertFile == "" && d.PasswordFile == "" && !c.global.IsSet("user") && c.loggedIn(saved) {
		file = saved
	}
	switch {
	case file == "-":
		text, err := c.takeStdin(ctx, "the token")
		if err != nil {
			return nil, err
		}
		return fixed(remote.ParseTokens(text))
	case file != "":
		s := &remote.Session{File: file, Now: c.now, Renew: c.renewer(d, transport)}
		return s.Authorization, nil
	case d.User != "":
		return c.basic(d), nil
	}
	return nil, nil
}

// fixed calls with a token that cannot be renewed.
func fixed(t remote.Tokens, err error) (func(context.Context, string) (string, error), error) {
	if err != nil {
		return nil, fmt.Errorf("the token given: %w", err)
	}
	return func(context.Context, string) (string, error) { return "Bearer " + t.AccessToken, nil }, nil
}

// loggedIn tells whether a login left tokens there. Whether they can be read is for whoever uses them to say.
func (c *call) loggedIn(file string) bool {
	_, err := os.Stat(file)
	return !errors.Is(err, fs.ErrNotExist)
}

// renewer renews the tokens of the server itself.
func (c *call) renewer(d destination, transport http.RoundTripper) func(context.Context, remote.Tokens) (remote.Tokens, error) {
	return func(ctx context.Context, t remote.Tokens) (remote.Tokens, error) {
		if t.Issuer != "" {
			return c.renewOpenID(ctx, t)
		}
		api, err := client.New(client.Config{Transport: transport, Server: d.Server})
		if err != nil {
			return remote.Tokens{}, err
		}
		r, err := api.Refresh(ctx, t.RefreshToken)
		return remote.Tokens{
			AccessToken: r.AccessToken, AccessExpiredAt: r.AccessExpiredAt, RefreshToken: r.RefreshToken, RefreshExpiredAt: timeOf(r.RefreshExpiredAt),
		}, err
	}
}

// basic calls with the name and the password of a user, which is read when the first call is made.
func (c *call) basic(d destination) func(context.Context, string) (string, error) {
	header := ""
	return func(ctx context.Context, refused string) (string, error) {
		if header != "" {
			return header, nil
		}
		if strings.ContainsRune(d.User, ':') { // RFC 7617, section 2: it would end there
			return "", usagef("--user %q: a name has no colon", d.User)
		}
		password, err := c.passwordOf(ctx, d)
		if err != nil {
			return "", err
		}
		header = "Basic " + base64.StdEncoding.EncodeToString([]byte(d.User+":"+password))
		return header, nil
	}
}

// passwordOf reads the password of the user, or asks for it.
func (c *call) passwordOf(ctx context.Context, d destination) (string, error) {
	var text []byte
	var err error
	switch {
	case d.PasswordFile == "-":
		text, err = c.takeStdin(ctx, "the password")
	case d.PasswordFile != "":
		text, err = remote.ReadSecret(d.PasswordFile)
	case c.silent || !isTerminal(c.stdin):
		return "", hint.With(fmt.Errorf("no terminal to ask the password of %q on", d.User), "give it with --password-file FILE, or - for standard input")
	default:
		return c.askPassword(ctx, fmt.Sprintf("password of %s on %s", d.User, d.Server))
	}
	password := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	if err == nil && password == "" {
		err = errors.New("the password is empty")
	}
	return password, err
}

// takeStdin reads standard input to its end, which can be done once.
func (p *program) takeStdin(ctx context.Context, what string) ([]byte, error) {
	if p.stdinTaken {
		return nil, usagef("standard input cannot be %s and something else too", what)
	}
	return p.readSource(ctx, "-", maxRequest)
}

// explained adds what to do about a call that was not taken for anybody's.
func (c *call) explained(err error) error {
	var problem *client.Error
	switch {
	case err == nil || c.where == nil || c.where.isLocal() || hint.Of(err) != "":
		return err
	case !errors.As(err, &problem) || problem.Status != http.StatusUnauthorized || problem.Hint != "":
		return err
	case c.where.name != "" && c.where.CertFile == "" && c.where.token == "":
		return hint.With(err, "log in: \"%s context login\"", c.name)
	}
	return hint.With(err, "say who you are, with what is valid there: --cert and --key, --token-file, or --user")
}
