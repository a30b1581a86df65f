package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"omca/internal/client"
	"omca/internal/hint"
	"omca/internal/wire"
)

// objectVerbs are the verbs of an object as a whole.
func objectVerbs() []verb {
	return []verb{
		{
			name: "create", usage: "create the object, or update the keywords of the one that exists",
			flags: []cli.Flag{
				kwFlag("keyword `EXPR`, such as cn=alice or grant+=guest:ns1; repeatable"),
				&cli.StringFlag{Name: "config", Usage: "configuration file, `FILE`, - or URL, applied before --kw"},
				&cli.BoolFlag{Name: "force", Usage: "recreate an object that exists from nothing"},
				&cli.BoolFlag{Name: "revoke", Usage: "with --force: revoke what was issued for the former object"},
				yesFlag(),
			},
			example: "omca system/usr/usr1 create --kw grant=\"admin:ns1 guest:ns2\"\nomca system/sec/ca-lab create --force --kw cn=\"Lab CA\" --yes",
			run:     create,
		},
		{
			name: "delete", aliases: []string{"del"}, usage: "delete the objects selected, with their keys",
			flags: []cli.Flag{
				yesFlag(),
				&cli.BoolFlag{Name: "revoke", Usage: "revoke first every certificate that was issued for it; so it is for users unless said otherwise"},
				&cli.BoolFlag{Name: "no-revoke", Usage: "let the certificates of users live until they expire"},
				&cli.BoolFlag{Name: "destroy-key", Usage: "of a CA: destroy its key too, which ends its revocation list and OCSP answers for good"},
			},
			example: "omca system/usr/usr1 delete --yes\nomca system/sec/shop delete --revoke\nomca 'ns1/*/*' delete --yes",
			run:     deleteObjects,
		},
		{name: "ls", aliases: []string{"list"}, usage: "list the objects selected", example: "omca 'system/usr/*' ls\nomca usr ls -o json", run: listObjects},
		{name: "show", usage: "everything about the object at a glance", example: "omca system/sec/cert show", run: showObject},
	}
}

// objectVerb is one of them.
func objectVerb(name string) verb {
	verbs := objectVerbs()
	return verbs[slices.IndexFunc(verbs, func(v verb) bool { return v.name == name })]
}

func yesFlag() cli.Flag {
	return &cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do not ask; without a terminal, what breaks something for others needs it"}
}

func create(ctx context.Context, c *call) error {
	exprs := c.flags.StringSlice("kw")
	if err := checkExprs(exprs); err != nil {
		return err
	}
	p, err := c.path()
	if err != nil {
		return err
	}
	o := wire.CreateRequest{Keywords: exprs, Force: c.flags.Bool("force"), Revoke: c.flags.Bool("revoke")}
	if o.Revoke && !o.Force {
		return usagef("create: --revoke goes with --force")
	}
	if from := c.flags.String("config"); from != "" {
		text, err := c.readSource(ctx, from, maxText)
		if err != nil {
			return err
		}
		o.Config = string(text)
	}
	api, err := c.api(ctx)
	if err != nil {
		return err
	}
	var done wire.Created
	err = c.breaking(ctx, "create", func(ctx context.Context) (err error) {
		done, err = api.Create(ctx, p, o)
		return err
	})
	if err != nil {
		return err
	}
	if !done.Created && !done.IsChanged {
		c.print("unchanged\n")
	}
	return nil
}

// deletion reads what is to become of the certificates.
func (c *call) deletion() (client.Deletion, error) {
	d := client.Deletion{DestroyKey: c.flags.Bool("destroy-key")}
	switch revoke, keep := c.flags.Bool("revoke"), c.flags.Bool("no-revoke"); {
	case revoke && keep:
		return d, usagef("delete: both --revoke and --no-revoke")
	case revoke:
		d.Revoke = "true"
	case keep:
		d.Revoke = "false"
	}
	return d, nil
}

func deleteObjects(ctx context.Context, c *call) error {
	how, err := c.deletion()
	if err != nil {
		return err
	}
	api, paths, err := c.objects(ctx)
	if err != nil {
		return err
	}
	if err := c.mayDelete(ctx, api, paths, how); err != nil {
		return err
	}
	for _, p := range paths {
		if err := api.Delete(ctx, p, how); err != nil {
			return about(p.String(), err)
		}
	}
	return nil
}

// mayDelete asks for consent. Objects that a glob selects were not named, so that it says how many they are.
func (c *call) mayDelete(ctx context.Context, api *client.Client, paths []client.Path, how client.Deletion) error {
	if c.flags.Bool("yes") {
		return nil
	}
	glob := strings.ContainsAny(c.target, "*?[")
	selector := c.target
	if !glob {
		selector = selectorOf(paths)
	}
	found, err := api.DeletionBreaks(ctx, selector, how)
	if err != nil && !isNotFound(err) { // a build that does not know what breaks deletes without being asked
		return err
	}
	var breaks []string
	if glob {
		breaks = append(breaks, fmt.Sprintf("%q selects %s: %s", c.target, counted(len(paths), "object"), join(paths)))
	}
	breaks = append(breaks, sentences(found)...)
	if how.DestroyKey {
		breaks = append(breaks, fmt.Sprintf("the keys of the CAs go too: the revocation lists and OCSP answers of %s end for good", join(paths)))
	}
	return c.consent(ctx, c.flags.Command.Name, fmt.Sprintf("delete %s?", join(paths)), breaks...)
}

// counted is a number of things, which are more than one with an s.
func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// selectorOf is the selector that selects these paths.
func selectorOf(paths []client.Path) string {
	texts := make([]string, len(paths))
	for i, p := range paths {
		texts[i] = p.String()
	}
	return strings.Join(texts, ",")
}

// join names objects, and counts those beyond the first ones.
func join(paths []client.Path) string {
	const most = 20
	texts := make([]string, 0, most)
	for _, p := range paths[:min(len(paths), most)] {
		texts = append(texts, p.String())
	}
	if more := len(paths) - most; more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(texts, ", ")
}

func noMatch(selector string) error {
	return fmt.Errorf("no object matches %q: %w", selector, errNotFound)
}

func listObjects(ctx context.Context, c *call) error {
	api, err := c.api(ctx)
	if err != nil {
		return err
	}
	objects, err := api.Objects(ctx, c.target)
	if err != nil {
		return err
	}
	// Only what was asked for by name or pattern can be missing.
	if len(objects) == 0 && c.target != "**" && !strings.HasPrefix(c.target, "*/") {
		return hint.With(noMatch(c.target), "\"%s ls\" lists all", c.name)
	}
	certificate := func(text func(wire.CertificateState) string) func(client.Object) string {
		return func(o client.Object) string {
			if o.Certificate == nil || o.Certificate.State == "none" {
				return ""
			}
			return text(*o.Certificate)
		}
	}
	return emit(c.printer, objects, []column[client.Object]{
		{name: "OBJECT", text: func(o client.Object) string { return o.Path }},
		{name: "KEYS", text: func(o client.Object) string { return strconv.Itoa(len(o.Keys)) }},
		{name: "CERTIFICATE", text: certificate(func(s wire.CertificateState) string { return s.State })},
		{name: "NOT AFTER", text: certificate(func(s wire.CertificateState) string { return day(s.NotAfter) }), in: inList},
		{name: "NOT AFTER", text: certificate(func(s wire.CertificateState) string { return instant(s.NotAfter) }), in: inFull},
		{name: "SERIAL", text: certificate(func(s wire.CertificateState) string { return s.Serial }), in: inFull},
		{name: "CREATED AT", text: func(o client.Object) string { return instant(o.CreatedAt) }, in: inFull},
		{name: "UPDATED AT", text: func(o client.Object) string { return instant(o.UpdatedAt) }, in: inFull},
	})
}

func showObject(ctx context.Context, c *call) error {
	api, p, err := c.object(ctx)
	if err != nil {
		return err
	}
	o, err := api.Object(ctx, p)
	if err != nil {
		return err
	}
	if c.format != "table" {
		return emitOne(c.printer, o, []column[client.Object]{
			{name: "OBJECT", text: func(o client.Object) string { return o.Path }},
			{name: "CREATED AT", text: func(o client.Object) string { return instant(o.CreatedAt) }},
			{name: "UPDATED AT", text: func(o client.Object) string { return instant(o.UpdatedAt) }},
		})
	}
	c.print("%s\n", c.paint(o.Path, true))
	c.section("", [][2]string{{"created", instant(o.CreatedAt)}, {"updated", instant(o.UpdatedAt)}})
	var keywords [][2]string
	for _, name := range slices.Sorted(maps.Keys(o.Keywords)) {
		keywords = append(keywords, [2]string{name, o.Keywords[name]})
	}
	c.section("keywords", keywords)
	var keys [][2]string
	for _, k := range o.Keys {
		keys = append(keys, [2]string{k.Name, fmt.Sprintf("%d bytes", k.Size)})
	}
	c.section("keys", keys)
	if o.Certificate != nil && o.Certificate.State != "none" {
		rows := cells([]wire.CertificateState{*o.Certificate}, stateColumns(), inFull)
		var lines [][2]string
		for i, name := range rows[0] {
			if rows[1][i] != "" && name != "OBJECT" {
				lines = append(lines, [2]string{strings.ToLower(name), rows[1][i]})
			}
		}
		c.section("certificate", lines)
	}
	return nil
}

// section holds back a titled list of names and values, nothing when it is empty.
func (p printer) section(title string, lines [][2]string) {
	if len(lines) == 0 {
		return
	}
	indent := "  "
	if title != "" {
		p.print("  %s\n", p.paint(title, true))
		indent = "    "
	}
	width := 0
	for _, line := range lines {
		width = max(width, len(line[0]))
	}
	for _, line := range lines {
		p.print("%s%-*s  %s\n", indent, width, cell(line[0]), p.paint(cell(line[1]), false))
	}
}
