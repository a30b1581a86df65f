package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"omca/internal/client"
	"omca/internal/hint"
	"omca/internal/wire"
)

func kwFlag(usage string) cli.Flag {
	return &cli.StringSliceFlag{Name: "kw", Usage: usage, KeepSpace: true}
}

// configGroup are the verbs of the keywords of an object.
func (p *program) configGroup(target string) *cli.Command {
	prefix := "omca " + listenerPath + " config "
	keyword, change := "cn", "--set cn=vip.mycorp --set alt_names+=node1.mycorp --unset email"
	if target == clusterWord {
		prefix, keyword, change = "omca cluster config ", "cluster.name", "--set cluster.crl=http://crl.mycorp"
	}
	return group("config", "the keywords of the object", p.commands(target, []verb{
		getVerb(prefix + "get --kw " + keyword),
		updateVerb(prefix + "update " + change),
		{name: "show", usage: "print the configuration as a file", example: prefix + "show", run: showConfig},
		{name: "edit", aliases: []string{"ed"}, usage: "edit the configuration in $EDITOR", flags: []cli.Flag{yesFlag()}, example: "EDITOR=nano " + prefix + "edit", run: editConfig},
		{name: "validate", usage: "say what is wrong with the configuration; nothing when all is well", example: prefix + "validate", run: validateConfig},
		{name: "doc", usage: "explain the keywords, or one of them", args: "[KEYWORD]", max: 1, example: prefix + "doc " + keyword, run: documentConfig},
	})...)
}

func getVerb(example string) verb {
	return verb{
		name: "get", usage: "print the value of keywords; of all that are set without --kw",
		flags: []cli.Flag{kwFlag("`KEYWORD`; repeatable")}, example: example, run: getConfig,
	}
}

func updateVerb(example string) verb {
	return verb{
		name: "update", usage: "change keywords, all or nothing; prints committed or unchanged",
		flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "set", KeepSpace: true, Usage: "`EXPR`: K=V, K+=WORD (append unless present), K-=WORD, K|=WORD; repeatable"},
			&cli.StringSliceFlag{Name: "unset", Usage: "`KEYWORD`; repeatable"},
			&cli.StringSliceFlag{Name: "delete", Usage: "`SECTION`; repeatable"},
			yesFlag(),
		},
		example: example, run: updateConfig,
	}
}

// olderConfigVerbs are set, unset and get, as earlier manuals have them.
func olderConfigVerbs() []verb {
	get := getVerb("omca system/usr/usr1 get --kw grant")
	get.older = true
	return []verb{
		get,
		{
			name: "set", older: true, usage: "change keywords", flags: []cli.Flag{kwFlag("`EXPR`; repeatable"), yesFlag()},
			example: "omca system/usr/usr1 set --kw grant+=admin:ns1", run: setKeywords,
		},
		{
			name: "unset", older: true, usage: "unset keywords", flags: []cli.Flag{kwFlag("`KEYWORD`; repeatable"), yesFlag()},
			example: "omca system/usr/usr1 unset --kw email", run: unsetKeywords,
		},
	}
}

// checkExprs refuses what has no operator, before anything is asked.
func checkExprs(exprs []string) error {
	for _, expr := range exprs {
		if name, _, ok := strings.Cut(expr, "="); !ok || strings.Trim(name, "+-|^ ") == "" {
			return hint.With(usagef("expression %q has no operator", expr), "write it as KEYWORD=VALUE, +=, -= or |=")
		}
	}
	return nil
}

func getConfig(ctx context.Context, c *call) error {
	api, paths, err := c.objects(ctx)
	if err != nil {
		return err
	}
	keywords := c.flags.StringSlice("kw")
	var all []wire.KeywordValue
	for _, p := range paths {
		values, err := api.Config(ctx, p, keywords)
		if err != nil {
			return about(p.String(), err)
		}
		all = append(all, values...)
	}
	if len(paths) == 1 && len(keywords) == 1 && c.format == "table" {
		for _, v := range all {
			c.print("%s\n", v.Value)
		}
		return nil
	}
	return emit(c.printer, all, []column[wire.KeywordValue]{
		{name: "OBJECT", text: func(v wire.KeywordValue) string { return v.Object }},
		{name: "KEYWORD", text: func(v wire.KeywordValue) string { return v.Keyword }},
		{name: "VALUE", text: func(v wire.KeywordValue) string { return v.Value }},
	})
}

func updateConfig(ctx context.Context, c *call) error {
	return c.change(ctx, client.ConfigChange{
		Set:    c.flags.StringSlice("set"),
		Unset:  fields(c.flags.StringSlice("unset")),
		Delete: fields(c.flags.StringSlice("delete")),
	}, "--set, --unset or --delete")
}

func setKeywords(ctx context.Context, c *call) error {
	return c.change(ctx, client.ConfigChange{Set: c.flags.StringSlice("kw")}, "--kw")
}

func unsetKeywords(ctx context.Context, c *call) error {
	return c.change(ctx, client.ConfigChange{Unset: fields(c.flags.StringSlice("kw"))}, "--kw")
}

// fields splits at commas: the names of keywords and sections have none.
func fields(values []string) []string {
	var names []string
	for _, value := range values {
		names = append(names, slices.DeleteFunc(strings.Split(value, ","), func(s string) bool { return s == "" })...)
	}
	return names
}

// change updates the keywords of every object selected.
func (c *call) change(ctx context.Context, change client.ConfigChange, flags string) error {
	if len(change.Set)+len(change.Unset)+len(change.Delete) == 0 {
		return usagef("%s: no change given: missing %s", c.flags.Command.Name, flags)
	}
	if err := checkExprs(change.Set); err != nil {
		return err
	}
	api, paths, err := c.objects(ctx)
	if err != nil {
		return err
	}
	for _, p := range paths {
		var changed bool
		err := c.breaking(ctx, c.flags.Command.Name, func(ctx context.Context) (err error) {
			changed, err = api.UpdateConfig(ctx, p, change)
			return err
		})
		if err != nil {
			return about(p.String(), err)
		}
		prefix := ""
		if len(paths) > 1 {
			prefix = p.String() + ": "
		}
		c.print("%s%s\n", prefix, committed(changed))
	}
	return nil
}

func committed(changed bool) string {
	if changed {
		return "committed"
	}
	return "unchanged"
}

func showConfig(ctx context.Context, c *call) error {
	api, p, err := c.object(ctx)
	if err != nil {
		return err
	}
	text, err := api.ConfigFile(ctx, p)
	c.value(text)
	return err
}

func editConfig(ctx context.Context, c *call) error {
	api, p, err := c.object(ctx)
	if err != nil {
		return err
	}
	before, err := api.ConfigFile(ctx, p)
	if err != nil {
		return err
	}
	after, err := c.edit(ctx, "config.ini", before, maxText)
	if err != nil {
		return err
	}
	if bytes.Equal(before, after) {
		c.print("unchanged\n")
		return nil
	}
	c.print("committed\n")
	return c.breaking(ctx, "edit", func(ctx context.Context) error { return api.ReplaceConfigFile(ctx, p, after) })
}

func validateConfig(ctx context.Context, c *call) error {
	api, p, err := c.object(ctx)
	if err != nil {
		return err
	}
	findings, err := api.ValidateConfig(ctx, p)
	if err != nil {
		return err
	}
	if len(findings) > 0 || c.format != "table" {
		err = emit(c.printer, findings, []column[wire.Finding]{
			{name: "LEVEL", text: func(f wire.Finding) string { return f.Level }},
			{name: "KEYWORD", text: func(f wire.Finding) string { return f.Keyword }},
			{name: "COMMENT", text: func(f wire.Finding) string { return f.Comment }},
		})
	}
	if slices.ContainsFunc(findings, func(f wire.Finding) bool { return f.Level == "error" }) {
		// What is wrong is what was asked for: it is printed, and the status says so too.
		return errors.Join(err, c.flush(), fmt.Errorf("%s: the configuration is not valid", p))
	}
	return err
}

func documentConfig(ctx context.Context, c *call) error {
	api, p, err := c.object(ctx)
	if err != nil {
		return err
	}
	kind := p.Kind
	if kind == "ccfg" {
		kind = "cluster"
	}
	keywords, err := api.Keywords(ctx, kind, c.flags.Args().First())
	if err != nil {
		return err
	}
	if c.format != "table" || len(keywords) > 1 {
		return emit(c.printer, keywords, []column[wire.KeywordDoc]{
			{name: "KEYWORD", text: func(k wire.KeywordDoc) string { return k.Keyword }},
			{name: "TYPE", text: func(k wire.KeywordDoc) string { return k.Type }},
			{name: "DEFAULT", text: func(k wire.KeywordDoc) string { return k.Default }},
			{name: "EXAMPLE", text: func(k wire.KeywordDoc) string { return k.Example }, in: inFull},
			{name: "DOC", text: func(k wire.KeywordDoc) string { return k.Doc }, in: inFull},
		})
	}
	for _, k := range keywords {
		c.print("%s\n", c.paint(k.Keyword, true))
		for _, line := range wrap(k.Doc, 76) {
			c.print("  %s\n", line)
		}
		c.section("", slices.DeleteFunc([][2]string{
			{"type", k.Type}, {"default", k.Default}, {"example", k.Example}, {"aliases", strings.Join(k.Aliases, " ")},
		}, func(line [2]string) bool { return line[1] == "" }))
	}
	return nil
}

// wrap breaks a text into lines of at most width bytes, at spaces.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}
