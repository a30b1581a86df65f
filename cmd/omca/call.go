package main

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"omca/internal/client"
	"omca/internal/hint"
)

// run runs one command line.
func (p *program) run(ctx context.Context, args []string) error {
	p.stdinTaken = false
	l, err := p.parse(args)
	if err != nil {
		return err
	}
	if l.help || len(args) == 0 {
		return p.help(l)
	}
	leaf := l.leaf()
	if leaf == nil && slices.Contains(l.global, "--version") {
		return p.version()
	}
	if leaf == nil || len(leaf.Subcommands) > 0 {
		return hint.With(usagef("missing command"), "one of %s", strings.Join(names(l.next()), ", "))
	}
	app := &cli.App{
		Name: p.name, Commands: l.tree, Flags: globalFlags(),
		HideHelp: true, HideHelpCommand: true, HideVersion: true,
		DisableSliceFlagSeparator: true, // a comma is part of a value
		Writer:                    p.stderr, ErrWriter: p.stderr,
		OnUsageError:   onUsageError,
		ExitErrHandler: func(*cli.Context, error) {}, // errors are printed by report
	}
	line := slices.Concat([]string{p.name}, l.global, l.words(), l.flags, []string{"--"}, l.args)
	return app.RunContext(ctx, line)
}

// globalFlags are the flags of the program, known to every command.
func globalFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "home", Usage: "`DIR` that holds everything (environment: OMCA_HOME)"},
		&cli.StringFlag{Name: "passphrase-file", Usage: "`FILE` with the passphrase that the store is sealed with, in place of the key in seal.key (environment: OMCA_PASSPHRASE_FILE)"},
		&cli.StringFlag{Name: "server", Usage: "`URL` of a remote server: https://HOST:1215"},
		&cli.StringFlag{Name: "context", Usage: "`NAME` of the saved server to call, or local (environment: OMCA_CONTEXT)"},
		&cli.StringFlag{Name: "cert", Usage: "client certificate, PEM `FILE`, leaf first"},
		&cli.StringFlag{Name: "key", Usage: "private key of --cert, PEM `FILE`"},
		&cli.StringFlag{Name: "token-file", Usage: "`FILE` with the token to call with, or - (environment: OMCA_TOKEN, the token itself)"},
		&cli.StringFlag{Name: "token", Usage: "`TOKEN`: in place of --token-file, but everybody who may list processes sees it"},
		&cli.StringFlag{Name: "user", Usage: "`NAME` of the user to call as, with the password in --password-file or asked for"},
		&cli.StringFlag{Name: "password-file", Usage: "`FILE` with the password of --user, or -"},
		&cli.StringFlag{Name: "ca", Usage: "PEM `FILE` of the CA that the server's certificate must lead to"},
		&cli.StringFlag{Name: "ca-fingerprint", Usage: "`SHA256` of that CA certificate, in place of --ca"},
		&cli.BoolFlag{Name: "insecure", Usage: "accept any server certificate"},
		&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "table", Usage: "`FORMAT`: table, json, yaml, csv or jsonl"},
		&cli.StringFlag{Name: "color", Value: "auto", Usage: "`WHEN`: yes, no or auto (environment: NO_COLOR)"},
		&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "no notices on stderr"},
		&cli.BoolFlag{Name: "version", Usage: "print the version"},
	}
}

// call is one command being run.
type call struct {
	*program
	target string // the path or selector typed, or what stands for it
	flags  *cli.Context
	global *cli.Context
	printer
	where   *destination // nil until the API is needed
	reached *reached     // the same
	silent  bool         // nobody is to be asked anything

	makesHome bool // a home that is not there is made, as a first start does

	authorize func(context.Context, string) (string, error) // what a server elsewhere is called with; nil until then, or for nothing
}

func (p *program) newCall(flags *cli.Context, target string) (*call, error) {
	c := &call{program: p, target: target, flags: flags}
	lineage := flags.Lineage()
	c.global = lineage[len(lineage)-2] // the last one is the empty context that the program was run with
	var err error
	c.printer, err = p.newPrinter(c.global.String("output"), c.global.String("color"))
	return c, err
}

// api returns the client of the API, connecting or opening the store the first time.
func (c *call) api(ctx context.Context) (*client.Client, error) {
	if c.reached != nil {
		return c.reached.client, nil
	}
	r, err := c.reach(ctx)
	if err != nil {
		return nil, err
	}
	c.reached = r
	return r.client, nil
}

// finish closes what was opened, and prints what was found when all went well.
func (c *call) finish(err error) error {
	if c.reached != nil {
		err = errors.Join(err, c.reached.close())
	}
	if err != nil {
		return c.explained(err)
	}
	return c.flush()
}

// path is the one object that the command is about.
func (c *call) path() (client.Path, error) {
	p, err := client.ParsePath(c.target)
	if err != nil {
		return p, hint.With(usagef("%s", err), "a path is like system/usr/alice")
	}
	return p, nil
}

// subject is the object that an error of the command is about; "" when it is not about one.
func (c *call) subject() string {
	p, err := client.ParsePath(c.target)
	if err != nil {
		return ""
	}
	return p.String()
}

// object returns the API and the one object that the command is about.
func (c *call) object(ctx context.Context) (*client.Client, client.Path, error) {
	p, err := c.path()
	if err != nil {
		return nil, p, err
	}
	api, err := c.api(ctx)
	return api, p, err
}

// objects returns the API and the objects that the selector selects: at least one.
func (c *call) objects(ctx context.Context) (*client.Client, []client.Path, error) {
	if p, err := client.ParsePath(c.target); err == nil {
		api, err := c.api(ctx)
		return api, []client.Path{p}, err
	}
	if !strings.ContainsAny(c.target, "*?[,") {
		_, err := c.path()
		return nil, nil, err
	}
	api, err := c.api(ctx)
	if err != nil {
		return nil, nil, err
	}
	found, err := api.Paths(ctx, c.target)
	if err != nil {
		return nil, nil, err
	}
	if len(found) == 0 {
		return nil, nil, noMatch(c.target)
	}
	paths := make([]client.Path, len(found))
	for i, text := range found {
		if paths[i], err = client.ParsePath(text); err != nil {
			return nil, nil, err
		}
	}
	return api, paths, nil
}

// required returns the value of a string flag that must be given.
func (c *call) required(name string) (string, error) {
	value := c.flags.String(name)
	if value == "" {
		return "", usagef("%s: missing --%s", c.flags.Command.Name, name)
	}
	return value, nil
}
