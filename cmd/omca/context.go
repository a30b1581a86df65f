package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"omca/internal/hint"
	"omca/internal/remote"
)

// contextGroup are the verbs of the saved servers.
func (p *program) contextGroup() *cli.Command {
	return group("context", "servers elsewhere, saved under a name", p.commands("", append([]verb{
		{
			name: "add", usage: "save a server, how to know it and how to call it", args: "NAME", min: 1, max: 1,
			flags:   contextFlags(),
			example: "omca context add prod --server https://node1:1215 --ca ca.crt --user alice\nomca context add prod --force --server https://vip:1215 --ca-fingerprint 1f…9c --cert root.crt --key root.key",
			run:     addContext,
		},
		{
			name: "use", usage: "call this server from now on; local is this machine", args: "NAME", min: 1, max: 1,
			example: "omca context use prod\nomca context use local", run: useContext,
		},
		{name: "ls", aliases: []string{"list"}, usage: "list the saved servers; the one in use has a star", example: "omca context ls", run: listContexts},
		{
			name: "show", usage: "what is saved of a server: the one in use unless named", args: "[NAME]", max: 1,
			example: "omca context show prod", run: showContext,
		},
		{
			name: "rm", aliases: []string{"remove"}, usage: "forget a server, and the tokens of a login to it", args: "NAME", min: 1, max: 1,
			example: "omca context rm prod", run: removeContext,
		},
	}, loginVerbs()...))...)
}

// contextFlags are the flags of a context: those of the program that say where to call, and as whom, in their own right.
func contextFlags() []cli.Flag {
	var flags []cli.Flag
	for _, name := range []string{"server", "ca", "ca-fingerprint", "insecure", "cert", "key", "token-file", "user", "password-file"} {
		flags = append(flags, findFlag(globalFlags(), name))
	}
	return append(flags,
		&cli.BoolFlag{Name: "use", Usage: "call it from now on"},
		&cli.BoolFlag{Name: "force", Usage: "replace the context of that name"},
	)
}

// given is the value of a flag, which may stand before the command as well.
func (c *call) given(name string) string {
	if value := c.flags.String(name); value != "" {
		return value
	}
	return c.global.String(name)
}

// givenFile is a file named by a flag, as an absolute path: a context is used from other directories.
func (c *call) givenFile(name string) (string, error) {
	file := c.given(name)
	if file == "" {
		return "", nil
	}
	if file == "-" {
		return "", usagef("--%s -: a context is read more than once, so it takes a file", name)
	}
	file, err := filepath.Abs(file)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(file); err != nil && (name != "token-file" || !errors.Is(err, fs.ErrNotExist)) { // a token may come later
		return "", fmt.Errorf("--%s: %w", name, err)
	}
	return file, nil
}

// contextGiven makes a context of the flags.
func (c *call) contextGiven() (remote.Context, error) {
	if c.global.IsSet("token") {
		return remote.Context{}, hint.With(usagef("a context holds no secret, so no --token"), "--token-file FILE names a file with it")
	}
	if c.given("server") == "" {
		return remote.Context{}, usagef("add: missing --server")
	}
	made := remote.Context{
		Server: c.given("server"), CAFingerprint: c.given("ca-fingerprint"), User: c.given("user"),
		Insecure: c.flags.Bool("insecure") || c.global.Bool("insecure"),
	}
	for name, file := range map[string]*string{
		"ca": &made.CAFile, "cert": &made.CertFile, "key": &made.KeyFile, "token-file": &made.TokenFile, "password-file": &made.PasswordFile,
	} {
		var err error
		if *file, err = c.givenFile(name); err != nil {
			return made, err
		}
	}
	return made, nil
}

func addContext(ctx context.Context, c *call) error {
	name := c.flags.Args().First()
	made, err := c.contextGiven()
	if err != nil {
		return err
	}
	if err := made.Check(); err != nil {
		return usagef("context %q: %s", name, err)
	}
	dir := c.contexts()
	if dir == "" {
		return errNoConfigDir()
	}
	return dir.Update(ctx, func(b *remote.Book) error {
		before := b.Contexts[name]
		if err := b.Add(name, made, c.flags.Bool("force")); err != nil {
			return err
		}
		if before.Server != made.Server || before.User != made.User { // the tokens are for another server, or another user
			if err := dir.Forget(name); err != nil {
				return err
			}
		}
		if !c.flags.Bool("use") {
			return nil
		}
		c.outranked(name)
		return b.Use(name)
	})
}

func useContext(ctx context.Context, c *call) error {
	name, dir := c.flags.Args().First(), c.contexts()
	if dir == "" {
		return errNoConfigDir()
	}
	if name != remote.Local {
		if _, err := c.lookup(name); err != nil {
			return err
		}
	}
	c.outranked(name)
	return dir.Update(ctx, func(b *remote.Book) error { return b.Use(name) })
}

// outranked says when something else counts before the current context.
func (c *call) outranked(name string) {
	for _, variable := range []string{"OMCA_CONTEXT", "OMCA_HOME"} {
		if value := c.getenv(variable); value != "" && value != name {
			c.caution(fmt.Sprintf("%s is set to %q and counts before the current context", variable, value))
			return
		}
	}
}

// savedContext is a context as it is listed.
type savedContext struct {
	Name    string `json:"name"`
	Current bool   `json:"current"` // what a command without flags calls
	remote.Context
	Tokens *tokenTimes `json:"tokens,omitempty"` // nil where nobody has logged in
}

// tokenTimes is what there is to tell about the tokens of a login.
type tokenTimes struct {
	File             string    `json:"file"`
	AccessExpiredAt  time.Time `json:"access_expired_at,omitzero"`
	RefreshExpiredAt time.Time `json:"refresh_expired_at,omitzero"`
}

// as says how the server is called.
func (s savedContext) as() string {
	switch {
	case s.Server == "":
		return "root"
	case s.CertFile != "":
		return "certificate"
	case s.TokenFile != "", s.Tokens != nil:
		return "token"
	case s.User != "":
		return "user " + s.User
	}
	return ""
}

func (s savedContext) star() string {
	if s.Current {
		return "*"
	}
	return " "
}

// saved are the contexts there are, this machine first.
func (c *call) saved() ([]savedContext, error) {
	current, err := c.chosenName(c.global.String("context"), c.global.String("home"))
	if err != nil {
		return nil, err
	}
	all := []savedContext{{Name: remote.Local, Current: current == remote.Local}}
	dir := c.contexts()
	if dir == "" {
		return all, nil
	}
	book, err := dir.Load()
	if err != nil {
		return nil, err
	}
	for _, name := range book.Names() {
		s := savedContext{Name: name, Current: name == current, Context: book.Contexts[name]}
		file := s.TokenFile
		if file == "" {
			file = dir.TokenFile(name)
		}
		if t, err := remote.ReadTokens(file); err == nil { // the call that needs them says what is wrong with them
			s.Tokens = &tokenTimes{File: file, AccessExpiredAt: t.AccessExpiredAt, RefreshExpiredAt: t.RefreshExpiredAt}
		}
		all = append(all, s)
	}
	return all, nil
}

func listContexts(_ context.Context, c *call) error {
	all, err := c.saved()
	if err != nil {
		return err
	}
	return emit(c.printer, all, []column[savedContext]{
		{name: "CURRENT", text: savedContext.star},
		{name: "NAME", text: func(s savedContext) string { return s.Name }},
		{name: "SERVER", text: func(s savedContext) string { return s.Server }},
		{name: "CALLS AS", text: savedContext.as},
	})
}

func showContext(_ context.Context, c *call) error {
	name := c.flags.Args().First()
	if name == "" {
		var err error
		if name, err = c.chosenName(c.global.String("context"), c.global.String("home")); err != nil {
			return err
		}
	}
	if name != remote.Local {
		if _, err := c.lookup(name); err != nil {
			return err
		}
	}
	all, err := c.saved()
	if err != nil {
		return err
	}
	for _, s := range all {
		if s.Name == name {
			return emitOne(c.printer, s, savedColumns())
		}
	}
	return fmt.Errorf("context %q: %w", name, errNotFound) // removed meanwhile
}

func savedColumns() []column[savedContext] {
	type s = savedContext
	return []column[s]{
		{name: "NAME", text: func(s s) string { return s.Name }},
		{name: "SERVER", text: func(s s) string {
			if s.Server == "" {
				return "this machine"
			}
			return s.Server
		}},
		{name: "CALLS AS", text: s.as},
		{name: "CA", text: func(s s) string { return s.CAFile }},
		{name: "CA FINGERPRINT", text: func(s s) string { return s.CAFingerprint }},
		{name: "VERIFIED", text: func(s s) string {
			if s.Insecure {
				return "no"
			}
			return ""
		}},
		{name: "CERTIFICATE", text: func(s s) string { return s.CertFile }},
		{name: "KEY", text: func(s s) string { return s.KeyFile }},
		{name: "PASSWORD FILE", text: func(s s) string { return s.PasswordFile }},
		{name: "TOKEN FILE", text: func(s s) string {
			if s.Tokens == nil {
				return s.TokenFile
			}
			return s.Tokens.File
		}},
		{name: "TOKEN EXPIRES", text: tokenTime(func(t tokenTimes) time.Time { return t.AccessExpiredAt })},
		{name: "LOGIN EXPIRES", text: tokenTime(func(t tokenTimes) time.Time { return t.RefreshExpiredAt })},
	}
}

func tokenTime(of func(tokenTimes) time.Time) func(savedContext) string {
	return func(s savedContext) string {
		if s.Tokens == nil {
			return ""
		}
		return instant(of(*s.Tokens))
	}
}

func removeContext(ctx context.Context, c *call) error {
	name, dir := c.flags.Args().First(), c.contexts()
	if dir == "" {
		return errNoConfigDir()
	}
	if _, err := c.lookup(name); err != nil {
		return err
	}
	return dir.Update(ctx, func(b *remote.Book) error { return errors.Join(b.Remove(name), dir.Forget(name)) })
}
